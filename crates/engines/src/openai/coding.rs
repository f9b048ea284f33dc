//! Undoes the content coding of an answer. `identity` is what is asked for (RFC 9110, section 12.5.3); a proxy before a
//! backend may compress all the same.

use std::io::Write;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use flate2::write::{MultiGzDecoder, ZlibDecoder};

use super::answer::Wire;
use crate::Failure;

const BROKEN: Failure = Failure::Broken("its answer is not in the content coding that it names");
const UNKNOWN: Failure = Failure::Broken("it answered in a content coding that it was not asked for");
/// Bytes that are undone at a time, which bounds what comes of them: to some four megabytes, at worst.
const AT_A_TIME: usize = 4 << 10;

enum Undo {
    Gzip(MultiGzDecoder<Vec<u8>>),
    Zlib(ZlibDecoder<Vec<u8>>),
}

/// A coded answer on its way.
pub(super) struct Coded {
    undo: Undo,
    /// What came and was not undone.
    rest: Bytes,
    ended: bool,
}

impl Coded {
    /// Of an answer with this `content-encoding`; `None` where it is as it stands.
    pub(super) fn of(coding: &str) -> Result<Option<Box<Self>>, Failure> {
        let undo = match coding.trim() {
            "" => return Ok(None),
            coding if coding.eq_ignore_ascii_case("identity") => return Ok(None),
            coding if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") => {
                Undo::Gzip(MultiGzDecoder::new(Vec::new()))
            }
            coding if coding.eq_ignore_ascii_case("deflate") => Undo::Zlib(ZlibDecoder::new(Vec::new())),
            _ => return Err(UNKNOWN),
        };
        Ok(Some(Box::new(Self { undo, rest: Bytes::new(), ended: false })))
    }

    /// Gives the next piece, as it was before it was coded.
    pub(super) fn poll(
        &mut self,
        wire: &mut Wire,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Failure>>> {
        while !self.ended {
            if self.rest.is_empty() {
                match ready!(wire.poll_data(cx)).transpose()? {
                    Some(piece) => self.rest = piece,
                    None => self.ended = true,
                }
            }
            let piece = self.rest.split_to(self.rest.len().min(AT_A_TIME));
            let plain = self.undone(&piece).map_err(|_| BROKEN)?;
            if !plain.is_empty() {
                return Poll::Ready(Some(Ok(plain.into())));
            }
        }
        Poll::Ready(None)
    }

    fn undone(&mut self, piece: &[u8]) -> std::io::Result<Vec<u8>> {
        let ended = self.ended;
        let out = match &mut self.undo {
            Undo::Gzip(decoder) => {
                decoder.write_all(piece)?;
                if ended {
                    decoder.try_finish()?
                } else {
                    decoder.flush()?
                }
                decoder.get_mut()
            }
            Undo::Zlib(decoder) => {
                decoder.write_all(piece)?;
                if ended {
                    decoder.try_finish()?
                } else {
                    decoder.flush()?
                }
                decoder.get_mut()
            }
        };
        Ok(std::mem::take(out))
    }
}
