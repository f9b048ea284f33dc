//! Asks a backend which models it has.

use std::future::poll_fn;

use bytes::Bytes;

use super::OpenAi;
use super::answer::{Asked, OpenAiAnswer};
use serde_json::Value;

use crate::json::{JsonError, Next, Scanner};
use crate::outgoing::{Fields, Message, Pieces};
use crate::{Answer, Failure};
use plimsoll_types::Kind;

/// What a backend says of a model that it has: the members of OpenAI's model object, and those of vLLM and llama.cpp that
/// clients size their prompts by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Card {
    /// Its name.
    pub id: String,
    /// When it was made, in seconds since 1970.
    pub created: Option<u64>,
    /// Whose it is.
    pub owned_by: Option<String>,
    /// Tokens that prompt and answer may have together.
    pub max_model_len: Option<u64>,
}

impl Card {
    /// A model of which no more than its name is known.
    #[must_use]
    pub fn named(id: String) -> Self {
        Self { id, ..Self::default() }
    }
}

/// The models of a list; `None` where it is none.
fn cards(list: &[u8]) -> Option<Vec<Card>> {
    let document: Value = serde_json::from_slice(list).ok()?;
    let text = |model: &Value, key: &str| model.get(key).and_then(Value::as_str).map(str::to_owned);
    let card = |model: &Value| {
        let length = model.get("max_model_len").or_else(|| model.get("meta")?.get("n_ctx"));
        Some(Card {
            id: text(model, "id")?,
            created: model.get("created").and_then(Value::as_u64),
            owned_by: text(model, "owned_by"),
            max_model_len: length.and_then(Value::as_u64).filter(|length| *length > 0),
        })
    };
    document.get("data")?.as_array().map(|models| models.iter().filter_map(card).collect())
}

/// What a backend said when it was asked for its models.
#[derive(Debug)]
pub struct Listing {
    /// The status, as HTTP counts them.
    pub status: u16,
    /// The models by name, where that is what it said.
    pub models: Option<Vec<String>>,
    /// The body, as it came.
    pub body: Bytes,
}

impl OpenAi {
    /// The models that the backend lists under `/v1/models`, by name.
    ///
    /// # Errors
    ///
    /// Where it cannot be reached or what it says is not such a list.
    pub async fn models(&self) -> Result<Vec<Card>, Failure> {
        let listing = self.list().await?;
        let no_list = match listing.status {
            401 | 403 | 407 => Failure::Broken("it refuses the gateway's credentials"),
            _ => Failure::Broken("the answer is not a list of models"),
        };
        let models = listing.models.ok_or(no_list)?;
        Ok(cards(&listing.body).unwrap_or_else(|| models.into_iter().map(Card::named).collect()))
    }

    /// What the backend says under `/v1/models`, be it a refusal.
    ///
    /// # Errors
    ///
    /// Where it cannot be reached or does not answer.
    pub async fn list(&self) -> Result<Listing, Failure> {
        let wire = self.send(Message {
            method: "GET",
            target: &self.backend.models_target,
            fields: Fields::default(),
            pieces: Pieces::new(),
            fresh: false,
        });
        let mut answer = OpenAiAnswer::new(
            &self.backend,
            wire,
            Asked { kind: Kind::Chat, stream: false, strip_usage: false },
        );
        let head = poll_fn(|cx| answer.poll_head(cx)).await?;
        let (status, mut listing) =
            (head.status, Listing { status: head.status, models: None, body: Bytes::new() });
        if head.stream {
            return Ok(listing);
        }
        // What is no list of models says so by having none.
        if let Some(Ok(chunk)) = poll_fn(|cx| answer.poll_chunk(cx)).await {
            listing.body = chunk.bytes;
        }
        listing.models = if status == 200 { names(&listing.body).ok() } else { None };
        Ok(listing)
    }
}

pub(crate) fn names(list: &[u8]) -> Result<Vec<String>, JsonError> {
    let mut names = Vec::new();
    std::str::from_utf8(list).map_err(|_| JsonError { at: 0, what: "not UTF-8" })?;
    let (mut scanner, mut first) = (Scanner::new(list), true);
    scanner.enter_object()?;
    while let Some(key) = scanner.next_key(&mut first)? {
        if !scanner.says(&key, "data") || scanner.kind()? != Next::Array {
            scanner.skip()?;
            continue;
        }
        let mut first = true;
        scanner.enter_array()?;
        while scanner.next_item(&mut first)? {
            let mut first = true;
            scanner.enter_object()?;
            while let Some(key) = scanner.next_key(&mut first)? {
                if scanner.says(&key, "id") && scanner.kind()? == Next::String {
                    let id = scanner.string()?;
                    names.push(scanner.decode(&id));
                } else {
                    scanner.skip()?;
                }
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_prompts_may_be_is_read_from_what_vllm_and_llama_cpp_say() {
        let list = br#"{"data":[{"id":"a","created":1750000000,"owned_by":"vllm","max_model_len":8192},
            {"id":"b","meta":{"n_ctx":4096}},{"id":"c","max_model_len":null}]}"#;
        let lengths: Vec<_> =
            cards(list).unwrap().into_iter().map(|card| (card.id, card.max_model_len)).collect();
        assert_eq!(lengths, [("a".into(), Some(8_192)), ("b".into(), Some(4_096)), ("c".into(), None)]);
        assert_eq!(cards(b"[]"), None);
    }

    #[test]
    fn names_are_read_from_what_llama_cpp_says() {
        let list = br#"{"models":[{"name":"tiny"}],"object":"list","data":[{"id":"tiny","object":"model","meta":{"id":"no"}},{"id":"b\u00e9"}]}"#;
        assert_eq!(names(list).unwrap(), ["tiny", "bé"]);
        assert!(names(b"[]").is_err());
    }
}
