//! From an admitted request to the first token: attempts, until one gives a beginning or trying makes no more sense.

use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::time::Duration;

use plimsoll_engines::Call;
use plimsoll_routing::{Allowed, Answer, Backend, Dispatched, PickError, RequestShape, Writing};
use plimsoll_types::{Envelope, Instant, Kind, Refusal, Request, ServeError, Usage};
use smallvec::SmallVec;
use std::sync::Arc;

use crate::attempt::{self, Begun, Ended, Limits};
use crate::continuation::{Rest, writes_on};
use crate::gathered::Gathered;
use crate::homes;
use crate::meter::Meter;
use crate::parts;
use crate::queue_wait;
use crate::room::{Charge, Room};
use crate::shared::{Lane, Permit};
use crate::sweeper::Watched;
use crate::{Config, Pipeline, Snapshot};

/// Backends that cannot be reached are passed over for free, but not without end.
const MAX_TRIED: usize = 16;
/// What a token of a plain answer may take, for those that say how many they want.
const SLOW_TOKEN: Duration = Duration::from_millis(100);
/// What a token of its prompt may take.
const SLOW_PROMPT: Duration = Duration::from_millis(10);
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

impl Live {
    /// The answer has ended: whether as a whole counts if it went on elsewhere.
    pub(crate) fn has_gone_on(&mut self, whole: bool) {
        if let Some(rest) = self.rest.take() {
            rest.ends(whole);
        }
    }
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
        Ok(begun) => {
            keep_home(&job, &begun);
            Ok(Live { rest: Rest::of(&job), ..live(job, begun) })
        }
        Err(error) => {
            job.held.meter.failed(&error);
            Err(error)
        }
    }
}

/// An answer that has begun, of a job that goes nowhere else for now.
pub(crate) fn live(job: Job, (begun, dispatched): (Begun, Sent)) -> Live {
    let (config, envelope) = (&job.held.snapshot.config, &job.request.envelope);
    // Engines read the call of a tool as a whole before they tell it, and say nothing meanwhile.
    let idle = if envelope.tools { config.quiet_limit } else { config.idle_limit };
    let gap = envelope.patience.map_or(idle, |patience| patience.min(idle));
    let deadline = job.request.envelope.deadline.unwrap_or(Instant::NEVER);
    Live { begun, dispatched, held: job.held, gap, deadline, rest: None }
}

/// Makes attempts at others than the backends in the slots `lost`. If all are at their line, an
/// attempt waits in the queue, whether it is the first or follows a failure.
pub(crate) async fn attempts(job: &mut Job, lost: &[usize]) -> Result<(Begun, Sent), ServeError> {
    let mut tried = SmallVec::<[usize; 4]>::from_slice(lost);
    let (mut sent, mut last, mut charge): (u64, Option<Ended>, Option<Charge>) = (0, None, None);
    if job.goes_on {
        // Those that would begin a new answer are none to wait for.
        let kind = job.request.envelope.kind;
        let others = job.lane.pool.members.iter().filter(|member| !writes_on(member, kind));
        tried.extend(others.map(|member| member.slot).filter(|slot| !lost.contains(slot)));
    }
    if queue_wait::cannot_be_in_time(job, job.core.clock.now()) {
        // No backend is to work for nothing.
        let retry_after = job.lane.room.drains_in(job.core.clock.now()).unwrap_or_default();
        return Err(queue_wait::in_vain(job, retry_after));
    }
    if let Some(id) = &job.request.envelope.home {
        tried.extend(away_from_home(job, id)?);
    }
    loop {
        let picked = match dispatch(job, &tried) {
            Err(PickError::Full) => {
                // It pays again when it leaves the queue again.
                charge.take().into_iter().for_each(|charge| charge.undo(job.request.envelope.prompt_tokens));
                queue_wait::wait(job, &tried).await
            }
            picked => Ok(picked.map(|dispatched| (dispatched, charge.take()))),
        };
        let mut dispatched = match picked {
            Ok(Ok(dispatched)) => Sent::new(dispatched, job),
            // Why the last attempt failed says more than that no other could be made.
            Ok(Err(error)) => return Err(last.map_or_else(|| refused_by(error), Ended::error)),
            Err(error) => return Err(last.map_or(error, Ended::error)),
        };
        tried.push(dispatched.backend.slot);
        if let Some(ended) = &last
            && !is_paid_for(job, ended)
        {
            return Err(ended.clone().error());
        }
        let ended = match attempt_at(job, &mut dispatched).await {
            Ok(begun) => return Ok((begun, dispatched)),
            Err(ended) => ended,
        };
        let now = job.core.clock.now();
        charge = give_up(job, dispatched, &ended, now);
        sent += u64::from(!ended.is_free());
        if ended.retry_reason().is_none() || !may_go_on(job, &ended, sent, tried.len(), now) {
            return Err(ended.error());
        }
        last = Some(ended);
    }
}

