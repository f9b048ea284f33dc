//! What an answer to several texts holds, and where.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use plimsoll_types::Kind;

use super::join::put_number;
use crate::json::{JsonError, Next, Scanner};

/// An answer that has each index once and no more: whatever a backend says, nobody gets what is another's.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What `id` says, without the quotes.
    pub(super) id: Option<Range<usize>>,
    /// The array of results, brackets included.
    pub(super) list: Range<usize>,
    /// Results in the order in which they stand.
    pub(super) items: Vec<Item>,
    /// Where in that order each index is.
    pub(super) by_index: Vec<usize>,
    /// The figures of `usage`.
    pub(super) usage: Vec<Figure>,
}

/// A result.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) at: Range<usize>,
    /// The number of its index.
    pub(super) index_at: Range<usize>,
    pub(super) index: usize,
    /// Tokens that were written, where it tells.
    pub(super) written: Option<u64>,
    /// How well it answers the query.
    pub(super) score: Option<f64>,
}

/// A number in `usage`.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) at: Range<usize>,
    pub(super) name: Range<usize>,
    /// `None` where it is not a whole one.
    pub(super) value: Option<u64>,
    pub(super) counts: Counts,
}

/// What a figure is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counts {
    Prompt,
    Cached,
    /// Some of the prompt.
    OfPrompt,
    Written,
    All,
    Other,
}

impl Found {
    /// Reads an answer to so many texts.
    pub(super) fn read(kind: Kind, answer: &[u8], texts: usize) -> Result<Self, JsonError> {
        std::str::from_utf8(answer)
            .map_err(|error| JsonError { at: error.valid_up_to(), what: "not UTF-8" })?;
        let name = match kind {
            Kind::Rerank => "results",
            Kind::Completion => "choices",
            _ => "data",
        };
        let mut found = Self { by_index: vec![usize::MAX; texts], ..Self::default() };
        let mut scanner = Scanner::new(answer);
        let mut first = true;
        scanner.enter_object()?;
        while let Some(key) = scanner.next_key(&mut first)? {
            if scanner.says(&key, name) {
                if !found.list.is_empty() {
                    return Err(scanner.error("there are two lists of results"));
                }
                found.list(&mut scanner)?;
            } else if scanner.says(&key, "usage") && scanner.kind()? == Next::Object {
                found.usage(&mut scanner, None)?;
            } else if scanner.says(&key, "id") && scanner.kind()? == Next::String {
                found.id = Some(scanner.string()?.raw);
            } else {
                scanner.pass()?;
            }
        }
        scanner.finish()?;
        let missing = |what| Err(JsonError { at: answer.len(), what });
        if found.list.is_empty() {
            return missing("there is no list of results");
        }
        if found.by_index.contains(&usize::MAX) {
            return missing("there are fewer results than texts");
        }
        Ok(found)
    }

    /// The figure that counts this.
    pub(super) fn figure(&self, counts: Counts) -> Option<u64> {
        self.usage.iter().find(|figure| figure.counts == counts)?.value
    }

    fn list(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        scanner.kind()?;
        let from = scanner.position();
        let mut first = true;
        scanner.enter_array()?;
        while scanner.next_item(&mut first)? {
            let item = Item::read(scanner)?;
            match self.by_index.get_mut(item.index) {
                Some(place) if *place == usize::MAX => *place = self.items.len(),
                _ => return Err(scanner.error("a result has no index of its own")),
            }
            self.items.push(item);
        }
        self.list = from..scanner.position();
        Ok(())
    }

    /// Reads figures: those of `usage` itself, or of an object in it.
    fn usage(&mut self, scanner: &mut Scanner<'_>, of: Option<Counts>) -> Result<(), JsonError> {
        let mut first = true;
        scanner.enter_object()?;
        while let Some(key) = scanner.next_key(&mut first)? {
            let says = |name: &str| scanner.says(&key, name);
            let counts = match of {
                Some(Counts::OfPrompt) if says("cached_tokens") => Counts::Cached,
                Some(of) => of,
                None if says("prompt_tokens") => Counts::Prompt,
                None if says("completion_tokens") => Counts::Written,
                None if says("total_tokens") => Counts::All,
                None if says("prompt_tokens_details") => Counts::OfPrompt,
                None => Counts::Other,
            };
            match scanner.kind()? {
                Next::Object if of.is_none() => {
                    let of = if counts == Counts::OfPrompt { counts } else { Counts::Other };
                    self.usage(scanner, Some(of))?;
                }
                Next::Number => {
                    let from = scanner.position();
                    let value = scanner.whole()?;
                    self.usage.push(Figure { at: from..scanner.position(), name: key.raw, value, counts });
                }
                _ => scanner.pass()?,
            }
        }
        Ok(())
    }
}

