//! An answer of an OpenAI server: events of a stream, or a plain document. Hot path: no allocation, no lock, no await.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use plimsoll_types::{Chunk, Head, Kind, Peeked, Refusal, Text};
use serde_json::Value;

use super::Backend;
use super::coding::Coded;
use crate::orca::{self, Said};
use crate::refusal::refusal_in_stream;
use crate::sse::{Events, TooLong};
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

/// What was asked for.
pub(super) struct Asked {
    pub(super) kind: Kind,
    /// Whether it is to be a stream.
    pub(super) stream: bool,
    /// Whether the chunk with nothing but usage was our wish.
    pub(super) strip_usage: bool,
}

/// An answer on its way.
pub(super) struct OpenAiAnswer {
    wire: Wire,
    kind: Kind,
    strip_usage: bool,
    /// Whether a stream was asked for.
    stream: bool,
    form: Form,
    /// The head, as long as the first bytes are waited for that show what it is.
    head: Option<Head>,
    /// Those bytes.
    first: Option<Bytes>,
    /// How the content coding is undone, where it has one.
    coded: Option<Box<Coded>>,
    /// Whether its status says that it is what was asked for.
    good: bool,
    /// What the backend said of an error under a status of success.
    refusal: Option<Box<Refusal>>,
    /// The backend that answers.
    backend: Arc<Backend>,
}

impl OpenAiAnswer {
    pub(super) fn new(backend: &Arc<Backend>, wire: Wire, asked: Asked) -> Self {
        let Asked { kind, stream, strip_usage } = asked;
        Self {
            wire,
            kind,
            strip_usage,
            stream,
            form: Form::Unknown,
            head: None,
            first: None,
            coded: None,
            good: false,
            refusal: None,
            backend: Arc::clone(backend),
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        match &mut self.coded {
            None => self.wire.poll_data(cx),
            Some(coded) => coded.poll(&mut self.wire, cx),
        }
    }

    /// Whether what comes is a stream under another content type: by its first bytes, where a stream was asked for.
    fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
        let first = ready!(self.poll_data(cx)).transpose()?;
        let text = first.as_deref().unwrap_or_default().trim_ascii_start();
        let is_stream =
            [&b"data:"[..], b"event:", b"id:", b"retry:", b":"].iter().any(|begin| text.starts_with(begin));
        self.first = first;
        Poll::Ready(Ok(is_stream))
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
            let next = ready!(self.poll_data(cx)).transpose();
            let piece = match next {
                Ok(piece) => piece,
                Err(failure) => {
                    self.form = Form::Done;
                    return Poll::Ready(Some(Err(failure)));
                }
            };
            if let Some(chunk) = self.plain(piece) {
                return Poll::Ready(chunk);
            }
        }
    }

    /// What the next piece of a plain answer, or its end, gives the caller; `None` where it must wait.
    fn plain(&mut self, piece: Option<Bytes>) -> Option<Option<Result<Chunk, Failure>>> {
        match (std::mem::replace(&mut self.form, Form::Done), piece) {
            (Form::Held(held, length), Some(piece)) => {
                // The usual case: all of it in one piece, which is not copied.
                if held.is_empty() && length == Some(piece.len() as u64) {
                    return Some(Some(self.whole(piece)));
                }
                let mut held = held;
                held.extend_from_slice(&piece);
                if length == Some(held.len() as u64) {
                    return Some(Some(self.whole(held.freeze())));
                }
                if held.len() > HOLD {
                    if self.good && !begins_as_json(&held) {
                        return Some(Some(Err(NOT_JSON)));
                    }
                    let tail = BytesMut::from(&held[held.len() - TAIL..]);
                    self.form = Form::Passing(tail);
                    return Some(Some(Ok(Chunk { bytes: held.freeze(), peeked: Peeked::default() })));
                }
                self.form = Form::Held(held, length);
                None
            }
            (Form::Held(held, _), None) if self.good || !held.is_empty() => {
                Some(Some(self.whole(held.freeze())))
            }
            (Form::Passing(mut tail), Some(piece)) => {
                tail.extend_from_slice(&piece);
                let cut = tail.len().saturating_sub(TAIL);
                let tail = BytesMut::from(&tail[cut..]);
                self.form = Form::Passing(tail);
                Some(Some(Ok(Chunk { bytes: piece, peeked: Peeked::default() })))
            }
            (Form::Passing(tail), None) if self.good && !ends_as_json(&tail) => Some(Some(Err(CUT))),
            (Form::Passing(tail), None) => {
                let peeked = Peeked { usage: event::usage_of(&tail), done: true, ..Peeked::default() };
                Some(Some(Ok(Chunk { bytes: Bytes::new(), peeked })))
            }
            _ => Some(None),
        }
    }

    /// A plain answer that is there as a whole: JSON in UTF-8, and no error alone.
    fn whole(&mut self, bytes: Bytes) -> Result<Chunk, Failure> {
        let mut peeked = Peeked { done: true, ..Peeked::default() };
        if self.good {
            if bytes.trim_ascii().is_empty() {
                return Err(EMPTY);
            }
            if !begins_as_json(&bytes) || std::str::from_utf8(&bytes).is_err() {
                return Err(NOT_JSON);
            }
            if !ends_as_json(&bytes) {
                return Err(CUT);
            }
            if tells_of_an_error_alone(&bytes) {
                self.refusal = refusal_in_stream(&bytes).map(Box::new);
                peeked.error = true;
            }
        }
        peeked.usage = event::usage_of(&bytes);
        Ok(Chunk { bytes, peeked })
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Failure>>> {
        loop {
            let Form::Stream(events) = &mut self.form else { return Poll::Ready(None) };
            if let Some(chunk) = events.next() {
                return Poll::Ready(Some(Ok(chunk)));
            }
            let next = ready!(self.poll_data(cx));
            let Form::Stream(events) = &mut self.form else { return Poll::Ready(None) };
            let failure = match next {
                Some(Ok(bytes)) => match events.push(bytes) {
                    Ok(()) => continue,
                    Err(TooLong) => Failure::Broken("an event of the stream is too long"),
                },
                Some(Err(failure)) => failure,
                None if !events.end() => Failure::Broken("the stream ended inside an event"),
                None => {
                    let last = events.next();
                    self.form = Form::Done;
                    return Poll::Ready(last.map(Ok));
                }
            };
            self.form = Form::Done;
            return Poll::Ready(Some(Err(failure)));
        }
    }
}