/// The slots of the backends at which the response or conversation of this id does not live; none where that is not known,
/// so that whichever backend is asked says whether it knows it.
fn away_from_home(job: &Job, id: &str) -> Result<Vec<usize>, ServeError> {
    let tenant = job.request.envelope.tenant.as_ref().map(|tenant| tenant.name.as_str());
    let Some(home) = job.core.shared.homes.find(id, tenant, job.core.clock.now()) else {
        return Ok(Vec::new());
    };
    let is_home = |member: &&Arc<Backend>| member.spec.name == home.backend;
    let members = &job.lane.pool.members;
    if !members.iter().any(|member| is_home(&member)) {
        return Err(Refusal {
            param: Some("previous_response_id".into()),
            code: Some("previous_response_not_found".into()),
            ..Refusal::new(
                404,
                "the backend that kept the response or conversation is gone, and all that it kept",
            )
        }
        .into());
    }
    Ok(members.iter().filter(|member| !is_home(member)).map(|member| member.slot).collect())
}

/// Keeps in mind where the response lives that has begun.
fn keep_home(job: &Job, (begun, dispatched): &(Begun, Sent)) {
    let envelope = &job.request.envelope;
    if envelope.kind != Kind::Response {
        return;
    }
    let (now, backend) = (job.core.clock.now(), &dispatched.backend.spec.name);
    let tenant = envelope.tenant.as_ref().map(|tenant| tenant.name.as_str());
    let made = homes::id_of(&begun.chunks, begun.head.stream);
    for id in made.as_deref().into_iter().chain(envelope.home.as_deref()) {
        job.core.shared.homes.keep(id, backend, tenant, now);
    }
}

/// Lets a backend go before another is asked, and judges it. Gives what its tenant was charged.
fn give_up(job: &Job, mut dispatched: Sent, ended: &Ended, now: Instant) -> Option<Charge> {
    job.held.watch.answer.borrow_mut().take();
    // No backend has it until the next attempt.
    job.held.watch.limit.set(Instant::NEVER);
    job.held.watch.backend.borrow_mut().take();
    if let Some(verdict) = ended.verdict() {
        dispatched.judge(verdict, now, &job.held.snapshot.fleet.config);
    }
    tracing::debug!(request_id = %job.request.envelope.id, backend = %dispatched.backend.spec.name, ?ended, "attempt ended");
    // Nothing has been written so far, and nothing is paid for unless the next one writes it.
    let mut charge = dispatched.charge.take();
    if let Some(charge) = &mut charge {
        charge.is(0);
    }
    charge
}

/// Takes another attempt from the budget, now that it is made, and counts it.
fn is_paid_for(job: &Job, ended: &Ended) -> bool {
    let (now, config) = (job.core.clock.now(), &job.held.snapshot.config);
    let paid = ended.is_free() || job.core.budget.borrow_mut().withdraw(now, config);
    match ended.retry_reason().filter(|_| paid) {
        Some(reason) => job.lane.metrics.retried(reason),
        None => job.lane.metrics.retries_denied.increment(1),
    }
    paid
}

fn may_go_on(job: &Job, ended: &Ended, sent: u64, tried: usize, now: Instant) -> bool {
    let config = &job.held.snapshot.config;
    if ended.is_free() {
        return tried < MAX_TRIED;
    }
    if sent >= config.max_attempts || tried >= job.lane.pool.members.len() {
        return false;
    }
    let allowed = job.core.budget.borrow_mut().has_one(now, config);
    if !allowed {
        job.lane.metrics.retries_denied.increment(1);
    }
    allowed
}

/// Picks a backend, if no other request waits that would be overtaken. One that has tried a backend came before those.
fn dispatch(job: &mut Job, tried: &[usize]) -> Result<Dispatched, PickError> {
    if tried.is_empty() && !job.lane.room.is_empty() {
        return Err(PickError::Full);
    }
    pick(job, tried)
}

