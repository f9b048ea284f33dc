//! Tokens on their way back: polled through from the backend to the client's connection. Hot path: no task, no
//! channel, no allocation for each event.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use plimsoll_engines::{Answer, Failure};
use plimsoll_routing::{Backend, Verdict};
use plimsoll_types::{Chunk, Clock, Instant, Peeked, ServeError};

use crate::attempt::{GONE, poll_chunk};
use crate::begin::Live;
use crate::continuation::{Beginning, go_on};
use crate::sweeper::Watch;

/// What a client is sent next.
#[derive(Debug, PartialEq, Eq)]
pub enum Flow {
    /// Bytes of the answer: of a stream, whole events.
    Chunk(Bytes),
    /// Nothing came for a while: a sign of life is due.
    Quiet,
    /// The answer breaks off, for this reason. Nothing follows.
    Failed(ServeError),
}

/// How long a backend may take to end the transfer after it ended the stream.
const AFTER_DONE: Duration = Duration::from_secs(1);

enum State {
    /// The client has its headers already, and the first token has not come, or the first one of another backend.
    Beginning(Beginning),
    Live(Box<Flowing>),
    Ended,
}

/// The rest of an answer. Dropping it cancels the request at the backend and gives back all that was taken.
pub struct TokenStream {
    state: State,
    watch: Rc<Watch>,
    clock: Arc<dyn Clock>,
    keep_alive: Duration,
}

/// Whose limit has passed.
enum Passed {
    Callers(ServeError),
    Backends(ServeError),
}

struct Flowing {
    live: Box<Live>,
    stream: bool,
    /// What was read from all that came so far.
    seen: Peeked,
    /// How many of the chunks that were held back went out.
    sent: usize,
    /// When the time is over in which there is to be output, whatever signs of life come.
    quiet_until: Instant,
}

impl TokenStream {
    pub(crate) fn beginning(
        beginning: Beginning,
        watch: Rc<Watch>,
        clock: Arc<dyn Clock>,
        keep_alive: Duration,
    ) -> Self {
        watch.fired.set(false);
        watch.quiet.set(Instant::ORIGIN);
        Self { state: State::Beginning(beginning), watch, clock, keep_alive }
    }

    pub(crate) fn live(live: Live) -> Self {
        let watch = live.held.watch.share();
        let (clock, keep_alive) = (live.held.meter.clock(), live.held.snapshot.config.keep_alive);
        let flowing = Flowing::new(live, &*clock);
        Self { state: State::Live(Box::new(flowing)), watch, clock, keep_alive }
    }

