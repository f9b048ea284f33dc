//! An answer of a simulated GPU on its way back. It is polled in place: it waits for one moment at a time and holds
//! the one timer for it.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use plimsoll_batching::step::Refusal;
use plimsoll_types::{Chunk, Clock, Head, Instant, Peeked, Sleep, Text};

use super::generation::Generation;
use super::gpu::{Gpu, Received, Work, Written};
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
    arrives: Instant,
    /// The place on the GPU, until all has been received.
    seat: Option<Seat>,
    /// What is received at a time; kept for the next time.
    written: Written,
    out: BytesMut,
    /// The whole of a plain answer, when its head has been given.
    body: Option<Chunk>,
}

impl SimulatedAnswer {
    /// The answer to a request that left at `now`, for which the GPU has to do some `work`.
    pub(super) fn new(route: Route, job: Job, work: Option<Work>, now: Instant) -> Result<Self, Refusal> {
        let arrives = now + route.one_way;
        let seat = work.map(|work| Seat::take(&route.gpu, &route.clock, work, arrives)).transpose()?;
        let timer = Timer { clock: Arc::clone(&route.clock), pending: None };
        let (written, out) = (Written::new(), BytesMut::new());
        Ok(Self { route, timer, job, arrives, seat, written, out, body: None })
    }

    /// Waits for what is written next, which is left in `written`.
    fn poll_received(&mut self, cx: &mut Context<'_>) -> Poll<Received> {
        self.written.clear();
        loop {
            let one_way = self.route.one_way;
            let received = match &self.seat {
                Some(seat) => seat.receive(one_way, &mut self.written, cx.waker()),
                None => Ok(Received { at: self.arrives, cached: 0, over: true }),
            };
            match received {
                Ok(received) => return Poll::Ready(received),
                Err(until) => ready!(self.timer.poll(until + one_way, cx)),
            }
        }
    }

    /// Waits for the next tokens and writes them; `None` after the last.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Option<Peeked>> {
        if self.seat.is_none() {
            return Poll::Ready(None);
        }
        let Received { at, cached, over } = ready!(self.poll_received(cx));
        let now = self.route.epoch + (at + self.route.one_way - Instant::ORIGIN).as_secs();
        let Job::Generation(generation) = &mut self.job else { return Poll::Ready(None) };
        let peeked = generation.step(&mut self.out, &self.written, cached, now);
        debug_assert_eq!(over, generation.is_over(), "the GPU writes as much as there is to say");
        if generation.is_over() {
            self.seat = None;
        }
        Poll::Ready(Some(peeked))
    }

    /// Waits for the whole of a plain answer.
    fn poll_plain(&mut self, cx: &mut Context<'_>) -> Poll<(u16, Chunk)> {
        if let Job::Known(Known { status, body, usage }) = &self.job {
            let (status, bytes, usage) = (*status, body.clone(), *usage);
            while !ready!(self.poll_received(cx)).over {}
            ready!(self.timer.poll(self.arrives + self.route.one_way, cx));
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
