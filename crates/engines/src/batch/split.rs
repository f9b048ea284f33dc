//! One answer into several.
//!
//! Whatever a backend says, nobody gets what is another's: the answer must have each index once and no more, or there
//! is none for anybody.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use plimsoll_types::Usage;

use super::Joinable;
use crate::json::{JsonError, Next, Scanner};

/// What one caller gets of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The answer, as if he had asked alone.
    pub body: Bytes,
    /// What it says of tokens.
    pub usage: Option<Usage>,
}

/// Where an item of the list stands, and in it the number of its index.
#[derive(Debug, Clone)]
struct Item {
    at: Range<usize>,
    index: Range<usize>,
}

/// Where in the answer what is needed stands.
#[derive(Debug, Default)]
struct Found {
    /// The array `data`, brackets included.
    data: Option<Range<usize>>,
    /// By index.
    items: Vec<Option<Item>>,
    prompt: Option<(Range<usize>, u64)>,
    total: Option<Range<usize>>,
}

/// Cuts `answer` into what each of `parts` asked for, in their order.
///
/// # Errors
///
/// Where it is not one answer to all of them.
pub fn split(answer: &Bytes, parts: &[&Joinable]) -> Result<Vec<Share>, JsonError> {
    std::str::from_utf8(answer).map_err(|error| JsonError { at: error.valid_up_to(), what: "not UTF-8" })?;
    let count: usize = parts.iter().map(|part| part.items as usize).sum();
    let mut found = Found { items: vec![None; count], ..Found::default() };
    let mut scanner = Scanner::new(answer);
    found.document(&mut scanner)?;
    scanner.finish()?;
    let missing = |what| JsonError { at: answer.len(), what };
    let data = found.data.clone().ok_or(missing("there is no list of results"))?;
    if found.items.iter().any(Option::is_none) {
        return Err(missing("there are fewer results than texts"));
    }
    let weight: u64 = parts.iter().map(|part| u64::from(part.tokens)).sum();
    let (mut from, mut before) = (0, 0);
    let shares = parts.iter().map(|part| {
        let items = &found.items[from..from + part.items as usize];
        from += part.items as usize;
        let after = before + u64::from(part.tokens);
        // Rounded at the borders between callers, so that the shares add up to what the engine counted.
        let prompt = found.prompt.as_ref().map(|(_, all)| {
            let up_to = |part: u64| (u128::from(*all) * u128::from(part) / u128::from(weight.max(1))) as u64;
            up_to(after) - up_to(before)
        });
        before = after;
        let usage = prompt
            .map(|prompt| Usage { prompt: u32::try_from(prompt).unwrap_or(u32::MAX), ..Usage::default() });
        Share { body: found.share(answer, (&data, items), prompt), usage }
    });
    Ok(shares.collect())
}

impl Found {
    fn document(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        let mut first = true;
        scanner.enter_object()?;
        while let Some(key) = scanner.next_key(&mut first)? {
            if scanner.says(&key, "data") {
                if self.data.is_some() {
                    return Err(scanner.error("there are two lists of results"));
                }
                self.list(scanner)?;
            } else if scanner.says(&key, "usage") && scanner.kind()? == Next::Object {
                self.usage(scanner)?;
            } else {
                scanner.pass()?;
            }
        }
        Ok(())
    }

    fn list(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        let from = scanner.position();
        let mut first = true;
        scanner.enter_array()?;
        while scanner.next_item(&mut first)? {
            let (item, index) = item(scanner)?;
            let place = index.and_then(|index| self.items.get_mut(usize::try_from(index).ok()?));
            match place {
                Some(place) if place.is_none() => *place = Some(item),
                _ => return Err(scanner.error("a result has no index of its own")),
            }
        }
        self.data = Some(from..scanner.position());
        Ok(())
    }

    fn usage(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        let mut first = true;
        scanner.enter_object()?;
        while let Some(key) = scanner.next_key(&mut first)? {
            let (prompt, total) = (scanner.says(&key, "prompt_tokens"), scanner.says(&key, "total_tokens"));
            if (!prompt && !total) || scanner.kind()? != Next::Number {
                scanner.pass()?;
                continue;
            }
            let from = scanner.position();
            let number = scanner.whole()?;
            let at = from..scanner.position();
            if prompt {
                self.prompt = number.map(|number| (at, number));
            } else {
                self.total = Some(at);
            }
        }
        Ok(())
    }

    /// The answer with these of its items, counted from 0, and these tokens.
    fn share(
        &self,
        answer: &Bytes,
        (data, items): (&Range<usize>, &[Option<Item>]),
        prompt: Option<u64>,
    ) -> Bytes {
        let items = items.iter().flatten();
        let size: usize = items.clone().map(|item| item.at.len() + 8).sum();
        let mut body = BytesMut::with_capacity(answer.len() - data.len() + size + 32);
        let mut copy = Copy { answer, body: &mut body, from: 0 };
        let mut changes: Vec<(Range<usize>, Option<u64>)> = vec![(data.clone(), None)];
        if let (Some(tokens), Some((at, _))) = (prompt, &self.prompt) {
            changes.push((at.clone(), Some(tokens)));
            changes.extend(self.total.clone().map(|at| (at, Some(tokens))));
        }
        changes.sort_unstable_by_key(|(at, _)| at.start);
        for (at, number) in changes {
            copy.up_to(&at);
            match number {
                Some(number) => copy.number(number),
                None => {
                    let mut between = b'[';
                    for (place, Item { at, index }) in items.clone().enumerate() {
                        copy.body.put_u8(between);
                        copy.body.put_slice(&answer[at.start..index.start]);
                        copy.number(place as u64);
                        copy.body.put_slice(&answer[index.end..at.end]);
                        between = b',';
                    }
                    copy.body.put_u8(b']');
                }
            }
        }
        copy.up_to(&(answer.len()..answer.len()));
        body.freeze()
    }
}

/// An item of the list and its index.
fn item(scanner: &mut Scanner<'_>) -> Result<(Item, Option<u64>), JsonError> {
    scanner.kind()?;
    let from = scanner.position();
    let (mut first, mut index) = (true, None);
    scanner.enter_object()?;
    while let Some(key) = scanner.next_key(&mut first)? {
        if !scanner.says(&key, "index") || scanner.kind()? != Next::Number {
            scanner.pass()?;
            continue;
        }
        let at = scanner.position();
        let number = scanner.whole()?;
        if index.replace((at..scanner.position(), number)).is_some() {
            return Err(scanner.error("a result has two indices"));
        }
    }
    let (index, number) = index.ok_or_else(|| scanner.error("a result has no index"))?;
    Ok((Item { at: from..scanner.position(), index }, number))
}

/// An answer being written again with changes.
struct Copy<'a> {
    answer: &'a [u8],
    body: &'a mut BytesMut,
    from: usize,
}

impl Copy<'_> {
    fn up_to(&mut self, at: &Range<usize>) {
        self.body.put_slice(&self.answer[self.from..at.start]);
        self.from = at.end;
    }

    fn number(&mut self, number: u64) {
        self.body.put_slice(itoa::Buffer::new().format(number).as_bytes());
    }
}
