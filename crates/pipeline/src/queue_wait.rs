//! Waits for room while every backend of a pool is at its line, or refuses what cannot be served in time.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use plimsoll_batching::queue::Entry;
use plimsoll_routing::{Dispatched, PickError};
use plimsoll_types::{Instant, Priority, ServeError};

use crate::begin::{Job, callers_limit, pick, shape};
use crate::room::{ANSWER_FACTOR, Charge, tenant};
use crate::shared::Lane;

/// How many times the time of nine of ten answers is left to one that waits: what begins with no time to spare is work for
/// nothing.
const SPARE: f32 = 1.2;
/// How often the first request in the queue looks for room of which it was not notified.
const LOOK: Duration = Duration::from_millis(50);

/// A backend and what the request's tenant was charged for leaving the queue, or why there is none.
pub(crate) type Picked = Result<(Dispatched, Option<Charge>), PickError>;

/// Waits in the queue of the pool until a backend whose slot is not among `tried` is below its line.
///
/// # Errors
///
/// The refusal that the caller gets if no backend has room in time.
pub(crate) async fn wait(job: &mut Job, tried: &[usize]) -> Result<Picked, ServeError> {
    let (clock, since) = (Arc::clone(&job.core.clock), job.core.clock.now());
    let (entry, output) = entry(job, since, !tried.is_empty());
    if entry.latest <= since {
        return Err(in_vain(job, Duration::ZERO));
    }
    let entered =
        job.lane.room.enter((entry, (job.allowed, tried), output), &job.held.snapshot.config, since);
    let place = entered.map_err(|retry_after| in_vain(job, retry_after))?;
    let until = place.until;
    let waiting = Waiting::new(&job.lane, entry.priority);
    let mut look = (until, clock.sleep_until(until));
    let mut idle = IdleSince::default();
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
            let picked = pick(job, tried);
            if !matches!(picked, Err(PickError::Full)) {
                return Poll::Ready(Ok(picked));
            }
            idle.looks(job, tried, now);
            place.finds_nothing();
            // The end of an ejection and the fading of a report wake no request, so the first one looks every `LOOK`.
            if look.0 <= now || look.0 == until {
                let next = (now + LOOK).min(until);
                look = (next, clock.sleep_until(next));
            }
        } else if look.0 <= now && look.0 < until {
            // It is no longer the first in the queue: the request that is looks now.
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

/// Since when a request is held though a backend that may serve it has nothing in flight. This should not happen.
#[derive(Default)]
struct IdleSince(Option<Instant>);

impl IdleSince {
    /// The first one that waits has looked and found no room.
    fn looks(&mut self, job: &Job, tried: &[usize], now: Instant) {
        if let Some(since) = self.0.take() {
            job.lane.metrics.held_while_idle(now - since);
        }
        let idle = job.lane.pool.has_idle(&shape(job, now), tried);
        self.0 = idle.then_some(now);
    }
}

/// What the queue is to know of a request, and the tokens that its answer is expected to have.
fn entry(job: &Job, now: Instant, again: bool) -> (Entry, u32) {
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
        latest: latest_start(job, now),
        again: again || job.goes_on,
    };
    (entry, output)
}

/// The last moment at which a request can be sent to a backend and be in time: measured times say how long its answer takes,
/// and where they say nothing yet, the deadline alone counts.
pub(crate) fn latest_start(job: &Job, now: Instant) -> Instant {
    match callers_limit(&job.request.envelope) {
        Instant::NEVER => Instant::NEVER,
        limit => limit - job.lane.pool.expected_answer(&shape(job, now)).unwrap_or_default().mul_f32(SPARE),
    }
}

/// Whether a request that is sent now is too late: even the fastest tenth of such answers took longer.
pub(crate) fn cannot_be_in_time(job: &Job, now: Instant) -> bool {
    let limit = callers_limit(&job.request.envelope);
    limit != Instant::NEVER
        && job.lane.pool.least_answer(&shape(job, now)).is_some_and(|least| now + least >= limit)
}

/// The refusal of a request that cannot start within its wait limit or before its deadline.
pub(crate) fn in_vain(job: &Job, retry_after: Duration) -> ServeError {
    job.lane.metrics.in_vain.increment(1);
    let retry_after = retry_after.max(Duration::from_secs(1));
    let (now, config) = (job.core.clock.now(), &job.held.snapshot.config);
    if latest_start(job, now) <= now + config.max_wait {
        return ServeError::NotInTime { retry_after };
    }
    ServeError::Overloaded { retry_after }
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
