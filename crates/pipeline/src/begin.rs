//! From an admitted request to the first token: attempts, until one gives a beginning or trying makes no more sense.

use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use plimsoll_batching::queue::Entry;
use plimsoll_engines::Call;
use plimsoll_routing::{Allowed, Dispatched, PickError, RequestShape, Writing};
use plimsoll_types::{Instant, Kind, Priority, Request, ServeError, Usage};
use smallvec::SmallVec;
use std::sync::Arc;

use crate::attempt::{self, Begun, Ended, Limits};
use crate::continuation::{Rest, writes_on};
use crate::gathered::Gathered;
use crate::meter::Meter;
use crate::parts;
use crate::room::{ANSWER_FACTOR, Charge, Room, tenant};
use crate::shared::{Lane, Permit};
use crate::sweeper::Watched;
use crate::{Config, Pipeline, Snapshot};

/// Backends that cannot be reached are passed over for free, but not without end.
const MAX_TRIED: usize = 16;
/// What a token of a plain answer may take, for those that say how many they want.
const SLOW_TOKEN: Duration = Duration::from_millis(100);
/// How often the first one that waits looks for room that nobody told of.
const LOOK: Duration = Duration::from_millis(50);

/// An admitted request and all that was taken for it.
pub(crate) struct Job {
    pub(crate) core: Rc<Pipeline>,
    pub(crate) request: Request,
    pub(crate) lane: Arc<Lane>,
    /// Where it may be served.
    pub(crate) allowed: Allowed,
    /// Whether it is the rest of an answer that has begun elsewhere.
    pub(crate) goes_on: bool,
    /// How many texts it has, if it is a part of another: its answer is good as a whole, and if it is one to each.
    pub(crate) part_of: Option<u32>,
    pub(crate) held: Held,
}

/// What a request holds from its admission to its end, in the order in which it is given back.
pub(crate) struct Held {
    pub(crate) watch: Watched,
    pub(crate) meter: Meter,
    pub(crate) snapshot: Arc<Snapshot>,
    /// A part needs none of its own.
    pub(crate) _permit: Option<Permit>,
}

/// An answer that has begun.
pub(crate) struct Live {
    pub(crate) begun: Begun,
    pub(crate) dispatched: Sent,
    pub(crate) held: Held,
    /// The longest gap that the backend may leave and the caller bears.
    pub(crate) gap: Duration,
    /// When the caller's time for all of it is over.
    pub(crate) deadline: Instant,
    /// By what it goes on elsewhere, where it can.
    pub(crate) rest: Option<Box<Rest>>,
}

/// A request at a backend. When it leaves, whoever waits for room is called.
pub(crate) struct Sent {
    dispatched: Dispatched,
    /// What its tenant was charged when it left the queue.
    charge: Option<Charge>,
    // After the above: the room is there when it is told of.
    room: Freed,
}

struct Freed(Arc<Room>);

impl Sent {
    fn new((dispatched, mut charge): (Dispatched, Option<Charge>), job: &Job) -> Self {
        if let Some(charge) = &mut charge {
            charge.begins(job.request.envelope.stream);
        }
        Self { dispatched, charge, room: Freed(Arc::clone(&job.lane.room)) }
    }

    /// The answer ended, and the backend said what it took.
    pub(crate) fn used(&mut self, now: Instant, usage: Usage, writing: Writing) {
        self.dispatched.used(now, usage, writing);
        if let Some(charge) = &mut self.charge {
            charge.is(usage.completion);
        }
    }

    /// A piece of a stream with so many tokens came.
    pub(crate) fn token(&mut self, now: Instant, tokens: u32) {
        self.dispatched.token(now);
        if let Some(charge) = &mut self.charge {
            charge.adds(tokens);
        }
    }

    /// Its prompt has been read, which is room for another.
    fn has_begun(&self) {
        self.room.0.call();
    }
}

impl Drop for Freed {
    fn drop(&mut self) {
        self.0.call();
    }
}

