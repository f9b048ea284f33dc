//! Walks over JSON text without building a document.
//!
//! What is skipped is checked: a body that passes is one that every other reader understands in the same way, up to
//! what RFC 8259 leaves open. Strings are walked at the speed of `memchr`. Text that is not UTF-8 must be refused
//! before. Hot path: no allocation, no lock, no await.

mod escape;
mod scalar;
mod skip;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub(crate) use escape::unescape;
pub use skip::Visit;

/// How deep objects and arrays may be nested.
pub const MAX_DEPTH: u32 = 64;

/// Where and why the text is not what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct JsonError {
    /// Offset of the byte at fault.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

/// A string in the text: the bytes between its quotes, escapes and all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Str {
    /// Where it stands, without the quotes.
    pub raw: Range<usize>,
    /// Whether escapes must be resolved to know what it says.
    pub escaped: bool,
}

/// What kind of value comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// `{`
    Object,
    /// `[`
    Array,
    /// `"`
    String,
    /// A digit or a minus sign.
    Number,
    /// `true` or `false`
    Bool,
    /// `null`
    Null,
}

/// A position in JSON text.
#[derive(Debug, Clone)]
pub struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// A scanner at the beginning of `text`.
    #[must_use]
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// A scanner at another place of the same text.
    pub(crate) fn again_from(&self, at: usize) -> Self {
        Self { text: self.text, at }
    }

    /// All of the text.
    #[must_use]
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// The offset of the next byte.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// The bytes of `str`, escapes unresolved.
    #[must_use]
    pub fn raw(&self, str: &Str) -> &'a [u8] {
        &self.text[str.raw.clone()]
    }

    /// Whether `str` says `text`.
    #[must_use]
    pub fn says(&self, str: &Str, text: &str) -> bool {
        if str.escaped { self.decode(str) == text } else { self.raw(str) == text.as_bytes() }
    }

    /// What `str` says. A lone half of a surrogate pair becomes U+FFFD.
    #[must_use]
    pub fn decode(&self, str: &Str) -> String {
        let quoted = &self.text[str.raw.start - 1..=str.raw.end];
        // Lone surrogates are legal JSON text for a scanner and an error for serde_json.
        serde_json::from_slice(quoted).unwrap_or_else(|_| String::from_utf8_lossy(self.raw(str)).into_owned())
    }

    /// What comes next.
    ///
    /// # Errors
    ///
    /// Where no value begins here.
    pub fn kind(&mut self) -> Result<Next, JsonError> {
        self.space();
        match self.text.get(self.at) {
            Some(b'{') => Ok(Next::Object),
            Some(b'[') => Ok(Next::Array),
            Some(b'"') => Ok(Next::String),
            Some(b'-' | b'0'..=b'9') => Ok(Next::Number),
            Some(b't' | b'f') => Ok(Next::Bool),
            Some(b'n') => Ok(Next::Null),
            Some(_) => Err(self.error("expected a value")),
            None => Err(self.error("the text ends where a value should be")),
        }
    }

    /// Goes into an object.
    ///
    /// # Errors
    ///
    /// Where none begins here.
    pub fn enter_object(&mut self) -> Result<(), JsonError> {
        self.space();
        self.expect(b'{', "expected an object")
    }

    /// Goes to the next value of the object that was entered and gives its key; `None` at its end. `first` must be
    /// true for the first key and is set to false.
    ///
    /// # Errors
    ///
    /// Where the text is not an object.
    pub fn next_key(&mut self, first: &mut bool) -> Result<Option<Str>, JsonError> {
        self.space();
        if self.text.get(self.at) == Some(&b'}') {
            self.at += 1;
            return Ok(None);
        }
        if !std::mem::replace(first, false) {
            self.expect(b',', "expected a comma or the end of the object")?;
            self.space();
        }
        let key = self.string_here("expected a key in double quotes")?;
        self.space();
        self.expect(b':', "expected a colon after the key")?;
        self.space();
        Ok(Some(key))
    }

    /// Goes into an array.
    ///
    /// # Errors
    ///
    /// Where none begins here.
    pub fn enter_array(&mut self) -> Result<(), JsonError> {
        self.space();
        self.expect(b'[', "expected an array")
    }

    /// Goes to the next item of the array that was entered; false at its end. `first` as in
    /// [`next_key`](Self::next_key).
    ///
    /// # Errors
    ///
    /// Where the text is not an array.
    pub fn next_item(&mut self, first: &mut bool) -> Result<bool, JsonError> {
        self.space();
        if self.text.get(self.at) == Some(&b']') {
            self.at += 1;
            return Ok(false);
        }
        if !std::mem::replace(first, false) {
            self.expect(b',', "expected a comma or the end of the array")?;
            self.space();
        }
        Ok(true)
    }

    /// Checks that nothing but white space is left.
    ///
    /// # Errors
    ///
    /// Where something is.
    pub fn finish(&mut self) -> Result<(), JsonError> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { Err(self.error("more text after the document")) }
    }

    /// An error at the next byte.
    #[must_use]
    pub fn error(&self, what: &'static str) -> JsonError {
        JsonError { at: self.at, what }
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.text.get(self.at) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), JsonError> {
        if self.text.get(self.at) != Some(&byte) {
            return Err(self.error(what));
        }
        self.at += 1;
        Ok(())
    }
}
