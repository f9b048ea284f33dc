//! An answer over gRPC, given as an OpenAI server would give it. Hot path: one message in, one event out, no allocation
//! for each, no lock.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use plimsoll_types::{Chunk, Head, Kind, Peeked, Text};

use super::transfer::{CUT, Came, MALFORMED, Transfer, next};
use super::{Code, Error, Frames, MAX_MESSAGE, Method, Outbox, Status};
use crate::transcode::to_json;
use crate::{Answer, Failure, event};

const DONE: &[u8] = b"data: [DONE]\n\n";

/// An answer on its way.
pub(super) struct GrpcAnswer {
    state: State,
    frames: Frames,
    outbox: Outbox,
}

enum State {
    /// The head, or the first message after it, has not come.
    Waiting(Wire),
    Stream(Wire),
    Plain(Wire),
    /// The backend refused: its words.
    Refused(Head, Vec<u8>),
    Done,
}

/// What comes over the wire for one call.
struct Wire {
    transfer: Transfer,
    method: &'static Method,
    strip_usage: bool,
}

impl GrpcAnswer {
    pub(super) fn new(transfer: Transfer, method: &'static Method, strip_usage: bool) -> Self {
        let wire = Wire { transfer, method, strip_usage };
        Self { state: State::Waiting(wire), frames: Frames::new(MAX_MESSAGE), outbox: Outbox::default() }
    }

    pub(super) fn refused(status: &Status) -> Self {
        let (head, body) = status.answer();
        Self { state: State::Refused(head, body), frames: Frames::new(0), outbox: Outbox::default() }
    }

    /// What `plimsoll.v1` has no method for is the request's fault, not the backend's.
    pub(super) fn unserved(kind: Kind) -> Self {
        let why = format!("{} cannot be asked of the backends of this model", kind.path());
        let code = Some("not_found".to_owned());
        let error = Error { status: 404, kind: "invalid_request_error".into(), code, param: None };
        Self::refused(&Status { error: Some(error), ..Status::new(Code::NotFound, why) })
    }

    fn poll_plain(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Failure>>> {
        let State::Plain(wire) = &mut self.state else { return Poll::Ready(None) };
        let ended = loop {
            match ready!(wire.transfer.poll_more(&mut self.frames, cx)) {
                Ok(Came::Data) => {}
                Ok(Came::End(status)) if status.code == Code::Ok => break Ok(()),
                Ok(Came::End(_)) => break Err(Failure::Broken("the call failed after its answer had begun")),
                Err(failure) => break Err(failure),
            }
        };
        let method = wire.method;
        self.state = State::Done;
        Poll::Ready(Some(ended.and_then(|()| {
            let message = next(&mut self.frames)?.ok_or(CUT)?;
            let mut text = Vec::with_capacity(2 * message.len());
            to_json(method.answer, &message, &[], &mut text).map_err(|_| MALFORMED)?;
            let usage = event::usage_of(&text);
            let peeked = Peeked { usage, done: true, ..Peeked::default() };
            Ok(Chunk { bytes: text.into(), peeked })
        })))
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Failure>>> {
        let State::Stream(wire) = &mut self.state else { return Poll::Ready(None) };
        loop {
            match wire.events(&mut self.frames, &mut self.outbox) {
                Ok(Some(chunk)) => return Poll::Ready(Some(Ok(chunk))),
                Ok(None) => {}
                Err(failure) => {
                    self.state = State::Done;
                    return Poll::Ready(Some(Err(failure)));
                }
            }
            let failure = match ready!(wire.transfer.poll_more(&mut self.frames, cx)) {
                Ok(Came::Data) => continue,
                Ok(Came::End(status)) if status.code == Code::Ok && !self.frames.is_partial() => {
                    self.state = State::Done;
                    let peeked = Peeked { done: true, ..Peeked::default() };
                    return Poll::Ready(Some(Ok(Chunk { bytes: Bytes::from_static(DONE), peeked })));
                }
                Ok(Came::End(status)) if status.code == Code::Ok => CUT,
                Ok(Came::End(_)) => Failure::Broken("it reported an error"),
                Err(failure) => failure,
            };
            self.state = State::Done;
            return Poll::Ready(Some(Err(failure)));
        }
    }
}

impl Wire {
    /// The messages that are there as events, in one piece; `None` where there are none.
    fn events(&mut self, frames: &mut Frames, outbox: &mut Outbox) -> Result<Option<Chunk>, Failure> {
        let (text, mut peeked, mut any) = (outbox.draft(), Peeked::default(), false);
        while let Some(message) = next(frames)? {
            let begin = text.len();
            text.extend_from_slice(b"data: ");
            to_json(self.method.answer, &message, &[], text).map_err(|_| MALFORMED)?;
            // In JSON that stands between values only, and an event must be one line.
            let json = &mut text[begin..];
            if memchr::memchr2(b'\n', b'\r', json).is_some() {
                json.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
            }
            let seen = event::read(self.method.kind, &text[begin + 6..]);
            text.extend_from_slice(b"\n\n");
            peeked.add(seen.peeked);
            any = true;
            if seen.malformed {
                return Err(MALFORMED);
            }
            if self.strip_usage && seen.only_usage {
                text.truncate(begin);
            }
        }
        Ok(any.then(|| Chunk { bytes: outbox.take().unwrap_or_default(), peeked }))
    }
}

impl Answer for GrpcAnswer {
    /// Waits for the first message too: a call that fails at once says so after its head.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        if let State::Waiting(wire) = &mut self.state {
            let came = ready!(wire.transfer.poll_more(&mut self.frames, cx));
            let ended = match came {
                Ok(Came::Data) => None,
                Ok(Came::End(status)) if status.code != Code::Ok => {
                    *self = Self::refused(&status);
                    return self.poll_head(cx);
                }
                Ok(Came::End(_)) => Some(Failure::Broken("the backend gave no answer")),
                Err(failure) => Some(failure),
            };
            let State::Waiting(wire) = std::mem::replace(&mut self.state, State::Done) else {
                return Poll::Ready(Err(MALFORMED));
            };
            if let Some(failure) = ended {
                return Poll::Ready(Err(failure));
            }
            let stream = wire.method.stream;
            let content_type =
                Text::from_static(if stream { "text/event-stream" } else { "application/json" });
            self.state = if stream { State::Stream(wire) } else { State::Plain(wire) };
            return Poll::Ready(Ok(Head { status: 200, stream, content_type, ..Head::default() }));
        }
        match &mut self.state {
            State::Refused(head, _) => Poll::Ready(Ok(std::mem::take(head))),
            _ => Poll::Ready(Err(MALFORMED)),
        }
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Failure>>> {
        match &mut self.state {
            State::Stream(_) => self.poll_stream(cx),
            State::Plain(_) => self.poll_plain(cx),
            State::Refused(_, body) => {
                let bytes = std::mem::take(body).into();
                self.state = State::Done;
                let peeked = Peeked { done: true, ..Peeked::default() };
                Poll::Ready(Some(Ok(Chunk { bytes, peeked })))
            }
            State::Waiting(_) | State::Done => Poll::Ready(None),
        }
    }
}
