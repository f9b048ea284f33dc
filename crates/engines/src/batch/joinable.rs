//! What can be joined with others. Hot path: no document is built, and what is kept are slices.

use std::ops::Range;

use bytes::Bytes;
use plimsoll_batching::budget::Size;
use plimsoll_types::Kind;
use smallvec::SmallVec;

use super::lists::{List, Sum};
use crate::json::{JsonError, Next, Scanner, Str};

/// The longest frame of a body that may be joined: whoever says so much beside his texts is not one of many.
const MAX_FRAME: usize = 4 << 10;
/// The longest answers that are joined, in tokens: all that are joined come when the longest is written, and an engine
/// that writes several at a time anyway would have given the others theirs long before.
const MAX_ANSWER: u64 = 64;

/// How texts are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// As strings.
    Text,
    /// As arrays of tokens.
    Tokens,
}

/// All of a body but what differs between those that are joined: what stands before, between and after that.
pub type Frame = SmallVec<[Bytes; 3]>;

/// What was read from a body that can be joined with others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joinable {
    /// How its texts are given. An array that holds both is one that some engines refuse.
    pub form: Form,
    /// Texts, or pairs of them.
    pub items: u32,
    /// Tokens of all of them, estimated where they are strings.
    pub tokens: u32,
    /// Tokens of the longest.
    pub longest: u32,
    pub(super) kind: Kind,
    /// The most tokens that are written for each.
    pub(super) answer: u32,
    /// How many results are wanted, the best ones, where that is said.
    pub(super) top: Option<u32>,
    /// What is another's in another body, in the order of the text.
    pub(super) holes: SmallVec<[Hole; 2]>,
}

/// The value of a key, which is no part of the frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hole {
    pub(super) value: Range<usize>,
    pub(super) holds: Holds,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holds {
    /// The texts, which stand here with commas between them.
    Texts(Range<usize>),
    /// The one text that goes with each of the others.
    One(Range<usize>),
    /// How many results are wanted.
    Top,
}

impl Joinable {
    /// Reads the body of a request of `kind`; `None` where it cannot be joined with others, whatever the reason.
    ///
    /// The body must be one that was checked on its way in: UTF-8 and one JSON object.
    #[must_use]
    pub fn read(kind: Kind, body: &[u8]) -> Option<Self> {
        let scanner = &mut Scanner::new(body);
        let read = match kind {
            Kind::Embedding => embedding(scanner),
            Kind::Rerank => rerank(scanner),
            Kind::Score => score(scanner),
            Kind::Completion => completion(scanner),
            _ => return None,
        };
        let read = read.ok()??;
        let values: usize = read.holes.iter().map(|hole| hole.value.len()).sum();
        (body.len() - values <= MAX_FRAME).then_some(read)
    }

    /// What it takes of a budget.
    #[must_use]
    pub fn size(&self) -> Size {
        let written = self.items.saturating_mul(self.answer);
        Size {
            items: self.items,
            tokens: self.tokens.saturating_add(written),
            longest: self.longest.saturating_add(self.answer),
        }
    }

    /// All of `body` but what differs between those that are joined.
    #[must_use]
    pub fn frame(&self, body: &Bytes) -> Frame {
        let mut from = 0;
        let mut frame = Frame::new();
        for hole in &self.holes {
            frame.push(body.slice(from..hole.value.start));
            from = hole.value.end;
        }
        frame.push(body.slice(from..));
        frame
    }

    fn new((kind, form): (Kind, Form), sum: Sum, mut holes: SmallVec<[Hole; 2]>) -> Option<Self> {
        holes.sort_unstable_by_key(|hole| hole.value.start);
        let number = |number: usize| u32::try_from(number).ok();
        let (items, tokens, longest) = (number(sum.items)?, number(sum.tokens)?, number(sum.longest)?);
        Some(Self { form, items, tokens, longest, kind, answer: 0, top: None, holes })
    }
}

type Read = Result<Option<Joinable>, JsonError>;

fn embedding(scanner: &mut Scanner<'_>) -> Read {
    let mut first = true;
    scanner.enter_object()?;
    while let Some(key) = scanner.next_key(&mut first)? {
        if scanner.says(&key, "input") {
            // It stands there once; the rest was checked when the body came in, and nothing of it is wanted.
            let Some(list) = List::read(scanner)? else { return Ok(None) };
            let (form, sum) = (list.form, list.sum);
            return Ok(Joinable::new((Kind::Embedding, form), sum, [texts(list)].into_iter().collect()));
        }
        scanner.pass()?;
    }
    Ok(None)
}

/// One query, and documents that are ranked by how well they answer it. Engines read each beside the query alone.
fn rerank(scanner: &mut Scanner<'_>) -> Read {
    let (mut first, mut query, mut documents, mut top) = (true, None, None, None);
    scanner.enter_object()?;
    while let Some(key) = scanner.next_key(&mut first)? {
        if scanner.says(&key, "query") {
            query = one(scanner)?;
        } else if scanner.says(&key, "documents") {
            documents = one_or_more(scanner)?;
        } else if scanner.says(&key, "top_n") && scanner.kind()? == Next::Number {
            let from = scanner.position();
            let number = scanner.whole()?.and_then(|number| u32::try_from(number).ok());
            let Some(number) = number.filter(|_| top.is_none()) else { return Ok(None) };
            top = Some((number, Hole { value: from..scanner.position(), holds: Holds::Top }));
        } else {
            scanner.pass()?;
        }
    }
    let (Some(query), Some(documents)) = (query, documents) else { return Ok(None) };
    let sum = beside(documents.sum, query.sum.tokens);
    // None at all is what engines call all of them.
    let top = top.filter(|(number, _)| *number > 0);
    let wanted = top.as_ref().map(|(number, _)| *number);
    let holes = [texts(documents)].into_iter().chain(top.map(|(_, hole)| hole)).collect();
    let read = Joinable::new((Kind::Rerank, Form::Text), sum, holes);
    Ok(read.map(|read| Joinable { top: wanted, ..read }))
}

