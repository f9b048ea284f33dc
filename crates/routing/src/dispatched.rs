use std::sync::Arc;
use std::time::Duration;

use plimsoll_types::{Instant, Usage};

use crate::candidates::Answer;
use crate::capacity::Sample;
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

/// What was predicted of reading a prompt when it left, in seconds.
#[derive(Debug, Clone, Copy)]
struct Reading {
    /// What was ahead of it, as if prompts were read one after the other.
    ahead: f32,
    /// How many are read at a time.
    prompts: f32,
    /// Its own prompt.
    own: f32,
    /// Requests whose prompts were unread there.
    unread: u32,
}

impl Reading {
    /// All that was in the way.
    fn in_the_way(&self) -> f32 {
        self.own + self.ahead / self.prompts
    }

    /// Whether what was in the way is prompts for the most part, where its own adds so many seconds, and not what a step takes
    /// whatever it holds.
    fn is_of_prompts(&self, work: f32) -> bool {
        work + self.ahead / self.prompts >= self.own - work
    }
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
    answer: Answer,
    reading: Reading,
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
        if let Some(cache) = &backend.cache {
            let blocks = request.blocks.hashes();
            cache.insert(blocks, request.now);
            if !blocks.is_empty() {
                pool.journal.sent(backend.slot, blocks, request.now);
            }
            pool.prefix_tokens.increment(u64::from(cached));
        }
        let (reading, share) = Self::count_in(backend, request, (cached, conditions));
        pool.works(request.now, (backend, share));
        let of_prompt = |tokens: u32| tokens as f32 / request.prompt_tokens.max(1) as f32;
        pool.learned.hits(request.now, of_prompt(cached));
        Self {
            backend: Arc::clone(backend),
            counted: domain::enter(&backend.domains),
            pool: Arc::clone(pool),
            prompt_tokens: request.prompt_tokens,
            share,
            answer: request.answer,
            reading,
            known_at_home: found.known_at_home.map(of_prompt),
            at: request.now,
            expected_ttft,
            explanation: None,
            started: false,
            probe,
            judged: false,
            accounted_for: false,
        }
    }

    /// Counts a request in at `backend`, which has so many tokens of it, and notes what was there before it.
    fn count_in(
        backend: &Backend,
        request: &RequestShape<'_>,
        (cached, conditions): (u32, &Conditions),
    ) -> (Reading, Share) {
        let mut share = backend.share(request, cached);
        let pace = backend.pace.read(request.now, conditions.pace);
        let others = backend.others_seconds(request.now, (pace, conditions.prompt_seconds)) / pace;
        let mut reading = Reading {
            ahead: backend.load.queued_seconds(request.now) + others,
            prompts: backend.capacity.prompts(),
            own: share.nanos as f32 * 1e-9,
            unread: backend.load.unread(),
        };
        if request.answer.is_pooled() {
            reading.own = backend.speed.prefill(share.tokens as u32, cached);
            // What is queued counts at the pace of prompts that are written for; this one has a pace of its own.
            let times = backend.pooled.read(request.now, conditions.pooled) / pace;
            share.nanos = (share.nanos as f32 * times) as u64;
            reading.ahead /= times;
        }
        match request.answer {
            Answer::Whole => backend.load.enter_whole(share, request.now),
            Answer::Stream | Answer::Pooled => backend.load.enter(share),
        }
        (reading, share)
    }

    /// The name by which the backend knows the model, where that is another than callers use.
    #[must_use]
    pub fn alias(&self) -> Option<&str> {
        self.backend.spec.models.iter().find(|model| model.name == self.pool.model)?.alias.as_deref()
    }

    /// The first token came, or a whole answer: its prompt is no longer queued, and the backend is known better.
    pub fn first_token(&mut self, now: Instant) {
        if !self.started {
            self.backend.load.wrote(now);
            self.learn(now);
        }
        self.start();
    }

    /// Takes in how long it took.
    fn learn(&self, now: Instant) {
        let (backend, pool, reading) = (&*self.backend, &*self.pool, &self.reading);
        let took = (now - self.at).as_secs_f32();
        let output = (self.share.context - self.share.tokens) as u32;
        let predicted = pool.predicted_answer(self.answer, (self.prompt_tokens, output));
        pool.answered(now, self.answer, (predicted, took));
        let elapsed = took - backend.round_trip();
        let latency = backend.latency(self.answer);
        // What was learned from short prompts is no more than half of what this one took.
        let beside = latency.read().clamp(-reading.own, (elapsed * 0.5).max(0.0));
        let sample = Sample {
            sent: self.at,
            ahead: reading.ahead,
            own: reading.own,
            elapsed: elapsed - beside,
            unread: reading.unread,
        };
        backend.shows(now, sample, self.answer);
        let (own_pace, of_pool) = (backend.reading_pace(self.answer), pool.reading_pace(self.answer));
        let usual = of_pool.read(now, 1.0);
        let predicted = own_pace.read(now, usual) * reading.in_the_way();
        if self.answer == Answer::Whole {
            // When its prompt was read is not observed. Only an upper bound can be learned: when its answer came.
            if elapsed >= predicted + latency.read() {
                return;
            }
        } else {
            backend.answered(now, took);
            pool.prediction.record(f64::from(took / self.expected_ttft.max(1e-3)));
            let expected = usual * reading.in_the_way() + pool.latency(self.answer).read();
            backend.gray.answered((expected.max(1e-3), elapsed));
        }
        // Where the configuration says how long steps take, it says so of steps with short prompts too.
        let is_told = backend.spec.step_time.is_some() && !self.answer.is_pooled();
        let uncached = self.share.tokens as u32;
        let work = backend.speed.work(uncached, self.prompt_tokens.saturating_sub(uncached));
        if is_told || reading.is_of_prompts(work) {
            let took = (reading.in_the_way(), elapsed - beside);
            of_pool.measured(now, 1.0, took);
            own_pace.measured(now, of_pool.read(now, 1.0), took);
        } else {
            latency.measured(elapsed - predicted);
            pool.latency(self.answer).measured(elapsed - usual * reading.in_the_way());
        }
    }

    /// A piece of a stream with a token came.
    pub fn token(&self, now: Instant) {
        self.backend.load.wrote(now);
    }

    /// The prompt is done, but when it was is not known.
    pub fn start(&mut self) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        match self.answer {
            Answer::Whole => self.backend.load.whole_started(self.share),
            Answer::Stream | Answer::Pooled => self.backend.load.started(self.share),
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
                if verdict == Verdict::Ok {
                    backend.takes_requests(self.at);
                }
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

    proptest::proptest! {
        /// Quick plain requests once summed up to minutes of reading that no request in flight stood for.
        #[test]
        fn what_is_counted_is_in_flight_whatever_comes_and_ends_in_whatever_order(
            steps in proptest::collection::vec((0..6_u8, 0..40_usize, 1..20_000_u32, 0..400_u64), 1..200),
        ) {
            let pool = Arc::new(Pool::new("m", "round_robin", members(1)));
            let (backend, load) = (&pool.members[0], &pool.members[0].load);
            let (mut flying, mut now): (Vec<Dispatched>, _) = (Vec::new(), Instant::from_nanos(1));
            for (step, which, prompt_tokens, millis) in steps {
                now += std::time::Duration::from_millis(millis);
                let answer = [Answer::Stream, Answer::Whole, Answer::Pooled][usize::from(step % 3)];
                match step {
                    0..3 => {
                        let request = RequestShape { answer, now, ..shape(prompt_tokens) };
                        let conditions = pool.conditions(now, &Config::default());
                        flying.push(Dispatched::new(backend, &pool, &request, (&conditions, Found::default()), false));
                    }
                    _ if flying.is_empty() => {}
                    3 => { let which = which % flying.len(); flying[which].first_token(now) }
                    4 => { let which = which % flying.len(); flying[which].start() }
                    _ => drop(flying.swap_remove(which % flying.len())),
                }
                let unread = flying.iter().filter(|sent| !sent.started).map(|sent| sent.share.nanos).sum::<u64>();
                let queued = load.queued_seconds(now);
                proptest::prop_assert!(queued >= 0.0 && queued <= unread as f32 * 1.001e-9 + 1e-6, "{} {}", queued, unread);
                proptest::prop_assert_eq!(load.in_flight() as usize, flying.len());
            }
            flying.clear();
            proptest::prop_assert_eq!((load.in_flight(), load.unread(), load.queued_tokens(), load.context()), (0, 0, 0, 0));
            proptest::prop_assert_eq!(load.queued_seconds(now), 0.0);
        }
    }

    #[test]
    fn quick_plain_answers_teach_and_slow_ones_only_bound() {
        let pool = Arc::new(Pool::new("m", "round_robin", members(1)));
        let whole = |millis: u64| {
            let request = RequestShape { answer: Answer::Whole, ..shape(4_000) };
            let found = (&Conditions::UNKNOWN, Found::default());
            Dispatched::new(&pool.members[0], &pool, &request, found, false)
                .first_token(Instant::from_nanos(millis * 1_000_000));
        };
        (0..30).for_each(|_| whole(4_000));
        assert!(!pool.members[0].pace.is_known(), "most of that may have been writing");
        (0..30).for_each(|_| whole(11));
        assert!(pool.members[0].pace.read(Instant::ORIGIN, 1.0) < 0.2);
    }

    #[test]
    fn embeddings_have_a_pace_of_their_own_and_short_prompts_a_latency() {
        let pool = Arc::new(Pool::new("m", "round_robin", members(1)));
        let sent = |answer, tokens: u32, millis: u64| {
            let request = RequestShape { answer, ..shape(tokens) };
            let found = (&Conditions::UNKNOWN, Found::default());
            let mut sent = Dispatched::new(&pool.members[0], &pool, &request, found, false);
            let expected = sent.expected_ttft;
            sent.first_token(Instant::from_nanos(millis * 1_000_000));
            expected
        };
        (0..60).for_each(|_| assert!(sent(Answer::Pooled, 8_000, 20) > 0.0));
        (0..60).for_each(|_| assert!(sent(Answer::Pooled, 8, 1) >= 0.0));
        assert!((0.0005..0.003).contains(&sent(Answer::Pooled, 8, 1)), "six milliseconds are no floor");
        let chat = sent(Answer::Stream, 8_000, 220);
        assert!((0.2..0.3).contains(&chat), "chats are not expected as soon as embeddings: {chat}");
        (0..60).for_each(|_| assert!(sent(Answer::Stream, 30, 200) > 0.0));
        let (short, long) = (sent(Answer::Stream, 30, 200), sent(Answer::Stream, 8_000, 420));
        assert!((0.17..0.25).contains(&short) && long < 0.6, "{short} {long}");
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
