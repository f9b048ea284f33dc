//! Walks over JSON text without building a document.
//!
//! What is skipped is checked: a body that passes is one that every other reader understands in the same way, up to
//! what RFC 8259 leaves open. Strings are walked at the speed of `memchr`. Text that is not UTF-8 must be refused
//! before. Hot path: no allocation, no lock, no await.

mod escape;
mod scalar;

use std::ops::Range;

pub(crate) use escape::unescape;

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

/// Who is shown what a value holds, in the order of the text. Depth is how many objects and arrays are open, those
/// around the value not counted.
pub trait Visit {
    /// A key, with the scanner at its value.
    ///
    /// # Errors
    ///
    /// What ends the walk.
    fn key(&mut self, scanner: &Scanner<'_>, key: &Str, depth: u32) -> Result<(), JsonError>;

    /// An object or an array has begun, which `depth` counts.
    fn open(&mut self, depth: u32);

    /// A string, a number or a word, and where it stands, quotes included.
    fn scalar(&mut self, at: Range<usize>, depth: u32);
}

/// Nobody wants to see anything.
impl Visit for () {
    fn key(&mut self, _: &Scanner<'_>, _: &Str, _: u32) -> Result<(), JsonError> {
        Ok(())
    }
    fn open(&mut self, _: u32) {}
    fn scalar(&mut self, _: Range<usize>, _: u32) {}
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

    /// Takes a string.
    ///
    /// # Errors
    ///
    /// Where none begins here, or it is malformed.
    pub fn string(&mut self) -> Result<Str, JsonError> {
        self.space();
        self.string_here("expected a string")
    }

    /// Takes a string of a text that was walked over before: what was found good then is not looked at again.
    ///
    /// # Errors
    ///
    /// Where none begins here.
    pub(crate) fn known_string(&mut self) -> Result<Str, JsonError> {
        self.space();
        self.string_to_its_end("expected a string")
    }

    /// Takes `true` or `false`.
    ///
    /// # Errors
    ///
    /// Where neither stands here.
    pub fn boolean(&mut self) -> Result<bool, JsonError> {
        self.space();
        let value = self.text.get(self.at) == Some(&b't');
        self.literal(if value { b"true" } else { b"false" })?;
        Ok(value)
    }

    /// Takes a whole number from 0 to 2^64 - 1; `None` for any other number.
    ///
    /// # Errors
    ///
    /// Where no number stands here.
    pub fn whole(&mut self) -> Result<Option<u64>, JsonError> {
        self.space();
        let from = self.at;
        self.number()?;
        let digits = std::str::from_utf8(&self.text[from..self.at]).unwrap_or_default();
        Ok(digits.parse().ok())
    }

    /// Takes a number of any kind; `None` where it is beyond what a float holds.
    ///
    /// # Errors
    ///
    /// Where no number stands here.
    pub(crate) fn decimal(&mut self) -> Result<Option<f64>, JsonError> {
        self.space();
        let from = self.at;
        self.number()?;
        let digits = std::str::from_utf8(&self.text[from..self.at]).unwrap_or_default();
        Ok(digits.parse().ok().filter(|number: &f64| number.is_finite()))
    }

    /// Takes a value of any kind, checking all of it, and gives where it stands.
    ///
    /// # Errors
    ///
    /// Where it is malformed or nested deeper than [`MAX_DEPTH`].
    pub fn skip(&mut self) -> Result<Range<usize>, JsonError> {
        self.skip_with(&mut ())
    }

    /// As [`skip`](Self::skip), for those who do not want to know where it stands.
    ///
    /// # Errors
    ///
    /// As [`skip`](Self::skip).
    pub fn pass(&mut self) -> Result<(), JsonError> {
        self.skip().map(|_| ())
    }

