//! Walks over a value of any kind to its end, without recursion. Hot path: no allocation, no lock, no await.

use std::ops::Range;

use super::{JsonError, MAX_DEPTH, Next, Scanner, Str};

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

impl Scanner<'_> {
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
}
