use std::sync::Arc;
use std::time::Duration;

use plimsoll_types::{Instant, Usage};

use crate::load::Share;
use crate::{Backend, Conditions, Config, Cost, Explanation, Pool, RequestShape, Writing, domain};

/// What an attempt says about the backend that it was made at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It answered as it should.
    Ok,
    /// It refused the request, and was right to: nothing against it.
    Refused,
    /// It could not be reached.
    Unreachable,
    /// It failed.
    Failed,
    /// It was silent for too long.
    Timeout,
    /// It asks to be left alone for this long; nothing against it.
    Pushback(Duration),
}

/// What is thought to be cached of a prompt where it goes, in tokens.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Found {
    /// What is expected, in the mean.
    pub(crate) expected: u32,
    /// What is known to be there, if the prompt is at home there and more is expected than that.
    pub(crate) known_at_home: Option<u32>,
}

/// A request at a backend. Counted in when it is made; dropping it gives back all it counted.
pub struct Dispatched {
    /// Where the request is.
    pub backend: Arc<Backend>,
    pool: Arc<Pool>,
    /// The domains that count it.
    counted: u8,
    prompt_tokens: u32,
    share: Share,
    /// Seconds of reading that were in the way when it left, its own included, as they were predicted.
    in_the_way: f32,
    /// The share of the prompt that was known to be cached, if it went home.
    known_at_home: Option<f32>,
    at: Instant,
    /// What was expected, in seconds.
    pub expected_ttft: f32,
    /// Why it is there, where somebody asked.
    pub explanation: Option<Box<Explanation>>,
    started: bool,
    probe: bool,
    judged: bool,
    /// Whether another request has said, or says, of the backend what this one could.
    accounted_for: bool,
}

impl Dispatched {
    pub(crate) fn new(
        backend: &Arc<Backend>,
        pool: &Arc<Pool>,
        request: &RequestShape<'_>,
        (conditions, found): (&Conditions, Found),
        probe: bool,
    ) -> Self {
        let cached = found.expected;
        let expected_ttft = Cost::of(backend, request, cached, conditions).ttft();
        let share = backend.share(request, cached);
        if let Some(cache) = &backend.cache {
            let blocks = request.blocks.hashes();
            cache.insert(blocks, request.now);
            if !blocks.is_empty() {
                pool.journal.sent(backend.slot, blocks, request.now);
            }
            pool.prefix_tokens.increment(u64::from(cached));
        }
        backend.begins(request.now);
        let pace = backend.pace.read(request.now, conditions.pace);
        let others = backend.others_seconds(request.now, (pace, conditions.prompt_seconds)) / pace;
        let queued = backend.load.queued_seconds(request.now);
        if request.plain {
            backend.load.enter_plain(share, request.now);
        } else {
            backend.load.enter(share);
        }
        pool.works(request.now, (backend, share));
        let of_prompt = |tokens: u32| tokens as f32 / request.prompt_tokens.max(1) as f32;
        pool.learned.hits(request.now, of_prompt(cached));
        Self {
            backend: Arc::clone(backend),
            counted: domain::enter(&backend.domains),
            pool: Arc::clone(pool),
            prompt_tokens: request.prompt_tokens,
            share,
            in_the_way: queued + share.nanos as f32 * 1e-9 + others,
            known_at_home: found.known_at_home.map(of_prompt),
            at: request.now,
            expected_ttft,
            explanation: None,
            started: request.plain,
            probe,
            judged: false,
            accounted_for: false,
        }
    }

    /// The name by which the backend knows the model, where that is another than callers use.
    #[must_use]
    pub fn alias(&self) -> Option<&str> {
        self.backend.spec.models.iter().find(|model| model.name == self.pool.model)?.alias.as_deref()
    }

    /// The first token came: its prompt is no longer queued, and the pace is known better.
    pub fn first_token(&mut self, now: Instant) {
        if !self.started {
            let ttft = (now - self.at).as_secs_f32();
            self.backend.load.wrote(now);
            self.backend.answered(now, ttft);
            self.pool.prediction.record(f64::from(ttft / self.expected_ttft.max(1e-3)));
            let elapsed = ttft - self.backend.round_trip();
            let took = (self.in_the_way, elapsed);
            self.pool.pace.measured(now, 1.0, took);
            self.backend.pace.measured(now, self.pool.pace.read(now, 1.0), took);
            self.backend.gray.answered(took);
        }
        self.start();
    }

