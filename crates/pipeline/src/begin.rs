//! From an admitted request to the first token: attempts, until one gives a beginning or trying makes no more sense.

use std::rc::Rc;
use std::time::Duration;

use plimsoll_engines::Call;
use plimsoll_routing::{Dispatched, PickError, RequestShape};
use plimsoll_types::{Instant, Kind, Request, ServeError};
use smallvec::SmallVec;
use std::sync::Arc;

use crate::attempt::{self, Begun, Ended, Limits};
use crate::meter::Meter;
use crate::shared::{Lane, Permit};
use crate::sweeper::Watched;
use crate::{Config, Pipeline, Snapshot};

/// Backends that cannot be reached are passed over for free, but not without end.
const MAX_TRIED: usize = 16;
/// What a token of a plain answer may take, for those that say how many they want.
const SLOW_TOKEN: Duration = Duration::from_millis(100);

/// An admitted request and all that was taken for it.
pub(crate) struct Job {
    pub(crate) core: Rc<Pipeline>,
    pub(crate) request: Request,
    pub(crate) lane: Arc<Lane>,
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
    pub(crate) dispatched: Dispatched,
    pub(crate) held: Held,
    /// The longest gap that the backend may leave and the caller bears.
    pub(crate) gap: Duration,
}

/// Makes attempts until one begins to answer.
pub(crate) async fn begin(mut job: Job) -> Result<Live, ServeError> {
    match attempts(&mut job).await {
        Ok((begun, dispatched)) => {
            let idle = job.held.snapshot.config.idle_limit;
            let gap = job.request.envelope.patience.map_or(idle, |patience| patience.min(idle));
            Ok(Live { begun, dispatched, held: job.held, gap })
        }
        Err(error) => {
            job.held.meter.failed(&error);
            Err(error)
        }
    }
}

async fn attempts(job: &mut Job) -> Result<(Begun, Dispatched), ServeError> {
    let mut tried = SmallVec::<[usize; 4]>::new();
    let (mut sent, mut last) = (0, None);
    loop {
        let mut dispatched = match dispatch(job, &tried) {
            Ok(dispatched) => dispatched,
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

fn dispatch(job: &mut Job, tried: &[usize]) -> Result<Dispatched, PickError> {
    let now = job.core.clock.now();
    let expected_output = job.lane.pool.learned.expected_output(now);
    let limit = job.request.envelope.max_tokens.unwrap_or(u32::MAX);
    let shape = RequestShape {
        prompt_tokens: job.request.envelope.prompt_tokens,
        expected_output: expected_output.min(limit),
        blocks: &job.request.envelope.blocks,
        now,
    };
    let config = &job.held.snapshot.fleet.config;
    let dispatched = job.core.router.borrow_mut().pick(&job.lane.pool, &shape, tried, config)?;
    job.held.meter.dispatched(now);
    job.held.meter.backend = Some(Arc::clone(&dispatched.backend));
    Ok(dispatched)
}

async fn attempt_at(job: &Job, dispatched: &mut Dispatched) -> Result<Begun, Ended> {
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
