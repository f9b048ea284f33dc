//! One answer into several.

use bytes::Bytes;
use plimsoll_types::{Kind, Request, Usage};

use super::Joinable;
use super::found::{Change, Copy, Counts, Found, Item};
use crate::json::JsonError;

/// What one caller gets of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The answer, as if he had asked alone.
    pub body: Bytes,
    /// What it says of tokens.
    pub usage: Option<Usage>,
}

/// Cuts `answer` into what each of `parts` asked for, in their order.
///
/// # Errors
///
/// Where it is not one answer to all of them, or nobody can tell what of it each has to pay.
pub fn split(answer: &Bytes, parts: &[(&Request, &Joinable)]) -> Result<Vec<Share>, JsonError> {
    let wrong = |what| JsonError { at: answer.len(), what };
    let Some(((first, read), all)) = parts.first().zip(Some(parts)) else { return Ok(Vec::new()) };
    let count = all.iter().map(|(_, part)| part.items as usize).sum();
    let found = Found::read(read.kind, answer, count)?;
    let bill = Bill::of(&found, all).map_err(wrong)?;
    let (mut from, mut before) = (0, 0);
    let mut shares = Vec::with_capacity(all.len());
    for (number, (request, part)) in all.iter().enumerate() {
        let mine = from..from + part.items as usize;
        let items: Vec<(&Bytes, &Item, usize)> = found
            .mine(read.kind, &mine, part.top)
            .map_err(wrong)?
            .into_iter()
            .map(|item| (answer, item, item.index - mine.start))
            .collect();
        let after = before + u64::from(part.tokens);
        let share = bill.share((before, after), &found.by_index[mine.clone()]);
        (from, before) = (mine.end, after);
        let id = found.id.clone().map(|at| {
            let id = own_id((&String::from_utf8_lossy(&answer[at.clone()]), first), (request, number));
            (at, id)
        });
        let mut changes = vec![(found.list.clone(), Change::Items(&items))];
        changes.extend(id.iter().map(|(at, id)| (at.clone(), Change::Id(id))));
        let figures = found.usage.iter().zip(&share.figures);
        changes.extend(figures.map(|(figure, value)| (figure.at.clone(), Change::Number(*value))));
        shares.push(Share { body: Copy::with(answer, &mut changes), usage: share.usage });
    }
    Ok(shares)
}

impl Found {
    /// The results whose indices are in `mine`, in the order in which an engine gives them.
    fn mine(
        &self,
        kind: Kind,
        mine: &std::ops::Range<usize>,
        top: Option<u32>,
    ) -> Result<Vec<&Item>, &'static str> {
        if kind != Kind::Rerank {
            return Ok(self.by_index[mine.clone()].iter().map(|at| &self.items[*at]).collect());
        }
        let mut items: Vec<&Item> = self.items.iter().filter(|item| mine.contains(&item.index)).collect();
        if let Some(top) = top.map(|top| top as usize).filter(|top| *top < items.len()) {
            if !items.is_sorted_by(|a, b| a.score.is_some() && a.score >= b.score) {
                return Err("results of which the best are wanted are not sorted");
            }
            items.truncate(top);
        }
        Ok(items)
    }
}

/// The caller's own id in the place of the one of all, which may tell by whom the call was made.
fn own_id((id, first): (&str, &Request), (request, number): (&Request, usize)) -> String {
    let escaped = |request: &Request| {
        let quoted = serde_json::to_string(&*request.envelope.id).unwrap_or_default();
        quoted.trim_matches('"').to_owned()
    };
    let (theirs, own) = (escaped(first), escaped(request));
    match number {
        0 => id.to_owned(),
        _ if id.contains(&theirs) => id.replacen(&theirs, &own, 1),
        number => format!("{id}-{number}"),
    }
}

/// What the engine counted, to be divided.
struct Bill<'a> {
    found: &'a Found,
    /// Tokens of all texts, as they were estimated.
    weight: u64,
    /// Tokens written for each result, in the order of the answer.
    written: Vec<u64>,
    /// Whether the total is that of prompt and answer.
    adds_up: bool,
}

struct Divided {
    /// In the order of those of the answer.
    figures: Vec<u64>,
    usage: Option<Usage>,
}

impl<'a> Bill<'a> {
    /// What was written is known of each or nobody is billed: an estimate is good enough for texts, whose lengths are
    /// known, and not for answers.
    fn of(found: &'a Found, parts: &[(&Request, &Joinable)]) -> Result<Self, &'static str> {
        let rest =
            |counts| matches!(counts, Counts::Other) || (counts == Counts::Written && parts[0].1.answer == 0);
        if found.usage.iter().any(|figure| figure.value.is_none_or(|value| rest(figure.counts) && value > 0))
        {
            return Err("it counts what cannot be divided among those who asked");
        }
        let all = found.figure(Counts::Written).unwrap_or(0);
        let longest = u64::from(parts[0].1.answer);
        let told: Option<Vec<u64>> = found.items.iter().map(|item| item.written).collect();
        let each_is_longest = || vec![longest; found.items.len()];
        let written = told
            .filter(|told| told.iter().sum::<u64>() == all)
            .or_else(|| Some(each_is_longest()).filter(|each| each.iter().sum::<u64>() == all))
            .ok_or("nobody can tell how much of it was written for whom")?;
        let sum = found.figure(Counts::Prompt).map(|prompt| prompt + all);
        Ok(Self {
            found,
            weight: parts.iter().map(|(_, part)| u64::from(part.tokens)).sum(),
            written,
            adds_up: sum.is_some() && sum == found.figure(Counts::All),
        })
    }

    /// The share of those texts that have so many tokens before them and up to their end, and these results.
    fn share(&self, (before, after): (u64, u64), results: &[usize]) -> Divided {
        // Rounded at the borders between callers, so that the shares add up to what the engine counted.
        let of = |all: u64| {
            let up_to =
                |part: u64| (u128::from(all) * u128::from(part) / u128::from(self.weight.max(1))) as u64;
            up_to(after) - up_to(before)
        };
        let found = self.found;
        let prompt = found.figure(Counts::Prompt).map(of);
        let written = results.iter().map(|at| self.written[*at]).sum();
        let cached = found.figure(Counts::Cached).map_or(0, of);
        let value = |counts, all| match counts {
            Counts::Written => written,
            Counts::All if self.adds_up => prompt.unwrap_or(0) + written,
            Counts::Other => 0,
            _ => of(all),
        };
        let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Divided {
            figures: found
                .usage
                .iter()
                .map(|figure| value(figure.counts, figure.value.unwrap_or(0)))
                .collect(),
            usage: prompt.map(|prompt| Usage {
                prompt: number(prompt),
                cached: number(cached),
                completion: number(written),
            }),
        }
    }
}