    /// As [`skip`](Self::skip), showing `visit` what the value holds.
    ///
    /// # Errors
    ///
    /// As [`skip`](Self::skip), and what `visit` says.
    pub fn skip_with<V: Visit>(&mut self, visit: &mut V) -> Result<Range<usize>, JsonError> {
        let kind = self.kind()?;
        let from = self.at;
        if !matches!(kind, Next::Object | Next::Array) {
            self.scalar(kind)?;
            visit.scalar(from..self.at, 0);
            return Ok(from..self.at);
        }
        // One bit a level, set for an object.
        let (mut levels, mut depth): (u64, u32) = (0, 0);
        loop {
            // Here a value begins.
            match self.kind()? {
                kind @ (Next::Object | Next::Array) => {
                    if depth == MAX_DEPTH {
                        return Err(self.error("nested too deep"));
                    }
                    levels = levels << 1 | u64::from(kind == Next::Object);
                    depth += 1;
                    self.at += 1;
                    visit.open(depth);
                    self.space();
                    let close = if levels & 1 == 1 { b'}' } else { b']' };
                    if self.text.get(self.at) != Some(&close) {
                        self.member(levels, depth, visit)?;
                        continue;
                    }
                }
                kind => {
                    let begins = self.at;
                    self.scalar(kind)?;
                    visit.scalar(begins..self.at, depth);
                }
            }
            // Here a value has ended; containers may end with it.
            loop {
                self.space();
                match self.text.get(self.at) {
                    Some(b',') => {
                        self.at += 1;
                        self.space();
                        self.member(levels, depth, visit)?;
                        break;
                    }
                    Some(b'}') if levels & 1 == 1 => {}
                    Some(b']') if levels & 1 == 0 => {}
                    _ => return Err(self.error("expected a comma or the end of the value")),
                }
                self.at += 1;
                levels >>= 1;
                depth -= 1;
                if depth == 0 {
                    return Ok(from..self.at);
                }
            }
        }
    }

    /// Goes to the value of the next member: past its key, in an object.
    fn member<V: Visit>(&mut self, levels: u64, depth: u32, visit: &mut V) -> Result<(), JsonError> {
        if levels & 1 == 0 {
            return Ok(());
        }
        let key = self.string_here("expected a key in double quotes")?;
        self.space();
        self.expect(b':', "expected a colon after the key")?;
        self.space();
        visit.key(self, &key, depth)
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &[u8]) -> Result<(), JsonError> {
        let mut scanner = Scanner::new(text);
        scanner.skip()?;
        scanner.finish()
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for bad in [
            "",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "{'a':1}",
            "NaN",
            "01",
            "1.",
            "1e",
            "-",
            "+1",
            ".5",
            "\"\\x\"",
            "\"\\u12g4\"",
            "{\"a\"}",
            "{\"a\":}",
            "{1:2}",
            "[1 2]",
            "tru",
            "nulll",
            "1 2",
            "{}{}",
            "\"a\u{1}\"",
            "/* */1",
            "[}",
            "{]",
        ] {
            assert!(check(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn nesting_is_bounded_without_recursion() {
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(check(deep(64).as_bytes()).is_ok());
        assert_eq!(check(deep(65).as_bytes()).unwrap_err().what, "nested too deep");
        assert!(check("[".repeat(5_000_000).as_bytes()).is_err());
    }

    #[test]
    fn an_escaped_key_says_the_same() {
        let text = br#"{"mod\u0065l": "x"}"#;
        let mut scanner = Scanner::new(text);
        scanner.enter_object().unwrap();
        let key = scanner.next_key(&mut true).unwrap().unwrap();
        assert!(key.escaped && scanner.says(&key, "model"));
    }

    proptest! {
        #[test]
        fn whatever_serde_writes_is_accepted(value in json_value()) {
            let text = serde_json::to_vec(&value).unwrap();
            prop_assert!(check(&text).is_ok());
            let pretty = serde_json::to_vec_pretty(&value).unwrap();
            prop_assert!(check(&pretty).is_ok());
        }

        #[test]
        fn it_agrees_with_serde_on_any_text(text in "[\\[\\]{}:,\"a0-9.eE+\\- tfn\\\\u]{0,24}") {
            let serde = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(check(text.as_bytes()).is_ok(), serde, "{}", text);
        }

        #[test]
        fn it_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = check(&bytes);
        }
    }

    fn json_value() -> impl Strategy<Value = serde_json::Value> {
        use serde_json::Value;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map(".{0,6}", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }
}
