//! What a request costs at a backend, in seconds. Hot path: no allocation, no lock, no await.
//!
//! Every signal becomes seconds, so that signals add up: those that its caller waits, those that it takes from others, and
//! money at one exchange rate. `docs/routing.md` explains each part.

use plimsoll_types::Prices;

use crate::sync::{AtomicU32, Ordering::Relaxed};
use crate::{Backend, Config, RequestShape};

/// The parts of what a request would cost at one backend, each in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// The network there and back.
    pub network: f32,
    /// What is queued there before it, and the rest of the step under way.
    pub queue: f32,
    /// Reading what of the prompt is not cached.
    pub prefill: f32,
    /// Writing the answer, as far as it counts.
    pub decode: f32,
    /// What reading keeps others from, where the pool is busy.
    pub recompute: f32,
    /// What it throws out of a full cache, as far as somebody would have asked for it.
    pub eviction: f32,
    /// What writing slows down those who write there already.
    pub crowding: f32,
    /// The risk that memory does not suffice.
    pub memory: f32,
    /// What it costs, at the exchange rate.
    pub money: f32,
    /// How many times all of that counts, for a backend that is less wanted or has just come.
    pub times: f32,
    /// What comes before all of that.
    pub tier: Tier,
}

/// Whom to prefer whatever it costs: nobody goes to a later one who has a choice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Answers as fast as is promised, where something is.
    #[default]
    Feasible,
    /// Has room, and answers later than promised.
    Slow,
    /// Its memory is as good as full.
    Full,
}

impl Tier {
    /// Its name, for operators.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Feasible => "feasible",
            Self::Slow => "slow",
            Self::Full => "full",
        }
    }
}

/// What is promised to callers, in seconds; infinite where nothing is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slo {
    /// Until the first token.
    pub ttft: f32,
    /// Between two tokens.
    pub itl: f32,
}

impl Slo {
    /// Nothing is promised.
    pub const NONE: Self = Self { ttft: f32::INFINITY, itl: f32::INFINITY };
}

/// How much a second of the answer counts beside a second of waiting for its first token: readers read slower than that.
const DECODE_WEIGHT: f32 = 0.1;
/// How much of what others lose counts.
const CROWDING_WEIGHT: f32 = 0.1;
/// What is read is asked for again `hit / (1 - hit)` times in the mean. What is thrown out is the least asked for of all,
/// so a part of that counts: in replays where caches are too small, anything from a tenth to a half does well.
const EVICTION_WEIGHT: f32 = 0.25;
/// The share of prompts that is cached is never taken to be more.
const MOST_HIT: f32 = 0.9;
/// Seconds at stake when memory runs out: a sequence computed again.
const MEMORY_SECONDS: f32 = 0.15;
/// Share of memory beyond which nobody is sent there who has a choice.
const MEMORY_FULL: f32 = 0.97;
/// The share is not taken to be more: the barrier is at its top there.
const MEMORY_TOP: f32 = 0.99;
/// How many times as slow as others a backend must write for that to count.
const LAME: f32 = 2.0;

/// What a pick knows of a pool beside its members.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// How many times as long as predicted the pool's backends take; for those of which nothing was measured.
    pub pace: f32,
    /// The same of prompts for which nothing is written.
    pub pooled: f32,
    /// The same of tokens after the first.
    pub writing: f32,
    /// How much a second of prefill costs others: from nothing in an idle pool to several seconds in a full one.
    pub externality: f32,
    /// Seconds that reading a prompt takes in the mean: what a request of others that waits is taken to be.
    pub prompt_seconds: f32,
    /// How much a second of prefill costs those whose prompts it throws out of a full cache.
    pub eviction: f32,
    /// Seconds that a dollar is worth.
    pub seconds_per_dollar: f32,
    /// What is promised to callers.
    pub slo: Slo,
}

impl Conditions {
    /// Nothing is known and nothing is busy.
    pub const UNKNOWN: Self = Self {
        pace: 1.0,
        pooled: 1.0,
        writing: 1.0,
        externality: 0.0,
        prompt_seconds: 0.0,
        eviction: 0.0,
        seconds_per_dollar: 0.0,
        slo: Slo::NONE,
    };

    /// The conditions of a pool with this pace, whose backends read prompts for `utilisation` of their time, each for
    /// `prompt_seconds` in the mean, and have `hit` of prompts cached.
    #[must_use]
    pub fn new((pace, utilisation, prompt_seconds, hit): (f32, f32, f32, f32), config: &Config) -> Self {
        // Extra work at utilisation rho delays others by about rho / (1 - rho) of itself; the figures are a fit to replays
        // of public traces, where it takes up to 40 % off the mean time to first token near saturation.
        let busy = utilisation.clamp(0.0, 0.95);
        let externality = (3.0 * (busy - 0.4).max(0.0) / (1.0 - busy)).min(8.0);
        let hit = hit.clamp(0.0, MOST_HIT);
        Self {
            pace,
            pooled: 1.0,
            writing: 1.0,
            externality,
            prompt_seconds,
            eviction: EVICTION_WEIGHT * hit / (1.0 - hit),
            seconds_per_dollar: config.seconds_per_dollar as f32,
            slo: config.slo(),
        }
    }
}

