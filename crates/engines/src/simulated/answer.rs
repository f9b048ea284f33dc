//! An answer of a simulated GPU on its way back. It is polled in place: it waits for one moment at a time and holds
//! the one timer for it.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use plimsoll_types::{Chunk, Clock, Head, Instant, Peeked, Sleep, Text};

use super::generation::Generation;
use super::gpu::{Gpu, Work};
use super::known::Known;
use super::seat::Seat;
use crate::{Answer, Failure};

/// What is to be answered.
pub(super) enum Job {
    /// Something known, once it has been read.
    Known(Known),
    /// Something to be written.
    Generation(Box<Generation>),
}

/// The way to a GPU.
#[derive(Clone)]
pub(super) struct Route {
    /// Where the time comes from.
    pub(super) clock: Arc<dyn Clock>,
    /// The GPU at its end.
    pub(super) gpu: Arc<Gpu>,
    /// How long one way takes.
    pub(super) one_way: Duration,
    /// The origin of the clock, in seconds since 1970.
    pub(super) epoch: u64,
}

/// An answer on its way.
pub(super) struct SimulatedAnswer {
    route: Route,
    timer: Timer,
    job: Job,
    /// What the GPU must do, until the request has arrived there.
    work: Option<Work>,
    arrives: Instant,
    seat: Option<Seat>,
    /// When the next tokens leave the GPU; `None` before the first.
    due: Option<Instant>,
    out: BytesMut,
    /// The whole of a plain answer, when its head has been given.
    body: Option<Chunk>,
}

impl SimulatedAnswer {
    /// The answer to a request that left at `now`.
    pub(super) fn new(route: Route, job: Job, work: Option<Work>, now: Instant) -> Self {
        let arrives = now + route.one_way;
        let timer = Timer { clock: Arc::clone(&route.clock), pending: None };
        Self { route, timer, job, work, arrives, seat: None, due: None, out: BytesMut::new(), body: None }
    }

    /// Waits until the request is with the GPU.
    fn poll_arrived(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.work.is_some() {
            ready!(self.timer.poll(self.arrives, cx));
            let seat = |work| Seat::take(&self.route.gpu, &self.route.clock, work, self.arrives);
            self.seat = self.work.take().map(seat);
        }
        Poll::Ready(())
    }

    /// Waits until the GPU has read the prompt and the news of it is here. Gives when it had, and how many tokens it
    /// knew.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<(Instant, u32)> {
        ready!(self.poll_arrived(cx));
        let (at, cached) = match &self.seat {
            None => (self.arrives, 0),
            // Without an answer the GPU has kept the waker.
            Some(seat) => match seat.prefilled(cx.waker()) {
                None => return Poll::Pending,
                Some(prefilled) => (prefilled.at, prefilled.cached),
            },
        };
        ready!(self.timer.poll(at + self.route.one_way, cx));
        Poll::Ready((at, cached))
    }

    /// Waits for the next tokens and writes them; `None` after the last.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Option<Peeked>> {
        let begun = self.due;
        let (due, cached) = match begun {
            Some(due) => {
                ready!(self.timer.poll(due + self.route.one_way, cx));
                (due, 0)
            }
            None => ready!(self.poll_read(cx)),
        };
        let Job::Generation(generation) = &mut self.job else { return Poll::Ready(None) };
        if begun.is_none() {
            generation.begin(&mut self.out, cached);
        } else if generation.is_over() {
            return Poll::Ready(None);
        }
        let now = self.route.epoch + (due + self.route.one_way - Instant::ORIGIN).as_secs();
        let peeked = generation.step(&mut self.out, now);
        self.due = Some(due);
        if generation.is_over() {
            self.seat = None;
        } else if let Some(seat) = &mut self.seat {
            self.due = Some(due + seat.step(generation.share()));
        }
        Poll::Ready(Some(peeked))
    }

    /// Waits for the whole of a plain answer.
    fn poll_plain(&mut self, cx: &mut Context<'_>) -> Poll<(u16, Chunk)> {
        if let Job::Known(Known { status, body, usage }) = &self.job {
            let (status, bytes, usage) = (*status, body.clone(), *usage);
            ready!(self.poll_read(cx));
            self.seat = None;
            return Poll::Ready((status, Chunk { bytes, peeked: Peeked { usage, ..Peeked::default() } }));
        }
        // The last step says how it ended and what it took.
        let mut peeked = Peeked::default();
        while let Some(step) = ready!(self.poll_step(cx)) {
            peeked = step;
        }
        Poll::Ready((200, Chunk { bytes: self.out.split().freeze(), peeked }))
    }

    fn is_stream(&self) -> bool {
        matches!(&self.job, Job::Generation(generation) if generation.is_stream())
    }
}

impl Answer for SimulatedAnswer {
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        if self.is_stream() {
            // As vLLM does it: the head goes back as soon as the request is there.
            ready!(self.poll_arrived(cx));
            ready!(self.timer.poll(self.arrives + self.route.one_way, cx));
            let content_type = Text::from_static("text/event-stream; charset=utf-8");
            return Poll::Ready(Ok(Head { status: 200, stream: true, content_type, ..Head::default() }));
        }
        let (status, body) = ready!(self.poll_plain(cx));
        let length = Some(body.bytes.len() as u64);
        self.body = Some(body);
        let content_type = Text::from_static("application/json");
        Poll::Ready(Ok(Head { status, content_type, length, ..Head::default() }))
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Failure>>> {
        if !self.is_stream() {
            return Poll::Ready(self.body.take().map(Ok));
        }
        let peeked = ready!(self.poll_step(cx));
        Poll::Ready(peeked.map(|peeked| Ok(Chunk { bytes: self.out.split().freeze(), peeked })))
    }
}

/// Waits for one moment at a time.
struct Timer {
    clock: Arc<dyn Clock>,
    pending: Option<(Instant, Sleep)>,
}

impl Timer {
    fn poll(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if self.clock.now() < at {
            let clock = &self.clock;
            let pending = self.pending.take().filter(|(until, _)| *until == at);
            let (_, sleep) = self.pending.insert(pending.unwrap_or_else(|| (at, clock.sleep_until(at))));
            ready!(sleep.as_mut().poll(cx));
        }
        self.pending = None;
        Poll::Ready(())
    }
}
