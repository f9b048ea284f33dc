//! Bodies into one. Hot path up to the join itself: no document is built, and what is kept are slices.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use plimsoll_types::{Kind, Request};

use crate::json::{JsonError, Next, Scanner};

/// The longest frame of a body that may be joined: whoever says so much beside his texts is not one of many.
const MAX_FRAME: usize = 4 << 10;
/// Bytes of text that make a token, roughly.
const BYTES_PER_TOKEN: usize = 4;
/// Tokens that an engine adds to each text, such as those for its beginning and its end.
const ADDED: usize = 2;

/// How texts are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// As strings.
    Text,
    /// As arrays of tokens.
    Tokens,
}

/// What was read from a body that can be joined with others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joinable {
    /// How its texts are given. An array that holds both is one that some engines refuse.
    pub form: Form,
    /// Texts.
    pub items: u32,
    /// Tokens of all of them, estimated where they are strings.
    pub tokens: u32,
    /// Tokens of the longest.
    pub longest: u32,
    /// The value of `input`.
    value: Range<usize>,
    /// The texts in it, with commas between them.
    texts: Range<usize>,
}

impl Joinable {
    /// Reads the body of a request of `kind`; `None` where it cannot be joined with others, whatever the reason.
    ///
    /// The body must be one that was checked on its way in: UTF-8, one JSON object, `input` given once.
    #[must_use]
    pub fn read(kind: Kind, body: &[u8]) -> Option<Self> {
        if kind != Kind::Embedding {
            return None;
        }
        let mut scanner = Scanner::new(body);
        let read = find(&mut scanner, "input").ok()??;
        (body.len() - read.value.len() <= MAX_FRAME).then_some(read)
    }

    /// All of `body` but its texts: what stands before them and after.
    #[must_use]
    pub fn frame(&self, body: &Bytes) -> [Bytes; 2] {
        [body.slice(..self.value.start), body.slice(self.value.end..)]
    }
}

fn find(scanner: &mut Scanner<'_>, name: &str) -> Result<Option<Joinable>, JsonError> {
    let (mut first, mut found) = (true, None);
    scanner.enter_object()?;
    while let Some(key) = scanner.next_key(&mut first)? {
        if scanner.says(&key, name) {
            found = texts(scanner)?;
            // The rest was checked when the body came in, and nothing of it is wanted.
            break;
        }
        scanner.pass()?;
    }
    Ok(found)
}

/// What `input` holds: a text or several, or a text in tokens or several.
fn texts(scanner: &mut Scanner<'_>) -> Result<Option<Joinable>, JsonError> {
    let from = scanner.position();
    if scanner.kind()? == Next::String {
        let mut sum = Sum::default();
        let whole = sum.text(scanner)?;
        let at = from..scanner.position();
        return Ok(sum.joinable(Form::Text, at.clone(), at).filter(|_| whole));
    }
    let Next::Array = scanner.kind()? else { return Ok(None) };
    let (mut sum, mut form, mut first, mut ends) = (Sum::default(), None, true, from);
    scanner.enter_array()?;
    let begins = scanner.position();
    while scanner.next_item(&mut first)? {
        let this = match scanner.kind()? {
            Next::String => sum.text(scanner)?.then_some(Form::Text),
            Next::Array => sum.tokens(scanner)?.then_some(Form::Tokens),
            // One text in tokens, whose array is the value itself.
            Next::Number if form.is_none() => {
                let mut whole = scanner.again_from(from);
                let good = sum.tokens(&mut whole)?;
                let at = from..whole.position();
                return Ok(sum.joinable(Form::Tokens, at.clone(), at).filter(|_| good));
            }
            _ => None,
        };
        if this.is_none() || form.is_some_and(|form| Some(form) != this) {
            return Ok(None);
        }
        (form, ends) = (this, scanner.position());
    }
    let value = from..scanner.position();
    Ok(form.and_then(|form| sum.joinable(form, value, begins..ends)))
}

/// What the texts of a body come to.
#[derive(Default)]
struct Sum {
    items: usize,
    tokens: usize,
    longest: usize,
}

impl Sum {
    /// Takes a string. An empty one is refused by engines, and he who sends it is to hear that alone.
    fn text(&mut self, scanner: &mut Scanner<'_>) -> Result<bool, JsonError> {
        let text = scanner.string()?;
        self.add(text.raw.len() / BYTES_PER_TOKEN + ADDED);
        Ok(!text.raw.is_empty())
    }

    /// Takes an array of tokens.
    fn tokens(&mut self, scanner: &mut Scanner<'_>) -> Result<bool, JsonError> {
        let (mut first, mut count) = (true, 0);
        scanner.enter_array()?;
        while scanner.next_item(&mut first)? {
            if scanner.kind()? != Next::Number || scanner.whole()?.is_none() {
                return Ok(false);
            }
            count += 1;
        }
        self.add(count);
        Ok(count > 0)
    }

    fn add(&mut self, tokens: usize) {
        self.items += 1;
        self.tokens += tokens;
        self.longest = self.longest.max(tokens);
    }

    fn joinable(&self, form: Form, value: Range<usize>, texts: Range<usize>) -> Option<Joinable> {
        let number = |number: usize| u32::try_from(number).ok();
        Some(Joinable {
            form,
            items: number(self.items)?,
            tokens: number(self.tokens)?,
            longest: number(self.longest)?,
            value,
            texts,
        })
    }
}

/// One request of several, whose frames are the same. It is the first one's in all but its texts.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn join(parts: &[(&Request, &Joinable)]) -> Request {
    let (first, read) = parts.first().expect("somebody is joined");
    let [before, after] = read.frame(&first.body);
    let texts: usize = parts.iter().map(|(_, read)| read.texts.len() + 1).sum();
    let mut body = BytesMut::with_capacity(before.len() + texts + 2 + after.len());
    body.put_slice(&before);
    let mut between = b'[';
    for (request, read) in parts {
        body.put_u8(between);
        body.put_slice(&request.body[read.texts.clone()]);
        between = b',';
    }
    body.put_u8(b']');
    let ends = body.len();
    body.put_slice(&after);
    let mut envelope = first.envelope.clone();
    if envelope.model_at.start >= read.value.end {
        let moved = |at: usize| at - read.value.end + ends;
        envelope.model_at = moved(envelope.model_at.start)..moved(envelope.model_at.end);
    }
    envelope.prompt_tokens =
        parts.iter().fold(0, |sum: u32, (request, _)| sum.saturating_add(request.envelope.prompt_tokens));
    Request { envelope, body: body.freeze() }
}
