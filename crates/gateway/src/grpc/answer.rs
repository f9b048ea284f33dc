//! An answer on its way to a caller: events as messages, the end as a status. Hot path: no allocation for each message,
//! no lock, no await.

use std::task::{Context, Poll, ready};

use http_body::Frame;
use plimsoll_engines::grpc::{Method, Outbox, PREFIX};
use plimsoll_engines::sse_data;
use plimsoll_engines::transcode::{Nulls, to_wire};
use plimsoll_pipeline::{Flow, TokenStream};
use plimsoll_types::ServeError;

use super::{gzip, status, trailers, well};

/// Bytes of a plain answer that may become one message.
const MAX_ANSWER: usize = 64 << 20;

/// The answer to one call.
pub(crate) struct Answer {
    tokens: Option<TokenStream>,
    writer: Writer,
    outbox: Outbox,
    /// What came so far of a plain answer.
    plain: Vec<u8>,
    /// The status, where it is all that is still to be sent.
    last: Option<http::HeaderMap>,
}

impl Answer {
    pub(super) fn new(tokens: TokenStream, method: &'static Method, zip: bool) -> Self {
        let (writer, outbox) = (Writer { method, zip }, Outbox::default());
        Self { tokens: Some(tokens), writer, outbox, plain: Vec::new(), last: None }
    }

    /// Gives the next frame; `None` after the status.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<bytes::Bytes>>> {
        loop {
            if let Some(last) = self.last.take() {
                return Poll::Ready(Some(Frame::trailers(last)));
            }
            let Some(tokens) = &mut self.tokens else { return Poll::Ready(None) };
            let stream = self.writer.method.stream;
            let written = match ready!(tokens.poll_next(cx)) {
                Some(Flow::Chunk(bytes)) if stream => self.writer.events(&bytes, self.outbox.draft()),
                Some(Flow::Chunk(bytes)) => self.hold(&bytes),
                // HTTP/2 has its own signs of life.
                Some(Flow::Quiet) => Ok(()),
                Some(Flow::Failed(error)) => Err(error),
                None if stream => {
                    self.end(well());
                    Ok(())
                }
                None => self.writer.message(&self.plain, self.outbox.draft()).map(|()| self.end(well())),
            };
            if let Err(error) = written {
                self.end(trailers(&status::of(&error)));
            }
            if let Some(messages) = self.outbox.take() {
                return Poll::Ready(Some(Frame::data(messages)));
            }
        }
    }

    fn end(&mut self, trailers: http::HeaderMap) {
        self.tokens = None;
        self.last = Some(trailers);
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), ServeError> {
        if self.plain.len() + bytes.len() > MAX_ANSWER {
            return Err(ServeError::Backend("its answer is longer than a message may be"));
        }
        self.plain.extend_from_slice(bytes);
        Ok(())
    }
}

/// How messages of an answer are written.
#[derive(Clone, Copy)]
struct Writer {
    method: &'static Method,
    zip: bool,
}

impl Writer {
    fn events(self, events: &[u8], out: &mut Vec<u8>) -> Result<(), ServeError> {
        for data in sse_data(events) {
            let data = data.trim_ascii();
            if data.starts_with(b"{") {
                self.message(data, out)?;
            }
        }
        Ok(())
    }

    /// Writes the message that `json` makes, or nothing.
    fn message(self, json: &[u8], out: &mut Vec<u8>) -> Result<(), ServeError> {
        let start = out.len();
        out.extend_from_slice(&[0; PREFIX]);
        let Some(length) = self.content(json, out).then(|| out.len() - start - PREFIX) else {
            out.truncate(start);
            return Err(ServeError::Backend("its answer is not one that can be understood"));
        };
        out[start + 1..start + PREFIX].copy_from_slice(&(length as u32).to_be_bytes());
        if self.zip {
            gzip::pack(out, start);
        }
        Ok(())
    }

    fn content(self, json: &[u8], out: &mut Vec<u8>) -> bool {
        let start = out.len();
        std::str::from_utf8(json).is_ok()
            && to_wire(self.method.answer, json, &[], Nulls::Dropped, out).is_ok()
            && u32::try_from(out.len() - start).is_ok()
    }
}
