//! The body of an answer on its way to a client. Hot path: no allocation for each event.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use plimsoll_pipeline::{Flow, TokenStream};
use plimsoll_types::Kind;

use crate::connection::Serving;
use crate::grpc;
use crate::openai::sse;

/// A plain answer that broke off after its beginning was sent: all that is left is to end the connection.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off")]
pub(crate) struct BrokenOff;

/// What is sent to the client, and that somebody is being served until it is.
pub(crate) struct Body {
    content: Content,
    _serving: Option<Serving>,
}

enum Content {
    /// All of it.
    Full(Bytes),
    /// A backend's answer.
    Relayed {
        tokens: TokenStream,
        /// Bytes that are still to come, of a plain answer.
        left: Option<u64>,
        /// Of which API the events are; `None` for a plain answer.
        events: Option<Kind>,
        /// The last that was sent of a stream whose events are numbered.
        last: Bytes,
    },
    /// Messages and a status.
    Grpc(grpc::Content),
}

impl Body {
    pub(crate) fn full(text: impl Into<Bytes>) -> Self {
        Self { content: Content::Full(text.into()), _serving: None }
    }

    pub(crate) fn relayed(tokens: TokenStream, events: Option<Kind>) -> Self {
        let left = tokens.length().filter(|_| events.is_none());
        Self { content: Content::Relayed { left, tokens, events, last: Bytes::new() }, _serving: None }
    }

    pub(crate) fn grpc(content: grpc::Content) -> Self {
        Self { content: Content::Grpc(content), _serving: None }
    }

    /// The same, with somebody who is being served until it is sent or given up.
    pub(crate) fn until_sent(self, serving: Serving) -> Self {
        Self { _serving: Some(serving), ..self }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match &mut self.content {
            Content::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Content::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Content::Grpc(content) => content.poll_frame(cx),
            Content::Relayed { tokens, left, events, last } => {
                let bytes = match (ready!(tokens.poll_next(cx)), &events) {
                    (None, _) => return Poll::Ready(None),
                    (Some(Flow::Chunk(bytes)), Some(Kind::Response)) => {
                        last.clone_from(&bytes);
                        bytes
                    }
                    (Some(Flow::Chunk(bytes)), _) => bytes,
                    (Some(Flow::Quiet), _) => sse::KEEP_ALIVE,
                    (Some(Flow::Failed(error)), Some(kind)) => sse::error_event(&error, *kind, last),
                    (Some(Flow::Failed(_)), None) => return Poll::Ready(Some(Err(BrokenOff))),
                };
                if let Some(left) = left {
                    *left = left.saturating_sub(bytes.len() as u64);
                }
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Full(bytes) => bytes.is_empty(),
            Content::Relayed { left, .. } => *left == Some(0),
            Content::Grpc(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Relayed { left: Some(left), .. } => SizeHint::with_exact(*left),
            Content::Relayed { .. } | Content::Grpc(_) => SizeHint::default(),
        }
    }
}
