//! `/v1/rerank` and `/v1/score`

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;

use super::{Answered, Counted, Known, list, reading, usage};
use crate::simulated::ask::{Fields, Wrong};
use crate::simulated::dialect::{FINGERPRINT, Origin};
use crate::simulated::tokens::Prompt;
use crate::simulated::vector::similarity;

pub(super) fn rerank(fields: &Fields, origin: &Origin) -> Result<Answered, Wrong> {
    #[derive(Serialize)]
    struct Ranked<'a> {
        id: String,
        model: &'a str,
        usage: Counted,
        results: Vec<Item<'a>>,
        system_fingerprint: &'static str,
    }
    #[derive(Serialize)]
    struct Item<'a> {
        index: usize,
        document: Document<'a>,
        relevance_score: f64,
    }
    #[derive(Serialize)]
    struct Document<'a> {
        text: &'a str,
    }
    let query = fields.text("query")?.ok_or_else(|| Wrong::field("query", "is missing"))?;
    let documents = strings(fields, &["documents"])?;
    let top_n = fields.whole("top_n", 0..=u64::from(u32::MAX))?.unwrap_or(0) as usize;
    let work =
        reading(documents.iter().map(|text| Prompt::of_text(&format!("{query}\n{text}"))), "documents")?;
    let item = |(index, text): (usize, &Cow<'_, str>)| (index, similarity(query, text));
    let mut ranked: Vec<(usize, f64)> = documents.iter().enumerate().map(item).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked.truncate(if top_n == 0 { usize::MAX } else { top_n });
    let results = ranked.into_iter().map(|(index, relevance_score)| Item {
        index,
        document: Document { text: &documents[index] },
        relevance_score,
    });
    let ranked = Ranked {
        id: format!("rerank-{:016x}", origin.serial),
        model: &origin.model,
        usage: usage(&work).into(),
        results: results.collect(),
        system_fingerprint: FINGERPRINT,
    };
    Ok((Known::new(&ranked, Some(usage(&work))), Some(work)))
}

pub(super) fn score(fields: &Fields, origin: &Origin) -> Result<Answered, Wrong> {
    #[derive(Serialize)]
    struct Item {
        index: usize,
        object: &'static str,
        score: f64,
    }
    let queries = strings(fields, &["queries", "text_1", "data_1"])?;
    let documents = strings(fields, &["documents", "items", "text_2", "data_2"])?;
    if queries.len() != 1 && queries.len() != documents.len() {
        return Err(Wrong::field("text_1", "must be one text, or as many as `text_2` has"));
    }
    let pairs = || queries.iter().cycle().zip(&documents);
    let work = reading(pairs().map(|(a, b)| Prompt::of_text(&format!("{a}\n{b}"))), "text_2")?;
    let item = |(index, (a, b)): (usize, (&Cow<'_, str>, &Cow<'_, str>))| Item {
        index,
        object: "score",
        score: similarity(a, b),
    };
    let data = pairs().enumerate().map(item).collect();
    Ok(list(data, origin, work))
}

/// The texts of the first of these fields that is there: one text or several, each a string or an object with `text`.
fn strings<'a>(fields: &'a Fields, keys: &[&'static str]) -> Result<Vec<Cow<'a, str>>, Wrong> {
    let wrong = |key| Wrong::field(key, "must be a string or an array of strings, and not empty");
    let text = |value: &'a Value| match value {
        Value::String(text) => Some(Cow::Borrowed(&**text)),
        value => value.get("text").and_then(Value::as_str).map(Cow::Borrowed),
    };
    for key in keys {
        match fields.get(key) {
            None => {}
            Some(Value::Array(items)) if !items.is_empty() => {
                return items.iter().map(|item| text(item).ok_or_else(|| wrong(key))).collect();
            }
            Some(value) => return Ok(vec![text(value).ok_or_else(|| wrong(key))?]),
        }
    }
    Err(Wrong::field(keys[0], "is missing"))
}
