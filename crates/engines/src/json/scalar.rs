//! Strings, numbers and words of JSON text. Hot path: no allocation, no lock, no await.

use super::{JsonError, Next, Scanner, Str};

impl Scanner<'_> {
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

    pub(super) fn scalar(&mut self, kind: Next) -> Result<(), JsonError> {
        match kind {
            Next::String => self.string_here("expected a string").map(|_| ()),
            Next::Number => self.number(),
            Next::Bool => self.boolean().map(|_| ()),
            _ => self.literal(b"null"),
        }
    }

    pub(super) fn literal(&mut self, word: &[u8]) -> Result<(), JsonError> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.error("expected true, false or null"));
        }
        self.at += word.len();
        Ok(())
    }

    pub(super) fn string_here(&mut self, what: &'static str) -> Result<Str, JsonError> {
        let str = self.string_to_its_end(what)?;
        // Without a branch in it, this loop runs many bytes at a time.
        if self.text[str.raw.clone()].iter().fold(false, |found, byte| found | (*byte < 0x20)) {
            return Err(JsonError { at: str.raw.start, what: "a control character in a string" });
        }
        Ok(str)
    }

    pub(super) fn string_to_its_end(&mut self, what: &'static str) -> Result<Str, JsonError> {
        self.expect(b'"', what)?;
        let from = self.at;
        let mut escaped = false;
        loop {
            let Some(found) = memchr::memchr2(b'"', b'\\', &self.text[self.at..]) else {
                self.at = self.text.len();
                return Err(self.error("a string does not end"));
            };
            self.at += found;
            if self.text[self.at] == b'"' {
                break;
            }
            escaped = true;
            self.escape()?;
        }
        let raw = from..self.at;
        self.at += 1;
        Ok(Str { raw, escaped })
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        match self.text.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let digits = self.text.get(self.at + 2..self.at + 6);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return Err(self.error("a malformed \\u escape"));
                }
                self.at += 6;
            }
            _ => return Err(self.error("an unknown escape")),
        }
        Ok(())
    }

    pub(super) fn number(&mut self) -> Result<(), JsonError> {
        if self.text.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        match self.text.get(self.at) {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.error("a malformed number")),
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if let Some(b'e' | b'E') = self.text.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.text.get(self.at) {
                self.at += 1;
            }
            self.some_digits()?;
        }
        Ok(())
    }

    fn some_digits(&mut self) -> Result<(), JsonError> {
        let from = self.at;
        self.digits();
        if self.at == from { Err(self.error("a malformed number")) } else { Ok(()) }
    }

    fn digits(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }
}
