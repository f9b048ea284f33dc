//! Several answers into one.

use bytes::Bytes;
use plimsoll_types::{Kind, Usage};

use super::Joinable;
use super::found::{Change, Copy, Counts, Figure, Found, Item};
use crate::json::JsonError;

/// One answer made of those to the parts of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The answer.
    pub body: Bytes,
    /// What it says of tokens.
    pub usage: Option<Usage>,
}

/// Whether this is an answer to a request of `kind` with so many texts: if so, nobody need be asked again.
#[must_use]
pub fn is_answer(kind: Kind, texts: u32, answer: &[u8]) -> bool {
    Found::read(kind, answer, texts as usize).is_ok()
}

/// The answer to the request that `whole` was read from, of those to its parts in their order: all that is not results
/// or usage is the first one's.
///
/// # Errors
///
/// Where they are not the answers to its parts.
///
/// # Panics
/// If there is none.
pub fn merge(whole: &Joinable, answers: &[(Bytes, u32)]) -> Result<Merged, JsonError> {
    let all: Vec<Found> = answers
        .iter()
        .map(|(answer, items)| Found::read(whole.kind, answer, *items as usize))
        .collect::<Result<_, _>>()?;
    let mut results: Vec<(&Bytes, &Item, usize)> = Vec::with_capacity(whole.items as usize);
    let (mut before, mut sorted) = (0, true);
    for (found, (answer, items)) in all.iter().zip(answers) {
        sorted &= found.items.is_sorted_by(|a, b| a.score.is_some() && a.score >= b.score)
            && found.items.iter().all(|item| item.score.is_some());
        let items_of = found.by_index.iter().map(|at| &found.items[*at]);
        results.extend(items_of.map(|item| (answer, item, before + item.index)));
        before += *items as usize;
    }
    if sorted {
        // As the engine would have, had it seen all of them: the best first.
        results.sort_by(|(_, a, _), (_, b, _)| b.score.unwrap_or(0.0).total_cmp(&a.score.unwrap_or(0.0)));
        results.truncate(whole.top.unwrap_or(u32::MAX) as usize);
    } else if whole.top.is_some_and(|top| (top as usize) < results.len()) {
        return Err(JsonError { at: 0, what: "results of which the best are wanted are not sorted" });
    }
    let first = all.first().expect("a request has a part");
    let sum = |wanted: &Figure| -> u64 {
        let name = &answers[0].0[wanted.name.clone()];
        let of = |(found, (answer, _)): (&Found, &(Bytes, u32))| {
            let same =
                |figure: &&Figure| figure.counts == wanted.counts && answer[figure.name.clone()] == *name;
            found.usage.iter().find(same).and_then(|figure| figure.value).unwrap_or(0)
        };
        all.iter().zip(answers).map(of).sum()
    };
    let figures = first.usage.iter().filter(|figure| figure.value.is_some());
    let summed: Vec<(&Figure, u64)> = figures.map(|figure| (figure, sum(figure))).collect();
    let mut changes = vec![(first.list.clone(), Change::Items(&results))];
    changes.extend(summed.iter().map(|(figure, sum)| (figure.at.clone(), Change::Number(*sum))));
    let body = Copy::with(&answers[0].0, &mut changes);
    let of = |counts| {
        let sum = summed.iter().find(|(figure, _)| figure.counts == counts).map(|(_, sum)| *sum);
        sum.map(|sum| u32::try_from(sum).unwrap_or(u32::MAX))
    };
    let usage = of(Counts::Prompt).map(|prompt| Usage {
        prompt,
        cached: of(Counts::Cached).unwrap_or(0),
        completion: of(Counts::Written).unwrap_or(0),
    });
    Ok(Merged { body, usage })
}