impl Deref for Sent {
    type Target = Dispatched;
    fn deref(&self) -> &Dispatched {
        &self.dispatched
    }
}

impl DerefMut for Sent {
    fn deref_mut(&mut self) -> &mut Dispatched {
        &mut self.dispatched
    }
}

/// Makes attempts until one begins to answer, or, of a request that is too large for one call, one of each part of it.
pub(crate) async fn begin(mut job: Job) -> Result<Live, ServeError> {
    let begun = match parts::cut(&job) {
        Some(cut) => parts::begin(&mut job, cut).await,
        None => attempts(&mut job, &[]).await,
    };
    match begun {
        Ok(begun) => Ok(Live { rest: Rest::of(&job), ..live(job, begun) }),
        Err(error) => {
            job.held.meter.failed(&error);
            Err(error)
        }
    }
}

/// An answer that has begun, of a job that goes nowhere else for now.
pub(crate) fn live(job: Job, (begun, dispatched): (Begun, Sent)) -> Live {
    let idle = job.held.snapshot.config.idle_limit;
    let gap = job.request.envelope.patience.map_or(idle, |patience| patience.min(idle));
    let deadline = job.request.envelope.deadline.unwrap_or(Instant::NEVER);
    Live { begun, dispatched, held: job.held, gap, deadline, rest: None }
}

/// Makes attempts at others than the backends in the slots `lost`.
pub(crate) async fn attempts(job: &mut Job, lost: &[usize]) -> Result<(Begun, Sent), ServeError> {
    let mut tried = SmallVec::<[usize; 4]>::from_slice(lost);
    let (mut sent, mut last, mut charge, mut waits) = (0, None, None, true);
    loop {
        let picked = match dispatch(job, &tried) {
            // Before the first attempt there is time to wait, and nobody is overtaken.
            Err(PickError::Full) if waits => held(job).await?,
            picked => picked.map(|dispatched| (dispatched, charge.take())),
        };
        waits = false;
        let mut dispatched = match picked {
            Ok(dispatched) => Sent::new(dispatched, job),
            Err(error) => return Err(last.map_or_else(|| refused_by(error), Ended::error)),
        };
        tried.push(dispatched.backend.slot);
        if job.goes_on && !writes_on(&dispatched.backend, job.request.envelope.kind) {
            continue;
        }
        let begun = attempt_at(job, &mut dispatched).await;
        if job.held.watch.answer.borrow().as_ref().is_some_and(|answer| answer.is_accounted_for()) {
            dispatched.is_accounted_for();
        }
        let ended = match begun {
            Ok(begun) => return Ok((begun, dispatched)),
            Err(ended) => ended,
        };
        // The backend is let go before another is asked.
        job.held.watch.answer.borrow_mut().take();
        let now = job.core.clock.now();
        if let Some(verdict) = ended.verdict() {
            dispatched.judge(verdict, now, &job.held.snapshot.fleet.config);
        }
        tracing::debug!(request_id = %job.request.envelope.id, backend = %dispatched.backend.spec.name, ?ended, "attempt ended");
        // Nothing has been written so far, and nothing is paid for unless the next one writes it.
        charge = dispatched.charge.take();
        if let Some(charge) = &mut charge {
            charge.is(0);
        }
        let Some(reason) = ended.retry_reason() else { return Err(ended.error()) };
        sent += u64::from(!ended.is_free());
        if !may_go_on(job, &ended, sent, tried.len(), now) {
            return Err(ended.error());
        }
        job.lane.metrics.retried(reason);
        last = Some(ended);
    }
}

fn may_go_on(job: &Job, ended: &Ended, sent: u64, tried: usize, now: Instant) -> bool {
    let config = &job.held.snapshot.config;
    if ended.is_free() {
        return tried < MAX_TRIED;
    }
    if sent >= config.max_attempts || tried >= job.lane.pool.members.len() {
        return false;
    }
    let allowed = job.core.budget.borrow_mut().withdraw(now, config);
    if !allowed {
        job.lane.metrics.retries_denied.increment(1);
    }
    allowed
}

