//! An answer on its way to a caller: events as messages, the end as a status. Hot path: one buffer for what comes at
//! once, no lock, no await.

use std::task::{Context, Poll, ready};

use http_body::Frame;
use plimsoll_engines::grpc::{Method, PREFIX};
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
    method: &'static Method,
    zip: bool,
    /// What came so far of a plain answer.
    plain: Vec<u8>,
    /// The status, where it is all that is still to be sent.
    last: Option<http::HeaderMap>,
}

impl Answer {
    pub(super) fn new(tokens: TokenStream, method: &'static Method, zip: bool) -> Self {
        Self { tokens: Some(tokens), method, zip, plain: Vec::new(), last: None }
    }

    /// Gives the next frame; `None` after the status.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<bytes::Bytes>>> {
        loop {
            if let Some(last) = self.last.take() {
                return Poll::Ready(Some(Frame::trailers(last)));
            }
            let Some(tokens) = &mut self.tokens else { return Poll::Ready(None) };
            let mut out = Vec::new();
            let written = match ready!(tokens.poll_next(cx)) {
                Some(Flow::Chunk(bytes)) if self.method.stream => self.events(&bytes, &mut out),
                Some(Flow::Chunk(bytes)) => self.hold(&bytes),
                // HTTP/2 has its own signs of life.
                Some(Flow::Quiet) => Ok(()),
                Some(Flow::Failed(error)) => Err(error),
                None if self.method.stream => {
                    self.end(well());
                    Ok(())
                }
                None => self.whole(&mut out).map(|()| self.end(well())),
            };
            if let Err(error) = written {
                self.end(trailers(&status::of(&error)));
            }
            if !out.is_empty() {
                return Poll::Ready(Some(Frame::data(out.into())));
            }
        }
    }

    fn end(&mut self, trailers: http::HeaderMap) {
        self.tokens = None;
        self.last = Some(trailers);
    }

    fn events(&self, events: &[u8], out: &mut Vec<u8>) -> Result<(), ServeError> {
        for data in sse_data(events) {
            let data = data.trim_ascii();
            if !(data.is_empty() || data == b"null" || data.starts_with(b"[DONE]")) {
                self.message(data, out)?;
            }
        }
        Ok(())
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), ServeError> {
        if self.plain.len() + bytes.len() > MAX_ANSWER {
            return Err(ServeError::Backend("its answer is longer than a message may be"));
        }
        self.plain.extend_from_slice(bytes);
        Ok(())
    }

    fn whole(&mut self, out: &mut Vec<u8>) -> Result<(), ServeError> {
        let plain = std::mem::take(&mut self.plain);
        self.message(&plain, out)
    }

    fn message(&self, json: &[u8], out: &mut Vec<u8>) -> Result<(), ServeError> {
        const NO_ANSWER: ServeError = ServeError::Backend("its answer is not one that can be understood");
        let start = out.len();
        out.reserve(PREFIX + json.len());
        out.extend_from_slice(&[0; PREFIX]);
        if std::str::from_utf8(json).is_err() {
            return Err(NO_ANSWER);
        }
        to_wire(self.method.answer, json, &[], Nulls::Dropped, out).map_err(|_| NO_ANSWER)?;
        let length = u32::try_from(out.len() - start - PREFIX).map_err(|_| NO_ANSWER)?;
        out[start + 1..start + PREFIX].copy_from_slice(&length.to_be_bytes());
        if self.zip {
            gzip::pack(out, start);
        }
        Ok(())
    }
}
