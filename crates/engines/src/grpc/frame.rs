//! Messages in a stream of bytes: a flag, a length, the message.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes before a message.
pub const PREFIX: usize = 5;

/// A message as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Whether it is compressed.
    pub compressed: bool,
    /// Its bytes.
    pub bytes: Bytes,
}

/// A message says that it is longer than any may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

/// Cuts bytes into messages.
#[derive(Debug)]
pub struct Frames {
    buffer: BytesMut,
    limit: usize,
}

impl Frames {
    /// For messages of up to `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), limit }
    }

    /// Takes in what came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message that is there as a whole.
    ///
    /// # Errors
    ///
    /// Where it says that it is longer than any may be.
    pub fn take(&mut self) -> Result<Option<Message>, TooLong> {
        let Some((&[flag, a, b, c, d], _)) = self.buffer.split_first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > self.limit {
            return Err(TooLong);
        }
        if self.buffer.len() < PREFIX + length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX);
        Ok(Some(Message { compressed: flag != 0, bytes: self.buffer.split_to(length).freeze() }))
    }

    /// Whether the bytes end inside a message.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        !self.buffer.is_empty()
    }
}

/// Writes `message` with what stands before it.
pub fn put_frame(out: &mut Vec<u8>, message: &[u8]) {
    out.push(0);
    out.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(message);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in_however_they_are_cut() {
        let mut wire = Vec::new();
        for message in [&b"one"[..], b"", b"three"] {
            put_frame(&mut wire, message);
        }
        for size in 1..wire.len() {
            let (mut frames, mut out) = (Frames::new(5), Vec::new());
            for piece in wire.chunks(size) {
                frames.push(piece);
                while let Some(message) = frames.take().unwrap() {
                    out.push(message.bytes);
                }
            }
            assert_eq!(out, [&b"one"[..], b"", b"three"]);
            assert!(!frames.is_partial());
        }
    }

    #[test]
    fn a_message_that_is_too_long_is_refused_before_it_comes() {
        let mut frames = Frames::new(4);
        frames.push(&[0, 0, 0, 0, 5]);
        assert_eq!(frames.take(), Err(TooLong));
    }
}