type Picked = Result<(Dispatched, Option<Charge>), PickError>;

/// Waits in the room of the pool until a backend is below its line.
async fn held(job: &mut Job) -> Result<Picked, ServeError> {
    let config = &job.held.snapshot.config;
    let (clock, since) = (Arc::clone(&job.core.clock), job.core.clock.now());
    let until = (since + config.max_wait).min(job.request.envelope.deadline.unwrap_or(Instant::NEVER));
    let (entry, output) = entry(job, since);
    let entered = job.lane.room.enter((entry, job.allowed, output), config.queue(), (since, until));
    let place = entered.map_err(|retry_after| in_vain(job, retry_after))?;
    let waiting = Waiting::new(&job.lane, entry.priority);
    let mut look = (until, clock.sleep_until(until));
    let picked = poll_fn(|cx| {
        job.held.watch.wake_by(cx);
        if job.held.watch.cut.get() {
            return Poll::Ready(Err(ServeError::Draining));
        }
        let now = clock.now();
        if look.0 <= now && look.0 < until {
            place.looks_again();
        }
        if place.is_first(cx, now) {
            let picked = pick(job, &[]);
            if !matches!(picked, Err(PickError::Full)) {
                return Poll::Ready(Ok(picked));
            }
            place.finds_nothing();
            // An ejection that ends and a report that fades call nobody, so the first one looks now and then.
            if look.0 <= now || look.0 == until {
                let next = (now + LOOK).min(until);
                look = (next, clock.sleep_until(next));
            }
        } else if look.0 <= now && look.0 < until {
            // It was the first one, and is not any more: whoever is looks now.
            look = (until, clock.sleep_until(until));
            place.passes_on();
        }
        if now >= until {
            return Poll::Ready(Ok(Err(PickError::Full)));
        }
        ready!(look.1.as_mut().poll(cx));
        // The time to look has come, perhaps already: another poll does it.
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
    let now = clock.now();
    waiting.over(now - since);
    match picked? {
        Ok(dispatched) => {
            let (late, charge) = place.goes(now);
            job.lane.metrics.late.record(late.as_secs_f64());
            Ok(Ok((dispatched, Some(charge))))
        }
        Err(PickError::Full) => {
            let retry_after = job.lane.room.drains_in(now).unwrap_or_default();
            Err(in_vain(job, retry_after))
        }
        Err(error) => Ok(Err(error)),
    }
}

/// What the queue is to know of a request, and the tokens that its answer is expected to have.
fn entry(job: &Job, now: Instant) -> (Entry, u32) {
    let envelope = &job.request.envelope;
    let limit = envelope.max_tokens.unwrap_or(u32::MAX);
    let output = job.lane.pool.learned.expected_output(now).min(limit);
    let (tenant, weight) = tenant(envelope.tenant.as_deref());
    let entry = Entry {
        tenant,
        weight,
        priority: envelope.priority,
        // Its room knows.
        reach: 0,
        tokens: envelope.prompt_tokens.saturating_add(output.saturating_mul(ANSWER_FACTOR)),
        bytes: job.request.body.len() as u64,
        latest: envelope.deadline.unwrap_or(Instant::NEVER),
    };
    (entry, output)
}

/// It is not worth the wait.
fn in_vain(job: &Job, retry_after: Duration) -> ServeError {
    job.lane.metrics.in_vain.increment(1);
    ServeError::Overloaded { retry_after: retry_after.max(Duration::from_secs(1)) }
}

/// Counts a request that waits.
struct Waiting(Arc<Lane>, Priority);

impl Waiting {
    fn new(lane: &Arc<Lane>, priority: Priority) -> Self {
        lane.metrics.queue(priority).waiting.increment(1.0);
        Self(Arc::clone(lane), priority)
    }

    fn over(self, waited: Duration) {
        self.0.metrics.queue(self.1).wait.record(waited.as_secs_f64());
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.metrics.queue(self.1).waiting.decrement(1.0);
    }
}

/// Picks a backend, if nobody waits who would be overtaken.
fn dispatch(job: &mut Job, tried: &[usize]) -> Result<Dispatched, PickError> {
    if tried.is_empty() && !job.lane.room.is_empty() {
        return Err(PickError::Full);
    }
    pick(job, tried)
}

fn pick(job: &mut Job, tried: &[usize]) -> Result<Dispatched, PickError> {
    let now = job.core.clock.now();
    let expected_output = job.lane.pool.learned.expected_output(now);
    let limit = job.request.envelope.max_tokens.unwrap_or(u32::MAX);
    let shape = RequestShape {
        prompt_tokens: job.request.envelope.prompt_tokens,
        expected_output: expected_output.min(limit),
        blocks: &job.request.envelope.blocks,
        allowed: job.allowed,
        plain: !job.request.envelope.stream && job.request.envelope.kind.streams(),
        now,
        explain: job.request.envelope.explain,
    };
    let config = &job.held.snapshot.fleet.config;
    let dispatched = job.core.router.borrow_mut().pick(&job.lane.pool, &shape, tried, config)?;
    job.held.meter.dispatched(now);
    job.held.meter.backend = Some(Arc::clone(&dispatched.backend));
    Ok(dispatched)
}

async fn attempt_at(job: &Job, dispatched: &mut Sent) -> Result<Begun, Ended> {
    let (clock, envelope) = (&*job.core.clock, &job.request.envelope);
    let now = clock.now();
    let engine = job.core.engine(&dispatched.backend);
    let again = job.held.meter.attempts > 1;
    let answer = engine.start(&Call { request: &job.request, alias: dispatched.alias(), again });
    let answer = match job.part_of {
        Some(texts) => Box::new(Gathered::new(answer, (envelope.kind, texts))),
        None => answer,
    };
    job.held.watch.answer.borrow_mut().replace(answer);
    let limits = limits(job, dispatched.expected_ttft, now);
    let begun = attempt::first(&job.held.watch, clock, limits).await?;
    let tokens = begun.chunks.iter().any(|chunk| chunk.peeked.token_events > 0);
    // All of an embedding's time is prefill; of a plain chat answer's, nobody knows which part.
    let all_prefill = !envelope.kind.streams();
    if tokens || all_prefill {
        dispatched.first_token(clock.now());
    } else {
        dispatched.start();
    }
    dispatched.has_begun();
    Ok(begun)
}

fn limits(job: &Job, expected: f32, now: Instant) -> Limits {
    let (config, envelope): (&Config, _) = (&job.held.snapshot.config, &job.request.envelope);
    let attempt = match (envelope.stream, envelope.kind, envelope.max_tokens) {
        (true, ..) => config.first_token_limit(expected),
        (false, Kind::Chat | Kind::Completion | Kind::Response | Kind::Message, Some(tokens)) => {
            (config.ttft_limit + SLOW_TOKEN * tokens).min(config.answer_limit)
        }
        (false, Kind::Chat | Kind::Completion | Kind::Response | Kind::Message, None) => config.answer_limit,
        (false, ..) => config.ttft_limit,
    };
    let patience = envelope.patience.filter(|_| envelope.stream);
    let caller = patience.map_or(Instant::NEVER, |patience| envelope.received + patience);
    Limits { attempt: now + attempt, caller: caller.min(envelope.deadline.unwrap_or(Instant::NEVER)) }
}

fn refused_by(error: PickError) -> ServeError {
    match error {
        PickError::NobodyLeft => ServeError::NoBackend,
        PickError::Full => ServeError::Overloaded { retry_after: Duration::from_secs(1) },
        PickError::Pushback(retry_after) => ServeError::Pushback { retry_after },
    }
}
