//! The body of an answer over HTTP/1.1: by length, in chunks, or until the connection closes (RFC 9112, section 6).
//! Hot path: no allocation, no lock, no await.

use bytes::{Buf, Bytes, BytesMut};

use crate::Failure;

const MALFORMED: Failure = Failure::Broken("the answer's chunks are malformed");
/// Bytes that a line of the chunked coding may have: a size, an extension, a trailer field.
const MAX_LINE: usize = 1 << 10;

/// Chunks up to this size are given as a whole.
const SMALL: u64 = 4 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// So many bytes, and that is all.
    Sized(u64),
    /// The line with the size of a chunk.
    Size,
    /// So many bytes of a chunk.
    Data(u64),
    /// The line end behind a chunk.
    DataEnd,
    /// Trailer fields up to a blank line; they are dropped.
    Trailers,
    /// Bytes until the connection closes.
    Rest,
    Done,
}

/// How much of a body is still to come, and in which form.
#[derive(Debug)]
pub(super) struct Body {
    part: Part,
    keep: bool,
}

impl Body {
    pub(super) fn sized(length: u64, keep: bool) -> Self {
        let part = if length == 0 { Part::Done } else { Part::Sized(length) };
        Self { part, keep }
    }

    pub(super) fn chunked(keep: bool) -> Self {
        Self { part: Part::Size, keep }
    }

    pub(super) fn until_close() -> Self {
        Self { part: Part::Rest, keep: false }
    }

    pub(super) fn is_done(&self) -> bool {
        self.part == Part::Done
    }

    pub(super) fn ends_with_connection(&self) -> bool {
        self.part == Part::Rest
    }

    pub(super) fn keeps_connection(&self) -> bool {
        self.keep && self.is_done()
    }

    /// Bytes worth asking the socket for.
    pub(super) fn wants(&self) -> usize {
        match self.part {
            Part::Sized(left) => left.clamp(1, 64 << 10) as usize,
            _ => super::READ,
        }
    }

    /// The next bytes of the body in `read`; `None` where more must be read, or at its end.
    pub(super) fn next(&mut self, read: &mut BytesMut) -> Result<Option<Bytes>, Failure> {
        loop {
            match self.part {
                Part::Done => return Ok(None),
                Part::Rest => return Ok((!read.is_empty()).then(|| read.split().freeze())),
                Part::Sized(_) | Part::Data(_) => return Ok(self.data(read)),
                Part::Size => {
                    let Some(end) = line(read)? else { return Ok(None) };
                    let size = size(&read[..end])?;
                    read.advance(end + 2);
                    self.part = if size == 0 { Part::Trailers } else { Part::Data(size) };
                }
                Part::DataEnd => {
                    if read.len() < 2 {
                        return Ok(None);
                    }
                    if &read[..2] != b"\r\n" {
                        return Err(MALFORMED);
                    }
                    read.advance(2);
                    self.part = Part::Size;
                }
                Part::Trailers => {
                    let Some(end) = line(read)? else { return Ok(None) };
                    read.advance(end + 2);
                    if end == 0 {
                        self.part = Part::Done;
                    }
                }
            }
        }
    }

    fn data(&mut self, read: &mut BytesMut) -> Option<Bytes> {
        let (Part::Sized(left) | Part::Data(left)) = self.part else { return None };
        if read.is_empty() {
            return None;
        }
        // A small chunk is an event: it is worth the wait for its rest, since half of one helps nobody.
        if matches!(self.part, Part::Data(_)) && left <= SMALL && (read.len() as u64) < left {
            return None;
        }
        let take = left.min(read.len() as u64);
        let rest = left - take;
        self.part = match self.part {
            Part::Sized(_) if rest == 0 => Part::Done,
            Part::Sized(_) => Part::Sized(rest),
            _ if rest == 0 => Part::DataEnd,
            _ => Part::Data(rest),
        };
        Some(read.split_to(take as usize).freeze())
    }
}

/// The length of the first line, without its end.
fn line(read: &[u8]) -> Result<Option<usize>, Failure> {
    match memchr::memchr(b'\n', read) {
        Some(end) if end > 0 && read[end - 1] == b'\r' => Ok(Some(end - 1)),
        Some(_) => Err(MALFORMED),
        None if read.len() > MAX_LINE => Err(MALFORMED),
        None => Ok(None),
    }
}

/// The size in a chunk's first line; an extension after it is passed over.
fn size(line: &[u8]) -> Result<u64, Failure> {
    let end = memchr::memchr(b';', line).unwrap_or(line.len());
    let digits = line[..end].trim_ascii_end();
    if digits.is_empty() || digits.len() > 15 {
        return Err(MALFORMED);
    }
    digits.iter().try_fold(0_u64, |size, digit| {
        let value = char::from(*digit).to_digit(16).ok_or(MALFORMED)?;
        Ok(size << 4 | u64::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(pieces: &[&[u8]]) -> Result<(Vec<u8>, bool), Failure> {
        let (mut body, mut read, mut out) = (Body::chunked(true), BytesMut::new(), Vec::new());
        for piece in pieces {
            read.extend_from_slice(piece);
            while let Some(bytes) = body.next(&mut read)? {
                out.extend_from_slice(&bytes);
            }
        }
        Ok((out, body.is_done()))
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for bad in
            ["0x5\r\nhello\r\n", "5\nhello\n", "5\r\nhelloXX", "\r\n", "-1\r\n", "fffffffffffffffff\r\n"]
        {
            assert!(decode(&[bad.as_bytes()]).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_same_comes_out(cut in 1_usize..40, chunks in proptest::collection::vec("[a-z]{1,30}", 0..8)) {
            let mut wire = String::new();
            for chunk in &chunks {
                wire.push_str(&format!("{:x};ext=1\r\n{chunk}\r\n", chunk.len()));
            }
            wire.push_str("0\r\nTrailer: dropped\r\n\r\n");
            let pieces: Vec<&[u8]> = wire.as_bytes().chunks(cut).collect();
            prop_assert_eq!(decode(&pieces).unwrap(), (chunks.concat().into_bytes(), true));
        }
    }
}