/// What the router is to know of a request.
pub(crate) fn shape(job: &Job, now: Instant) -> RequestShape<'_> {
    let expected_output = job.lane.pool.learned.expected_output(now);
    let limit = job.request.envelope.max_tokens.unwrap_or(u32::MAX);
    RequestShape {
        prompt_tokens: job.request.envelope.prompt_tokens,
        expected_output: expected_output.min(limit),
        blocks: &job.request.envelope.blocks,
        allowed: job.allowed,
        answer: answer_of(&job.request.envelope),
        now,
        explain: job.request.envelope.explain,
    }
}

/// Picks a backend whose slot is not among `tried`.
pub(crate) fn pick(job: &mut Job, tried: &[usize]) -> Result<Dispatched, PickError> {
    let now = job.core.clock.now();
    let shape = shape(job, now);
    let config = &job.held.snapshot.fleet.config;
    let dispatched = job.core.router.borrow_mut().pick(&job.lane.pool, &shape, tried, config)?;
    job.held.meter.dispatched(now);
    job.held.meter.backend = Some(Arc::clone(&dispatched.backend));
    Ok(dispatched)
}

/// What comes back.
fn answer_of(envelope: &Envelope) -> Answer {
    match (envelope.kind.streams(), envelope.stream) {
        (false, _) => Answer::Pooled,
        (true, true) => Answer::Stream,
        (true, false) => Answer::Whole,
    }
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
    job.held.watch.backend.borrow_mut().replace(Arc::clone(&dispatched.backend));
    let limits = limits(job, dispatched.expected_ttft, now);
    let begun = attempt::first(&job.held.watch, clock, (limits, &dispatched.backend)).await;
    if job.held.watch.answer.borrow().as_ref().is_some_and(|answer| answer.is_accounted_for()) {
        dispatched.is_accounted_for();
    }
    let begun = begun?;
    let tokens = begun.chunks.iter().any(|chunk| chunk.peeked.token_events > 0);
    // What came while this process stood still says how long that was, and nothing of the backend.
    let measured = !job.core.sweeper.stood_still_since(now);
    if measured && (tokens || !begun.head.stream) {
        dispatched.first_token(clock.now());
    } else {
        dispatched.start();
    }
    dispatched.has_begun();
    Ok(begun)
}

fn limits(job: &Job, expected: f32, now: Instant) -> Limits {
    let (config, envelope): (&Config, _) = (&job.held.snapshot.config, &job.request.envelope);
    // Nothing comes of a whole answer before its end: its limit grows with its work, and is about twice that of a first token
    // where that is much longer than the shortest that any backend has.
    let whole = config.ttft_limit + config.ttft_limit.saturating_sub(config.ttft_floor);
    let whole = whole + SLOW_PROMPT * envelope.prompt_tokens;
    let attempt = match (envelope.stream, envelope.kind.streams(), envelope.max_tokens) {
        (true, ..) => config.first_token_limit(expected),
        (false, true, Some(tokens)) => (whole + SLOW_TOKEN * tokens).min(config.answer_limit),
        (false, true, None) => config.answer_limit,
        (false, false, _) => whole.min(config.answer_limit),
    };
    // Minutes, as SDKs wait: an address may lose one request and answer others.
    let longest = now + (config.ttft_limit * 4).min(config.answer_limit).max(attempt);
    Limits {
        attempt: now + attempt,
        lately: config.ttft_floor,
        longest,
        quiet: config.quiet_limit,
        caller: callers_limit(envelope),
    }
}

/// When the caller stops waiting for the first token of a stream, or for all of a whole answer.
pub(crate) fn callers_limit(envelope: &Envelope) -> Instant {
    let patience = envelope.patience.filter(|_| envelope.stream);
    let caller = patience.map_or(Instant::NEVER, |patience| envelope.received + patience);
    caller.min(envelope.deadline.unwrap_or(Instant::NEVER))
}

fn refused_by(error: PickError) -> ServeError {
    match error {
        PickError::NobodyLeft => ServeError::NoBackend,
        PickError::Full => ServeError::Overloaded { retry_after: Duration::from_secs(1) },
        PickError::Pushback(retry_after) => ServeError::Pushback { retry_after },
    }
}
