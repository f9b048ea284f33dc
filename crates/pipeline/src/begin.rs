//! From an admitted request to the first token: attempts, until one gives a beginning or trying makes no more sense.

use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use plimsoll_engines::Call;
use plimsoll_routing::{Allowed, Dispatched, PickError, RequestShape};
use plimsoll_types::{Instant, Kind, Request, ServeError};
use smallvec::SmallVec;
use std::sync::Arc;

use crate::attempt::{self, Begun, Ended, Limits};
use crate::meter::Meter;
use crate::room::Room;
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
    pub(crate) held: Held,
}

/// What a request holds from its admission to its end, in the order in which it is given back.
pub(crate) struct Held {
    pub(crate) watch: Watched,
    pub(crate) meter: Meter,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) _permit: Permit,
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
}

/// A request at a backend. When it leaves, whoever waits for room is called.
pub(crate) struct Sent {
    dispatched: Dispatched,
    // After the above: the room is there when it is told of.
    room: Freed,
}

struct Freed(Arc<Room>);

impl Sent {
    fn new(dispatched: Dispatched, lane: &Lane) -> Self {
        Self { dispatched, room: Freed(Arc::clone(&lane.room)) }
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

/// Makes attempts until one begins to answer.
pub(crate) async fn begin(mut job: Job) -> Result<Live, ServeError> {
    match attempts(&mut job).await {
        Ok((begun, dispatched)) => {
            let idle = job.held.snapshot.config.idle_limit;
            let gap = job.request.envelope.patience.map_or(idle, |patience| patience.min(idle));
            let deadline = job.request.envelope.deadline.unwrap_or(Instant::NEVER);
            Ok(Live { begun, dispatched, held: job.held, gap, deadline })
        }
        Err(error) => {
            job.held.meter.failed(&error);
            Err(error)
        }
    }
}

async fn attempts(job: &mut Job) -> Result<(Begun, Sent), ServeError> {
    let mut tried = SmallVec::<[usize; 4]>::new();
    let (mut sent, mut last) = (0, None);
    loop {
        let picked = match dispatch(job, &tried) {
            // Before the first attempt there is time to wait, and nobody is overtaken.
            Err(PickError::Full) if tried.is_empty() => held(job).await?,
            picked => picked,
        };
        let mut dispatched = match picked {
            Ok(dispatched) => Sent::new(dispatched, &job.lane),
            Err(error) => return Err(last.map_or_else(|| refused_by(error), Ended::error)),
        };
        tried.push(dispatched.backend.slot);
        let ended = match attempt_at(job, &mut dispatched).await {
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

/// Waits in the room of the pool until a backend is below its line.
async fn held(job: &mut Job) -> Result<Result<Dispatched, PickError>, ServeError> {
    let config = &job.held.snapshot.config;
    let (clock, since) = (Arc::clone(&job.core.clock), job.core.clock.now());
    let until = (since + config.max_wait).min(job.request.envelope.deadline.unwrap_or(Instant::NEVER));
    let Some(place) = job.lane.room.enter(config.max_queued) else { return Ok(Err(PickError::Full)) };
    let waiting = Waiting::new(&job.lane);
    let mut look = (until, clock.sleep_until(until));
    let picked = poll_fn(|cx| {
        job.held.watch.wake_by(cx);
        if job.held.watch.cut.get() {
            return Poll::Ready(Err(ServeError::Draining));
        }
        let now = clock.now();
        if place.is_first(cx) {
            match pick(job, &[]) {
                // An ejection that ends and a report that fades call nobody, so the first one looks now and then.
                Err(PickError::Full) if look.0 <= now || look.0 == until => {
                    let next = (now + LOOK).min(until);
                    look = (next, clock.sleep_until(next));
                }
                Err(PickError::Full) => {}
                picked => return Poll::Ready(Ok(picked)),
            }
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
    waiting.over(clock.now() - since);
    picked
}

/// Counts a request that waits.
struct Waiting(Arc<Lane>);

impl Waiting {
    fn new(lane: &Arc<Lane>) -> Self {
        lane.metrics.waiting.increment(1.0);
        Self(Arc::clone(lane))
    }

    fn over(self, waited: Duration) {
        self.0.metrics.wait.record(waited.as_secs_f64());
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.metrics.waiting.decrement(1.0);
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
        now,
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
