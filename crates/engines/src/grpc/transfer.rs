//! What comes over the wire for one call: messages, and at the end how it went.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;

use super::{Backend, Code, Frames, Status};
use crate::orca::{self, Said};
use crate::{Failure, http2};

const TOO_LONG: Failure = Failure::Broken("a message of the answer is too long");
pub(super) const MALFORMED: Failure = Failure::Broken("a message of the answer is malformed");
pub(super) const CUT: Failure = Failure::Broken("the answer ended inside a message");

/// An answer as it comes.
pub(super) struct Transfer {
    exchange: http2::Exchange,
    headed: bool,
    /// The backend that answers, where it may say how loaded it is.
    backend: Option<Arc<Backend>>,
}

/// What came.
pub(super) enum Came {
    Data,
    End(Status),
}

impl Transfer {
    pub(super) fn new(exchange: http2::Exchange) -> Self {
        Self { exchange, headed: false, backend: None }
    }

    /// An answer that `backend` gives to a caller.
    pub(super) fn of(backend: &Arc<Backend>, exchange: http2::Exchange) -> Self {
        Self { backend: Some(Arc::clone(backend)), ..Self::new(exchange) }
    }

    /// Passes on what the backend says of its load, as a rule at the end of the call.
    fn hear(&self, fields: &HeaderMap, over: bool) {
        let Some(backend) = &self.backend else { return };
        for (name, binary) in [(orca::FIELD, false), (orca::BINARY, true)] {
            if let Some(value) = fields.get(name) {
                // What is no text is seen to be no report.
                backend.ear.hear(Said { value: value.to_str().unwrap_or_default(), binary, over });
            }
        }
    }

    /// Takes in what comes next.
    pub(super) fn poll_more(
        &mut self,
        frames: &mut Frames,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Came, Failure>> {
        if !self.headed {
            let (parts, _) = ready!(self.exchange.poll_parts(cx))?;
            self.headed = true;
            let ended = Status::read(&parts.headers);
            self.hear(&parts.headers, ended.is_some());
            if let Some(status) = ended {
                return Poll::Ready(Ok(Came::End(status)));
            }
            if parts.status != 200 {
                let status = Code::of_http(parts.status.as_u16());
                return Poll::Ready(Ok(Came::End(Status::new(status, "the backend refused the call"))));
            }
            if !speaks_grpc(&parts.headers) {
                return Poll::Ready(Err(Failure::Broken("the backend does not speak gRPC")));
            }
        }
        let lost = Failure::Broken("the call ended without a status");
        let Some(frame) = ready!(self.exchange.poll_frame(cx)) else { return Poll::Ready(Err(lost)) };
        Poll::Ready(match frame?.into_data() {
            Ok(data) => {
                frames.push(&data);
                Ok(Came::Data)
            }
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                self.hear(&trailers, true);
                Status::read(&trailers).map(Came::End).ok_or(lost)
            }
        })
    }

    /// The only message, of up to `limit` bytes, or how the call ended without one.
    pub(super) async fn only(mut self, limit: usize) -> Result<Result<Bytes, Status>, Failure> {
        let mut frames = Frames::new(limit);
        loop {
            match poll_fn(|cx| self.poll_more(&mut frames, cx)).await? {
                Came::Data => {}
                Came::End(status) if status.code == Code::Ok => return next(&mut frames)?.ok_or(CUT).map(Ok),
                Came::End(status) => return Ok(Err(status)),
            }
        }
    }
}

/// The next message that is there as a whole.
pub(super) fn next(frames: &mut Frames) -> Result<Option<Bytes>, Failure> {
    match frames.take() {
        // Nobody asked for compressed ones.
        Ok(Some(message)) if message.compressed => Err(MALFORMED),
        Ok(message) => Ok(message.map(|message| message.bytes)),
        Err(super::TooLong) => Err(TOO_LONG),
    }
}

fn speaks_grpc(headers: &HeaderMap) -> bool {
    headers.get("content-type").is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}