/// Pairs of texts: one beside each of several, or as many on either side.
fn score(scanner: &mut Scanner<'_>) -> Read {
    const LEFT: [&str; 3] = ["text_1", "queries", "data_1"];
    const RIGHT: [&str; 4] = ["text_2", "documents", "items", "data_2"];
    let (mut first, mut sides) = (true, [None, None]);
    scanner.enter_object()?;
    while let Some(key) = scanner.next_key(&mut first)? {
        let says = |name: &&str| scanner.says(&key, name);
        let side = match (LEFT.iter().any(says), RIGHT.iter().any(says)) {
            (true, _) => &mut sides[0],
            (_, true) => &mut sides[1],
            _ => {
                scanner.pass()?;
                continue;
            }
        };
        let Some(list) = one_or_more(scanner)?.filter(|_| side.is_none()) else { return Ok(None) };
        *side = Some(list);
    }
    let [Some(left), Some(right)] = sides else { return Ok(None) };
    let (sum, left) = if left.sum.items == right.sum.items {
        let pairs = Sum {
            items: right.sum.items,
            tokens: left.sum.tokens + right.sum.tokens,
            longest: left.sum.longest + right.sum.longest,
        };
        (pairs, texts(left))
    } else if left.sum.items == 1 {
        (beside(right.sum, left.sum.tokens), Hole { value: left.value, holds: Holds::One(left.texts) })
    } else {
        return Ok(None);
    };
    Ok(Joinable::new((Kind::Score, Form::Text), sum, [left, texts(right)].into_iter().collect()))
}

/// A short answer to each of several prompts, where the engine says of each how long it is, or where that is known
/// beforehand: it counts them together, and nobody is to pay for another.
fn completion(scanner: &mut Scanner<'_>) -> Read {
    let (mut first, mut prompt, mut limit, mut told) = (true, None, None, false);
    scanner.enter_object()?;
    while let Some(key) = scanner.next_key(&mut first)? {
        let number = |scanner: &mut Scanner<'_>| {
            let is = scanner.kind()? == Next::Number;
            if is { scanner.whole() } else { scanner.pass().map(|()| None) }
        };
        match plain_key(scanner, &key) {
            Some("prompt") => prompt = List::read(scanner)?,
            Some("max_tokens") => limit = number(scanner)?,
            Some("logprobs") => told |= number(scanner)?.is_some(),
            Some("return_token_ids") => told |= is_true(scanner)?,
            Some("stream" | "echo") if !is_true(scanner)? => {}
            Some("n" | "best_of") if matches!(number(scanner)?, None | Some(1)) => {}
            Some("stream" | "echo" | "n" | "best_of") => return Ok(None),
            Some(_) => scanner.pass()?,
            // A key that is not known here may mean something else for several than for one.
            None if scanner.kind()? == Next::Null => scanner.pass()?,
            None => return Ok(None),
        }
    }
    let (Some(prompt), Some(limit @ 1..=MAX_ANSWER)) = (prompt, limit) else { return Ok(None) };
    if !told && limit > 1 {
        return Ok(None);
    }
    let (form, sum) = (prompt.form, prompt.sum);
    let read = Joinable::new((Kind::Completion, form), sum, [texts(prompt)].into_iter().collect());
    Ok(read.map(|read| Joinable { answer: limit as u32, ..read }))
}

/// Keys of completions that mean for each of several prompts what they mean for one.
const PLAIN_KEYS: [&str; 25] = [
    "model",
    "prompt",
    "max_tokens",
    "logprobs",
    "return_token_ids",
    "stream",
    "echo",
    "n",
    "best_of",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "logit_bias",
    "stop",
    "stop_token_ids",
    "include_stop_str_in_output",
    "ignore_eos",
    "min_tokens",
    "add_special_tokens",
    "skip_special_tokens",
    "spaces_between_special_tokens",
];

fn plain_key(scanner: &Scanner<'_>, key: &Str) -> Option<&'static str> {
    PLAIN_KEYS.into_iter().find(|name| scanner.says(key, name))
}

fn is_true(scanner: &mut Scanner<'_>) -> Result<bool, JsonError> {
    if scanner.kind()? == Next::Bool {
        return scanner.boolean();
    }
    // What is neither is for the engine to refuse, and for its caller alone to hear.
    let null = scanner.kind()? == Next::Null;
    scanner.pass()?;
    Ok(!null)
}

fn texts(list: List) -> Hole {
    Hole { value: list.value, holds: Holds::Texts(list.texts) }
}

/// One text, in words.
fn one(scanner: &mut Scanner<'_>) -> Result<Option<List>, JsonError> {
    Ok(if scanner.kind()? == Next::String { List::read(scanner)? } else { scanner.pass().map(|()| None)? })
}

/// One or more of them.
fn one_or_more(scanner: &mut Scanner<'_>) -> Result<Option<List>, JsonError> {
    Ok(List::read(scanner)?.filter(|list| list.form == Form::Text))
}

/// Texts, each of which is read together with another of so many tokens.
fn beside(texts: Sum, tokens: usize) -> Sum {
    Sum { items: texts.items, tokens: texts.tokens + texts.items * tokens, longest: texts.longest + tokens }
}