const EMPTY: Failure = Failure::Broken("its answer is empty");
const NOT_JSON: Failure = Failure::Broken("its answer is not JSON");
const CUT: Failure = Failure::Broken("its answer is cut short");

fn begins_as_json(text: &[u8]) -> bool {
    matches!(text.trim_ascii_start().first(), Some(b'{' | b'['))
}

fn ends_as_json(text: &[u8]) -> bool {
    matches!(text.trim_ascii_end().last(), Some(b'}' | b']'))
}

/// Whether an answer under a status of success has an error and nothing that was asked for.
fn tells_of_an_error_alone(text: &[u8]) -> bool {
    /// An error has no more bytes.
    const LONGEST: usize = 64 << 10;
    /// What answers of all routes have, one or another.
    const ANSWERS: [&str; 9] =
        ["choices", "data", "content", "output", "results", "tokens", "prompt", "embedding", "input_tokens"];
    if text.len() > LONGEST || memchr::memmem::find(text, b"\"error\"").is_none() {
        return false;
    }
    let Ok(Value::Object(members)) = serde_json::from_slice(text) else { return false };
    let is_there = |name: &str| members.get(name).is_some_and(|value| !value.is_null());
    (is_there("error") || members.get("object").is_some_and(|object| object == "error"))
        && !ANSWERS.into_iter().any(is_there)
}

impl Answer for OpenAiAnswer {
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        if self.head.is_none() {
            let mut head = ready!(self.wire.poll_head(cx))?;
            self.hear(&mut head);
            self.good = (200..=299).contains(&head.status);
            self.coded = Coded::of(&std::mem::take(&mut head.coding))?;
            if self.coded.is_some() {
                head.length = None;
            }
            self.head = Some(head);
        }
        let is_stream = self.head.as_ref().is_some_and(|head| head.stream);
        if self.good && self.stream && !is_stream && ready!(self.poll_first(cx))? {
            let head = self.head.get_or_insert_default();
            head.stream = true;
            head.content_type = Text::from_static("text/event-stream");
        }
        let head = self.head.take().unwrap_or_default();
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

    fn refusal(&mut self) -> Option<Box<Refusal>> {
        match &mut self.form {
            Form::Stream(events) => events.refusal(),
            _ => self.refusal.take(),
        }
    }
}