impl Cost {
    /// What `request` would cost at `backend`, which has the first `cached` tokens of its prompt.
    #[inline(always)]
    #[must_use]
    pub fn of(backend: &Backend, request: &RequestShape<'_>, cached: u32, conditions: &Conditions) -> Self {
        let (load, speed) = (&backend.load, &backend.speed);
        let pace = backend.pace.read(request.now, conditions.pace);
        let uncached = request.prompt_tokens.saturating_sub(cached).max(1);
        let own_pace = if request.answer.is_pooled() {
            backend.pooled.read(request.now, conditions.pooled)
        } else {
            pace
        };
        let reading = speed.prefill(uncached, cached) * own_pace;
        let decoding = load.decoding() as f32 + backend.others.running(request.now);
        let waiting = backend.others_seconds(request.now, (pace, conditions.prompt_seconds));
        let context = load.context() as i64 as f32;
        let step = if decoding >= 1.0 { speed.decode(decoding, context) } else { 0.0 };
        let output = request.expected_output as f32;
        let length = request.prompt_tokens as f32 + output * 0.5;
        let writing = lameness(backend.writing.read(request.now, conditions.writing), conditions.writing);
        let token = speed.decode(decoding + 1.0, context + length) * writing;
        let memory = memory_used(backend, request, context);
        let mut cost = Self {
            network: backend.round_trip(),
            queue: load.queued_seconds(request.now) * pace / backend.capacity.prompts()
                + waiting
                + step * 0.5,
            prefill: (reading + backend.latency(request.answer).read()).max(0.0),
            decode: output * token * DECODE_WEIGHT,
            recompute: reading * conditions.externality,
            eviction: if conditions.eviction > 0.0 && backend.evicts() {
                reading * conditions.eviction
            } else {
                0.0
            },
            // Half of what they write is still to come, in the mean.
            crowding: decoding * output * 0.5 * speed.share(length) * writing * CROWDING_WEIGHT,
            memory: barrier(memory),
            money: 0.0,
            times: backend.times(request.now),
            tier: Tier::Feasible,
        };
        let marginal = backend.marginal.read();
        if conditions.seconds_per_dollar > 0.0 && !marginal.is_nothing() {
            let seconds = reading + output * token / (decoding + 1.0);
            cost.money = conditions.seconds_per_dollar * marginal.dollars(request, seconds);
        }
        if memory > MEMORY_FULL {
            cost.tier = Tier::Full;
        } else if cost.ttft() > conditions.slo.ttft || token > conditions.slo.itl {
            cost.tier = Tier::Slow;
        }
        cost
    }

    /// Seconds until the first token.
    #[must_use]
    pub fn ttft(&self) -> f32 {
        self.network + self.queue + self.prefill
    }

    /// All of it.
    #[inline(always)]
    #[must_use]
    pub fn total(&self) -> f32 {
        // In pairs, since a sum waits for the one before it.
        let caller = (self.ttft() + self.decode) + (self.memory + self.money);
        (caller + (self.recompute + (self.eviction + self.crowding))) * self.times
    }
}

/// How many times as long a backend writes as others do that were predicted to write as fast: a gray failure, which answers
/// everything and is no use to anybody. Less than [`LAME`] is the table's error and no reason to leave it idle.
fn lameness(pace: f32, of_others: f32) -> f32 {
    if pace > LAME * of_others { pace / of_others } else { 1.0 }
}

/// What using a backend costs beside what is paid anyway: read by every pick, written when a commitment is used up.
#[derive(Debug)]
pub(crate) struct Marginals {
    /// Bits of the `f32` of a [`Marginal`].
    second: AtomicU32,
    token: (AtomicU32, AtomicU32),
}

impl Marginals {
    pub(crate) fn of(prices: &Prices) -> Self {
        let Marginal { second, token } = Marginal::of(prices);
        let cell = |dollars: f32| AtomicU32::new(dollars.to_bits());
        Self { second: cell(second), token: (cell(token.0), cell(token.1)) }
    }

    /// From now on it costs this.
    pub(crate) fn set(&self, prices: &Prices) {
        let Marginal { second, token } = Marginal::of(prices);
        self.second.store(second.to_bits(), Relaxed);
        self.token.0.store(token.0.to_bits(), Relaxed);
        self.token.1.store(token.1.to_bits(), Relaxed);
    }

    #[inline]
    fn read(&self) -> Marginal {
        let dollars = |cell: &AtomicU32| f32::from_bits(cell.load(Relaxed));
        Marginal { second: dollars(&self.second), token: (dollars(&self.token.0), dollars(&self.token.1)) }
    }
}

/// The same at one instant, in dollars.
#[derive(Debug, Clone, Copy)]
struct Marginal {
    /// A second of all its GPUs.
    second: f32,
    /// A token of a prompt, and one of an answer.
    token: (f32, f32),
}

impl Marginal {
    fn of(prices: &Prices) -> Self {
        let token = (prices.tokens(1, 0) as f32, prices.tokens(0, 1) as f32);
        Self { second: prices.marginal_second() as f32, token }
    }

    fn is_nothing(self) -> bool {
        self.second + self.token.0 + self.token.1 == 0.0
    }

    /// A request that takes so many seconds of GPU.
    fn dollars(self, request: &RequestShape<'_>, seconds: f32) -> f32 {
        let (prompt, answer) = (request.prompt_tokens as f32, request.expected_output as f32);
        self.second * seconds + self.token.0 * prompt + self.token.1 * answer
    }
}

/// The share of memory that is in use with `request`, where it is known how much there is.
fn memory_used(backend: &Backend, request: &RequestShape<'_>, context: f32) -> f32 {
    let Some(room) = backend.kv_tokens else { return 0.0 };
    let needed = context + (request.prompt_tokens + request.expected_output) as f32;
    (needed / room.max(1) as f32).max(backend.others.kv_used(request.now))
}

/// Nothing as long as there is room, and steep near the end of it.
fn barrier(used: f32) -> f32 {
    // Of several that are full the least full one is still the best.
    let beyond = (used - MEMORY_TOP).max(0.0);
    let used = used.min(MEMORY_TOP);
    MEMORY_SECONDS * used / (1.0 - used) * (1.0 + beyond)
}