    /// The length of a plain answer that is there as a whole.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        match &self.state {
            State::Live(flowing) if !flowing.stream && flowing.is_whole() => {
                Some(flowing.live.begun.chunks[0].bytes.len() as u64)
            }
            _ => None,
        }
    }

    /// What was read from all that has come so far; nothing before the first token and after the end.
    #[must_use]
    pub fn seen(&self) -> Peeked {
        match &self.state {
            State::Live(flowing) => flowing.seen,
            State::Beginning(_) | State::Ended => Peeked::default(),
        }
    }

    /// The backend that answers, from the first token to the end.
    #[must_use]
    pub fn backend(&self) -> Option<&Backend> {
        match &self.state {
            State::Live(flowing) => Some(&flowing.live.dispatched.backend),
            State::Beginning(_) | State::Ended => None,
        }
    }

    /// Gives what the client is sent next; `None` at the end.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Flow>> {
        loop {
            match &mut self.state {
                State::Ended => return Poll::Ready(None),
                State::Beginning(beginning) => match beginning.as_mut().poll(cx) {
                    Poll::Ready(Ok(live)) => {
                        let flowing = Flowing::new(live, &*self.clock);
                        let stream = flowing.stream;
                        self.state = State::Live(Box::new(flowing));
                        if !stream {
                            // The client was promised events already.
                            return self.broke(
                                Failure::Broken("it gave a plain answer in the place of a stream"),
                                cx,
                            );
                        }
                    }
                    Poll::Ready(Err(error)) => return self.fail(error),
                    Poll::Pending => return self.quiet(),
                },
                State::Live(flowing) => {
                    if let Some(chunk) = flowing.held_back() {
                        return self.send(chunk);
                    }
                    if flowing.seen.error && !flowing.seen.done {
                        return self.reported_error(cx);
                    }
                    if self.watch.fired.get() {
                        match flowing.passed_limit(&self.watch, self.clock.now()) {
                            Some(Passed::Callers(error)) => return self.fail(error),
                            Some(Passed::Backends(error)) => return self.lost(error, cx),
                            None => {}
                        }
                    }
                    match poll_chunk(&self.watch, cx) {
                        Poll::Pending => {
                            self.watch.pending.set(true);
                            self.watch.wake_by(cx);
                            return self.quiet();
                        }
                        Poll::Ready(Some(Ok(chunk))) => {
                            let chunk = self.came(chunk);
                            if !chunk.bytes.is_empty() {
                                return self.send(chunk);
                            }
                        }
                        Poll::Ready(Some(Err(failure))) => return self.broke(failure, cx),
                        Poll::Ready(None) => return self.end(cx),
                    }
                }
            }
        }
    }

    /// A sign of life where one is due; otherwise there is nothing to do but wait.
    fn quiet(&mut self) -> Poll<Option<Flow>> {
        if self.watch.fired.replace(false) || self.watch.quiet.get() == Instant::ORIGIN {
            let now = self.clock.now();
            if now >= self.watch.quiet.get() {
                self.watch.quiet.set(now + self.keep_alive);
                return Poll::Ready(Some(Flow::Quiet));
            }
        }
        Poll::Pending
    }

    /// Gives what of it the client is to be told.
    fn came(&mut self, chunk: Chunk) -> Chunk {
        let State::Live(flowing) = &mut self.state else { return chunk };
        let now = self.clock.now();
        // How long this process stood still says nothing of who writes.
        let waited = self.watch.pending.replace(false) & !self.watch.stood_still.replace(false);
        let chunk = flowing.take_in(chunk, now, waited);
        self.watch.limit.set(flowing.limit(now));
        self.watch.quiet.set(if flowing.stream { now + self.keep_alive } else { Instant::NEVER });
        self.watch.stall.set(now + flowing.live.held.snapshot.config.stall_limit);
        chunk
    }

    fn send(&mut self, chunk: Chunk) -> Poll<Option<Flow>> {
        if let State::Live(flowing) = &mut self.state
            && flowing.seen.done
        {
            // A client may go as soon as it has all of it: this was a success already.
            flowing.finish(self.clock.now());
        }
        Poll::Ready(Some(Flow::Chunk(chunk.bytes)))
    }

    fn fail(&mut self, error: ServeError) -> Poll<Option<Flow>> {
        if let State::Live(flowing) = &mut self.state {
            flowing.live.held.meter.broken_stream(&error);
            flowing.live.has_gone_on(false);
        }
        self.state = State::Ended;
        Poll::Ready(Some(Flow::Failed(error)))
    }

    /// The backend is lost in the middle: another one goes on, or the client is told.
    fn lost(&mut self, error: ServeError, cx: &Context<'_>) -> Poll<Option<Flow>> {
        let State::Live(flowing) = std::mem::replace(&mut self.state, State::Ended) else {
            return Poll::Ready(None);
        };
        let now = self.clock.now();
        let Flowing { live, stream, seen, sent, quiet_until } = *flowing;
        match go_on(live, &error, now) {
            Ok(beginning) => {
                self.state = State::Beginning(beginning);
                self.watch.fired.set(false);
                self.watch.pending.set(true);
                self.watch.quiet.set(now + self.keep_alive);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Err(live) => {
                let flowing = Flowing { live, stream, seen, sent, quiet_until };
                self.state = State::Live(Box::new(flowing));
                self.fail(error)
            }
        }
    }

    fn broke(&mut self, failure: Failure, cx: &Context<'_>) -> Poll<Option<Flow>> {
        let State::Live(flowing) = &mut self.state else { return Poll::Ready(None) };
        if flowing.stream && flowing.seen.done {
            return self.end(cx);
        }
        let now = self.clock.now();
        flowing.judge(Verdict::Failed, now);
        let (Failure::Broken(why) | Failure::Unreachable(why)) = failure;
        self.lost(ServeError::Backend(why), cx)
    }

    /// The backend reported an error. If the request is to blame, its caller is told so; otherwise the backend is.
    fn reported_error(&mut self, cx: &Context<'_>) -> Poll<Option<Flow>> {
        let refusal = self.watch.answer.borrow_mut().as_deref_mut().and_then(Answer::refusal);
        let State::Live(flowing) = &mut self.state else { return Poll::Ready(None) };
        match refusal {
            None => self.broke(Failure::Broken("it reported an error"), cx),
            Some(refusal) if refusal.status < 500 && !matches!(refusal.status, 408 | 429) => {
                flowing.judge(Verdict::Refused, self.clock.now());
                self.fail(ServeError::Refused(refusal))
            }
            Some(refusal) => {
                flowing.judge(Verdict::Failed, self.clock.now());
                self.lost(ServeError::Refused(refusal), cx)
            }
        }
    }

    fn end(&mut self, cx: &Context<'_>) -> Poll<Option<Flow>> {
        let State::Live(flowing) = &mut self.state else { return Poll::Ready(None) };
        let now = self.clock.now();
        if flowing.is_complete() {
            flowing.finish(now);
            self.state = State::Ended;
            return Poll::Ready(None);
        }
        flowing.judge(Verdict::Failed, now);
        self.lost(ServeError::Backend("the stream ended before the answer did"), cx)
    }
}

