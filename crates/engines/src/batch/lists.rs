//! The texts that a body holds under one of its keys. Hot path: nothing is built, and what is kept are slices.

use std::ops::Range;

use super::Form;
use crate::json::{JsonError, Next, Scanner};

/// Bytes of text that make a token, roughly.
pub(super) const BYTES_PER_TOKEN: usize = 4;
/// Tokens that an engine adds to each text, such as those for its beginning and its end.
pub(super) const ADDED: usize = 2;

/// One text or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct List {
    pub(super) form: Form,
    /// The value of the key.
    pub(super) value: Range<usize>,
    /// The texts in it, with commas between them.
    pub(super) texts: Range<usize>,
    pub(super) sum: Sum,
}

/// What texts come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) items: usize,
    pub(super) tokens: usize,
    pub(super) longest: usize,
}

impl List {
    /// What the scanner is at: a text or several, or a text in tokens or several. `None` where it is something else, or
    /// holds a text that is empty.
    pub(super) fn read(scanner: &mut Scanner<'_>) -> Result<Option<Self>, JsonError> {
        Self::read_each(scanner, |_, _| {})
    }

    /// The same, telling `each` where every text stands and how many tokens it has.
    pub(super) fn read_each(
        scanner: &mut Scanner<'_>,
        mut each: impl FnMut(Range<usize>, usize),
    ) -> Result<Option<Self>, JsonError> {
        let kind = scanner.kind()?;
        let from = scanner.position();
        let mut sum = Sum::default();
        if kind == Next::String {
            let Some(tokens) = text(scanner)? else { return Ok(None) };
            sum.add(tokens);
            let at = from..scanner.position();
            each(at.clone(), tokens);
            return Ok(Some(Self { form: Form::Text, value: at.clone(), texts: at, sum }));
        }
        if kind != Next::Array {
            scanner.pass()?;
            return Ok(None);
        }
        let (mut form, mut first, mut begins, mut ends) = (None, true, from, from);
        scanner.enter_array()?;
        while scanner.next_item(&mut first)? {
            let kind = scanner.kind()?;
            let at = scanner.position();
            let (this, tokens) = match kind {
                Next::String => (Form::Text, text(scanner)?),
                Next::Array => (Form::Tokens, tokens(scanner)?),
                // One text in tokens, whose array is the value itself.
                Next::Number if form.is_none() => {
                    let mut whole = scanner.again_from(from);
                    let Some(tokens) = tokens(&mut whole)? else { return Ok(None) };
                    sum.add(tokens);
                    *scanner = whole;
                    let at = from..scanner.position();
                    each(at.clone(), tokens);
                    return Ok(Some(Self { form: Form::Tokens, value: at.clone(), texts: at, sum }));
                }
                _ => return Ok(None),
            };
            let Some(tokens) = tokens.filter(|_| form.is_none_or(|form| form == this)) else {
                return Ok(None);
            };
            sum.add(tokens);
            begins = if form.is_none() { at } else { begins };
            (form, ends) = (Some(this), scanner.position());
            each(at..ends, tokens);
        }
        let value = from..scanner.position();
        Ok(form.map(|form| Self { form, value, texts: begins..ends, sum }))
    }
}

impl Sum {
    fn add(&mut self, tokens: usize) {
        self.items += 1;
        self.tokens += tokens;
        self.longest = self.longest.max(tokens);
    }
}

/// Tokens of a string. An empty one is refused by engines, and he who sends it is to hear that alone.
fn text(scanner: &mut Scanner<'_>) -> Result<Option<usize>, JsonError> {
    let text = scanner.known_string()?;
    Ok((!text.raw.is_empty()).then_some(text.raw.len() / BYTES_PER_TOKEN + ADDED))
}

/// Tokens in an array of them.
fn tokens(scanner: &mut Scanner<'_>) -> Result<Option<usize>, JsonError> {
    let (mut first, mut count) = (true, 0);
    scanner.enter_array()?;
    while scanner.next_item(&mut first)? {
        if scanner.kind()? != Next::Number || scanner.whole()?.is_none() {
            return Ok(None);
        }
        count += 1;
    }
    Ok((count > 0).then_some(count))
}
