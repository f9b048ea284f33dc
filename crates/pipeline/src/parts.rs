//! A request with more texts than one call may hold goes in parts, to several backends at the same time.
//!
//! ```text
//!              ┌─▶ Job ── attempts ──▶ its answer ─┐
//!   Job ─ cut ─┼─▶ Job ── attempts ──▶ its answer ─┼─ merge ──▶ the answer
//!              └─▶ Job ── attempts ──▶ its answer ─┘
//! ```
//!
//! A part is a request like any other: it is picked a backend for, waits for room, joins others in a lane and is tried
//! again by itself. Only to the caller and in the metrics they are one: he gets all of it or the first error that is
//! final, and when he leaves all of them end, since nobody but his connection polls them.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use plimsoll_engines::batch::{self, Joinable};
use plimsoll_routing::{Verdict, Writing};
use plimsoll_types::{Chunk, Head, Peeked, Request, ServeError};
use smallvec::SmallVec;

use crate::attempt::Begun;
use crate::begin::{Held, Job, Sent, attempts};
use crate::meter::Meter;

/// Parts of one request that are under way at the same time.
const AT_A_TIME: usize = 32;

/// A request in parts.
pub(crate) struct Cut {
    whole: Joinable,
    parts: Vec<Request>,
}

/// The parts of a request; `None` if it goes as one.
pub(crate) fn cut(job: &Job) -> Option<Cut> {
    let config = &job.held.snapshot.config.batching;
    if !config.enabled || !config.split || job.lane.pool.members.len() < 2 {
        return None;
    }
    let (kind, body, budget) = (job.request.envelope.kind, &job.request.body, config.budget());
    if !batch::may_exceed(kind, body, budget) {
        return None;
    }
    let whole = Joinable::read(kind, body)?;
    let fits = whole.items <= budget.items && whole.tokens <= budget.tokens;
    // A backend that takes no arrays has no use for parts, and one that looks at all texts together wants all of them.
    let alone = || job.lane.pool.members.iter().any(|member| member.spec.alone);
    if fits || alone() {
        return None;
    }
    let parts = batch::cut(&job.request, &whole, budget);
    (parts.len() > 1).then_some(Cut { whole, parts })
}

type Attempts = Pin<Box<dyn Future<Output = Result<Answered, ServeError>>>>;

/// A part that has its answer, and what it holds until that is merged.
struct Answered {
    head: Head,
    chunk: Chunk,
    sent: Sent,
    meter: Meter,
}

/// Serves all parts of a request: gives its answer, and the part that was answered last.
pub(crate) async fn begin(job: &mut Job, cut: Cut) -> Result<(Begun, Sent), ServeError> {
    job.lane.metrics.parts.increment(cut.parts.len() as u64);
    let mut parts = Parts::new(job, cut.parts);
    let last = poll_fn(|cx| parts.poll(job, cx)).await?;
    let Answered { head, sent, .. } = last;
    let merged = batch::merge(&cut.whole, &parts.answers).map_err(|error| {
        tracing::warn!(backend_error = %error, "the answers to the parts of a request are not those of one");
        ServeError::Backend("its answers to the parts of the request do not go together")
    })?;
    let head = Head { length: Some(merged.body.len() as u64), ..head };
    let peeked = Peeked { usage: merged.usage, done: true, ..Peeked::default() };
    Ok((Begun { head, chunks: SmallVec::from_iter([Chunk { bytes: merged.body, peeked }]) }, sent))
}

struct Parts {
    /// Those that have not begun, by their numbers.
    waiting: VecDeque<(usize, Request)>,
    under_way: Vec<(usize, Attempts)>,
    /// Answers and for how many texts each is.
    answers: Vec<(Bytes, u32)>,
}

impl Parts {
    fn new(job: &Job, parts: Vec<Request>) -> Self {
        let texts = |part: &Request| {
            Joinable::read(job.request.envelope.kind, &part.body).map_or(0, |read| read.items)
        };
        let answers = parts.iter().map(|part| (Bytes::new(), texts(part))).collect();
        Self { waiting: parts.into_iter().enumerate().collect(), under_way: Vec::new(), answers }
    }

    /// Gives the part that is answered last.
    fn poll(&mut self, job: &mut Job, cx: &mut Context<'_>) -> Poll<Result<Answered, ServeError>> {
        let mut at = 0;
        loop {
            while self.under_way.len() < AT_A_TIME
                && let Some((number, request)) = self.waiting.pop_front()
            {
                let part = part_of(job, request, self.answers[number].1);
                self.under_way.push((number, Box::pin(answer(part))));
            }
            let Some((number, attempts)) = self.under_way.get_mut(at) else { return Poll::Pending };
            let Poll::Ready(answered) = attempts.as_mut().poll(cx) else {
                at += 1;
                continue;
            };
            let mut answered = answered?;
            self.answers[*number].0 = std::mem::take(&mut answered.chunk.bytes);
            drop(self.under_way.swap_remove(at));
            job.held.meter.includes(&answered.meter);
            if self.under_way.is_empty() && self.waiting.is_empty() {
                return Poll::Ready(Ok(answered));
            }
            answered.finish(job);
        }
    }
}

impl Answered {
    /// Its backend is let go, and did well.
    fn finish(mut self, job: &Job) {
        let now = job.core.clock.now();
        self.sent.judge(Verdict::Ok, now, &job.held.snapshot.fleet.config);
        if let Some(usage) = self.chunk.peeked.usage {
            self.sent.used(now, usage, Writing::default());
        }
    }
}

/// A part of a request, with so many texts, as a job of its own.
fn part_of(job: &Job, request: Request, texts: u32) -> Job {
    let held = Held {
        watch: job.core.sweeper.watch(),
        meter: job.held.meter.part(),
        snapshot: Arc::clone(&job.held.snapshot),
        _permit: None,
    };
    Job {
        core: Rc::clone(&job.core),
        request,
        lane: Arc::clone(&job.lane),
        allowed: job.allowed,
        part_of: Some(texts),
        goes_on: false,
        held,
    }
}

async fn answer(mut part: Job) -> Result<Answered, ServeError> {
    let (begun, sent) = attempts(&mut part, &[]).await?;
    let Begun { head, mut chunks } = begun;
    Ok(Answered { head, chunk: chunks.pop().unwrap_or_default(), sent, meter: part.held.meter })
}
