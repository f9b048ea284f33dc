//! An answer of an OpenAI server: events of a stream, or a plain document. Hot path: no allocation, no lock, no await.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use plimsoll_types::{Chunk, Head, Kind, Peeked};

use super::Backend;
use crate::orca::{self, Said};
use crate::sse::{Events, Malformed};
use crate::{Answer, Failure, event, http1, http2};

/// A plain answer up to this size is held until it is whole, so that a backend which dies in the middle of it is not
/// noticed; a longer one passes as it comes.
const HOLD: usize = 8 << 20;
/// What is kept of the end of a longer one, to find its usage.
const TAIL: usize = 1 << 10;

/// The protocol that the answer comes by.
#[expect(
    clippy::large_enum_variant,
    reason = "it stands in the box of its answer, and the large one is the usual one"
)]
pub(super) enum Wire {
    Http1(http1::Exchange),
    Http2(http2::Exchange),
}

impl Wire {
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        match self {
            Self::Http1(exchange) => exchange.poll_head(cx),
            Self::Http2(exchange) => exchange.poll_head(cx),
        }
    }

    pub(super) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        match self {
            Self::Http1(exchange) => exchange.poll_data(cx),
            Self::Http2(exchange) => exchange.poll_data(cx),
        }
    }
}

enum Form {
    /// The head has not come.
    Unknown,
    Stream(Events),
    /// A plain answer, held so far; its length where that is known.
    Held(BytesMut, Option<u64>),
    /// A plain answer too long to hold: its last bytes.
    Passing(BytesMut),
    Done,
}

/// An answer on its way.
pub(super) struct OpenAiAnswer {
    wire: Wire,
    kind: Kind,
    strip_usage: bool,
    form: Form,
    /// The backend that answers.
    backend: Arc<Backend>,
}

impl OpenAiAnswer {
    pub(super) fn new(backend: &Arc<Backend>, wire: Wire, (kind, strip_usage): (Kind, bool)) -> Self {
        Self { wire, kind, strip_usage, form: Form::Unknown, backend: Arc::clone(backend) }
    }

    /// Takes what the backend says of its load out of `head`, which is for callers.
    fn hear(&self, head: &mut Head) {
        let over = !head.stream;
        head.fields.retain(|(name, value)| {
            let binary = *name == orca::BINARY;
            let is_report = binary || *name == orca::FIELD;
            if is_report {
                self.backend.ear.hear(Said { value, binary, over });
            }
            !is_report
        });
    }

    fn poll_plain(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Failure>>> {
        loop {
            let next = ready!(self.wire.poll_data(cx)).transpose();
            let piece = match next {
                Ok(piece) => piece,
                Err(failure) => {
                    self.form = Form::Done;
                    return Poll::Ready(Some(Err(failure)));
                }
            };
            if let Some(chunk) = self.plain(piece) {
                return Poll::Ready(chunk.map(Ok));
            }
        }
    }

    /// What the next piece of a plain answer, or its end, gives the caller; `None` where it must wait.
    fn plain(&mut self, piece: Option<Bytes>) -> Option<Option<Chunk>> {
        match (std::mem::replace(&mut self.form, Form::Done), piece) {
            (Form::Held(held, length), Some(piece)) => {
                // The usual case: all of it in one piece, which is not copied.
                if held.is_empty() && length == Some(piece.len() as u64) {
                    return Some(Some(whole(piece)));
                }
                let mut held = held;
                held.extend_from_slice(&piece);
                if length == Some(held.len() as u64) {
                    return Some(Some(whole(held.freeze())));
                }
                if held.len() > HOLD {
                    let tail = BytesMut::from(&held[held.len() - TAIL..]);
                    self.form = Form::Passing(tail);
                    return Some(Some(Chunk { bytes: held.freeze(), peeked: Peeked::default() }));
                }
                self.form = Form::Held(held, length);
                None
            }
            (Form::Held(held, _), None) if !held.is_empty() => Some(Some(whole(held.freeze()))),
            (Form::Passing(mut tail), Some(piece)) => {
                tail.extend_from_slice(&piece);
                let cut = tail.len().saturating_sub(TAIL);
                let tail = BytesMut::from(&tail[cut..]);
                self.form = Form::Passing(tail);
                Some(Some(Chunk { bytes: piece, peeked: Peeked::default() }))
            }
            (Form::Passing(tail), None) => {
                Some(Some(Chunk { bytes: Bytes::new(), peeked: whole(tail.freeze()).peeked }))
            }
            _ => Some(None),
        }
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Failure>>> {
        let Form::Stream(events) = &mut self.form else { return Poll::Ready(None) };
        loop {
            if let Some(chunk) = events.next() {
                return Poll::Ready(Some(Ok(chunk)));
            }
            let failure = match ready!(self.wire.poll_data(cx)) {
                Some(Ok(bytes)) => match events.push(bytes) {
                    Ok(()) => continue,
                    Err(Malformed::TooLong) => Failure::Broken("an event of the stream is too long"),
                    Err(Malformed::NotJson) => Failure::Broken("an event of the stream is malformed"),
                },
                Some(Err(failure)) => failure,
                None if events.is_partial() => Failure::Broken("the stream ended inside an event"),
                None => {
                    self.form = Form::Done;
                    return Poll::Ready(None);
                }
            };
            self.form = Form::Done;
            return Poll::Ready(Some(Err(failure)));
        }
    }
}

fn whole(bytes: Bytes) -> Chunk {
    let usage = event::usage_of(&bytes);
    Chunk { bytes, peeked: Peeked { usage, done: true, ..Peeked::default() } }
}

impl Answer for OpenAiAnswer {
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        let mut head = ready!(self.wire.poll_head(cx))?;
        self.hear(&mut head);
        self.form = if head.stream {
            Form::Stream(Events::new(self.kind, self.strip_usage))
        } else {
            Form::Held(BytesMut::new(), head.length)
        };
        Poll::Ready(Ok(head))
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Failure>>> {
        match &self.form {
            Form::Stream(_) => self.poll_stream(cx),
            Form::Held(..) | Form::Passing(_) => self.poll_plain(cx),
            Form::Unknown | Form::Done => Poll::Ready(None),
        }
    }
}