    /// A piece of a stream with a token came.
    pub fn token(&self, now: Instant) {
        self.backend.load.wrote(now);
    }

    /// The prompt is done, but when it was is not known: a plain answer came.
    pub fn start(&mut self) {
        if !std::mem::replace(&mut self.started, true) {
            self.backend.load.started(self.share);
        }
    }

    /// The answer ended, and the backend said what it took: what to expect of others of this pool is known better, and how
    /// fast tokens are written.
    pub fn used(&self, now: Instant, usage: Usage, writing: Writing) {
        let predicted = self.backend.predicted_token(now);
        if let Some(took) = writing.took(predicted) {
            self.pool.writing.measured_of_many(now, took);
            self.backend.writing.measured(now, self.pool.writing.read(now, 1.0), took);
            self.backend.gray.wrote(took);
        }
        // What it says is what is paid for.
        let prompt = if usage.prompt > 0 { usage.prompt } else { self.prompt_tokens };
        self.backend.spent(prompt, self.share, usage.completion);
        self.pool.learned.wrote(now, usage.completion);
        if let Some(known) = self.known_at_home
            && usage.prompt > 0
        {
            let cached = usage.cached as f32 / usage.prompt as f32;
            let found = (cached - known) / (1.0 - known).max(0.01);
            self.pool.learned.finds_at_home(now, found.clamp(0.0, 1.0));
        }
    }

    /// It was a part of a call that others shared, one of whom tells how that went: the backend did well or failed once,
    /// however many they are.
    pub fn is_accounted_for(&mut self) {
        self.accounted_for = true;
    }

    /// Says how the attempt went. Only the first verdict counts.
    pub fn judge(&mut self, verdict: Verdict, now: Instant, config: &Config) {
        if std::mem::replace(&mut self.judged, true) {
            return;
        }
        let (backend, metrics) = (&self.backend, &self.backend.metrics);
        let counter = match verdict {
            Verdict::Ok => &metrics.ok,
            Verdict::Refused => &metrics.refused,
            Verdict::Unreachable => &metrics.unreachable,
            Verdict::Failed => &metrics.failed,
            Verdict::Timeout => &metrics.timeout,
            Verdict::Pushback(_) => &metrics.pushback,
        };
        counter.increment(1);
        if self.accounted_for {
            return;
        }
        match verdict {
            Verdict::Ok | Verdict::Refused => {
                if backend.outlier.succeeded(now, config) {
                    backend.is_back(now);
                }
            }
            Verdict::Pushback(wait) => backend.push_back(now, wait),
            Verdict::Unreachable | Verdict::Failed | Verdict::Timeout => {
                backend.outlier.unreached(verdict == Verdict::Unreachable);
                if backend.outlier.failed(now, config) {
                    metrics.ejections.increment(1);
                    self.pool.spread(backend, (now, config));
                }
            }
        }
    }
}

impl Drop for Dispatched {
    fn drop(&mut self) {
        self.start();
        self.backend.load.leave(self.share);
        domain::leave(&self.backend.domains, self.counted);
        if self.probe {
            self.backend.outlier.leave_probe();
        }
        if !self.judged {
            self.backend.metrics.cancelled.increment(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::tests::{members, shape};

    fn dispatch(pool: &Arc<Pool>) -> Dispatched {
        Dispatched::new(
            &pool.members[0],
            pool,
            &shape(1_000),
            (&Conditions::UNKNOWN, Found::default()),
            false,
        )
    }

    #[test]
    fn a_request_that_goes_away_gives_everything_back() {
        let pool = Arc::new(Pool::new("m", "round_robin", members(1)));
        let load = &pool.members[0].load;
        let mut first = dispatch(&pool);
        let second = dispatch(&pool);
        assert_eq!((load.in_flight(), load.queued_tokens()), (2, 2_000));
        first.first_token(Instant::from_nanos(50_000_000));
        assert_eq!((load.in_flight(), load.queued_tokens()), (2, 1_000));
        drop((first, second));
        assert_eq!((load.in_flight(), load.queued_tokens()), (0, 0));
    }

    #[test]
    fn a_measured_pace_makes_the_next_expectation() {
        let pool = Arc::new(Pool::new("m", "round_robin", members(1)));
        for _ in 0..20 {
            dispatch(&pool).first_token(Instant::from_nanos(500_000_000));
        }
        let next = dispatch(&pool);
        assert!((0.45..0.55).contains(&next.expected_ttft), "{}", next.expected_ttft);
    }
}