impl Item {
    fn read(scanner: &mut Scanner<'_>) -> Result<Self, JsonError> {
        scanner.kind()?;
        let from = scanner.position();
        let (mut first, mut index, mut written, mut score) = (true, None, None, None);
        scanner.enter_object()?;
        while let Some(key) = scanner.next_key(&mut first)? {
            let kind = scanner.kind()?;
            let at = scanner.position();
            if kind == Next::Number && scanner.says(&key, "index") {
                let number = scanner.whole()?.and_then(|number| usize::try_from(number).ok());
                if index.replace((at..scanner.position(), number)).is_some() {
                    return Err(scanner.error("a result has two indices"));
                }
            } else if kind == Next::Array && scanner.says(&key, "token_ids") {
                written = Some(length(scanner)?);
            } else if kind == Next::Object && scanner.says(&key, "logprobs") {
                let tokens = tokens_in(scanner)?;
                written = written.or(tokens);
            } else if kind == Next::Number && scanner.says(&key, "relevance_score") {
                score = scanner.decimal()?;
            } else {
                scanner.pass()?;
            }
        }
        let (index_at, index) = index.ok_or_else(|| scanner.error("a result has no index"))?;
        let index = index.unwrap_or(usize::MAX);
        Ok(Self { at: from..scanner.position(), index_at, index, written, score })
    }
}

/// Tokens of which probabilities are told.
fn tokens_in(scanner: &mut Scanner<'_>) -> Result<Option<u64>, JsonError> {
    let (mut first, mut tokens) = (true, None);
    scanner.enter_object()?;
    while let Some(key) = scanner.next_key(&mut first)? {
        let counts = scanner.says(&key, "tokens") || scanner.says(&key, "content");
        match scanner.kind()? {
            Next::Array if counts => tokens = Some(length(scanner)?),
            _ => scanner.pass()?,
        }
    }
    Ok(tokens)
}

fn length(scanner: &mut Scanner<'_>) -> Result<u64, JsonError> {
    let (mut first, mut length) = (true, 0);
    scanner.enter_array()?;
    while scanner.next_item(&mut first)? {
        scanner.pass()?;
        length += 1;
    }
    Ok(length)
}

/// An answer being written again with changes.
pub(super) struct Copy<'a> {
    answer: &'a [u8],
    pub(super) body: BytesMut,
    from: usize,
}

/// What comes in the place of a piece of an answer.
pub(super) enum Change<'a> {
    Number(u64),
    Id(&'a str),
    /// Results, in this order, with their indices.
    Items(&'a [(&'a Bytes, &'a Item, usize)]),
}

impl<'a> Copy<'a> {
    /// The answer with these changes, each of which is made where it belongs.
    pub(super) fn with(answer: &'a [u8], changes: &mut [(Range<usize>, Change<'_>)]) -> Bytes {
        changes.sort_unstable_by_key(|(at, _)| at.start);
        let results = changes.iter().map(|(_, change)| match change {
            Change::Items(items) => items.iter().map(|(_, item, _)| item.at.len() + 8).sum(),
            _ => 20,
        });
        let cut: usize = changes.iter().map(|(at, _)| at.len()).sum();
        let size = answer.len() - cut + results.sum::<usize>();
        let mut copy = Self { answer, body: BytesMut::with_capacity(size), from: 0 };
        for (at, change) in changes {
            copy.up_to(at);
            match change {
                Change::Number(number) => put_number(&mut copy.body, *number),
                Change::Id(id) => copy.body.put_slice(id.as_bytes()),
                Change::Items(items) => copy.items(items),
            }
        }
        copy.up_to(&(answer.len()..answer.len()));
        copy.body.freeze()
    }

    fn items(&mut self, items: &[(&Bytes, &Item, usize)]) {
        let mut between = b'[';
        for (answer, item, index) in items {
            self.body.put_u8(between);
            self.body.put_slice(&answer[item.at.start..item.index_at.start]);
            put_number(&mut self.body, *index);
            self.body.put_slice(&answer[item.index_at.end..item.at.end]);
            between = b',';
        }
        if items.is_empty() {
            self.body.put_u8(b'[');
        }
        self.body.put_u8(b']');
    }

    fn up_to(&mut self, at: &Range<usize>) {
        self.body.put_slice(&self.answer[self.from..at.start]);
        self.from = at.end;
    }
}