impl Flowing {
    /// The answer has begun: what was held back is taken in as if it came now.
    fn new(live: Live, clock: &dyn Clock) -> Self {
        let (now, stream) = (clock.now(), live.begun.head.stream);
        let quiet_until = now + live.held.snapshot.config.quiet_limit;
        let (live, seen) = (Box::new(live), Peeked::default());
        let mut flowing = Self { live, stream, seen, sent: 0, quiet_until };
        for index in 0..flowing.live.begun.chunks.len() {
            let chunk = std::mem::take(&mut flowing.live.begun.chunks[index]);
            flowing.live.begun.chunks[index] = flowing.take_in(chunk, now, false);
        }
        let (watch, config) = (&flowing.live.held.watch, &flowing.live.held.snapshot.config);
        watch.pending.set(false);
        watch.fired.set(false);
        watch.limit.set(flowing.limit(now));
        watch.caller.set(flowing.live.deadline);
        watch.stood_still.set(false);
        watch.quiet.set(if flowing.stream { now + config.keep_alive } else { Instant::NEVER });
        watch.stall.set(now + config.stall_limit);
        flowing
    }

    /// When the backend is given up unless more comes than has come by now.
    fn limit(&self, now: Instant) -> Instant {
        if self.seen.done { now + AFTER_DONE } else { (now + self.live.gap).min(self.quiet_until) }
    }

    /// Gives what of it the client is to be told.
    fn take_in(&mut self, chunk: Chunk, now: Instant, waited: bool) -> Chunk {
        let chunk = match &mut self.live.rest {
            Some(rest) => rest.hear(chunk),
            None => chunk,
        };
        self.seen.add(chunk.peeked);
        self.live.held.meter.chunk(now, &chunk.peeked, waited);
        if chunk.peeked.token_events > 0 {
            self.live.dispatched.token(now, chunk.peeked.token_events);
            self.quiet_until = now + self.live.held.snapshot.config.quiet_limit;
        }
        chunk
    }

    fn held_back(&mut self) -> Option<Chunk> {
        let chunk = self.live.begun.chunks.get_mut(self.sent)?;
        self.sent += 1;
        let chunk = std::mem::take(chunk);
        if chunk.bytes.is_empty() { self.held_back() } else { Some(chunk) }
    }

    /// Whether a plain answer is there as a whole.
    fn is_whole(&self) -> bool {
        self.seen.done && self.live.begun.chunks.len() == 1
    }

    /// Whether the end of the transfer is the end of the answer too.
    fn is_complete(&self) -> bool {
        !self.stream || self.seen.done || self.seen.finish.is_some()
    }

    /// What the limits that have passed mean for the client, if anything.
    fn passed_limit(&mut self, watch: &Watch, now: Instant) -> Option<Passed> {
        if watch.cut.get() {
            return Some(Passed::Callers(ServeError::Draining));
        }
        if watch.answer.borrow().is_none() {
            return Some(Passed::Callers(ServeError::Deadline("the client did not read its stream")));
        }
        let is_gone = self.live.dispatched.backend.is_gone(now) && !self.seen.done;
        if (now < watch.limit.get().min(watch.caller.get()) && !is_gone) || !watch.pending.get() {
            return None;
        }
        if self.seen.done {
            // All of it came; only the transfer was not ended.
            watch.answer.borrow_mut().take();
            return None;
        }
        if now >= self.live.deadline {
            return Some(Passed::Callers(ServeError::Deadline("the time that the caller allows is over")));
        }
        if is_gone {
            let (Failure::Broken(why) | Failure::Unreachable(why)) = GONE;
            self.judge(Verdict::Failed, now);
            return Some(Passed::Backends(ServeError::Backend(why)));
        }
        self.judge(Verdict::Timeout, now);
        let why = "the backend fell silent in the middle of its answer";
        Some(Passed::Backends(ServeError::Deadline(why)))
    }

    fn judge(&mut self, verdict: Verdict, now: Instant) {
        self.live.dispatched.judge(verdict, now, &self.live.held.snapshot.fleet.config);
    }

    fn finish(&mut self, now: Instant) {
        if self.seen.error {
            self.judge(Verdict::Failed, now);
            self.live.held.meter.failed(&ServeError::Backend("it reported an error"));
        } else {
            self.judge(Verdict::Ok, now);
            self.live.has_gone_on(true);
            if let Some(usage) = self.seen.usage {
                let writing = self.live.held.meter.writing();
                self.live.dispatched.used(now, usage, writing);
            }
            self.live.held.meter.finished();
        }
    }
}
