//! What a request costs at a backend, in seconds. Hot path: no allocation, no lock, no await.
//!
//! Every signal becomes seconds, so that signals add up: those that its caller waits, those that it takes from others, and
//! money at one exchange rate. `docs/routing.md` explains each part.

use plimsoll_types::Prices;

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
    /// What writing slows down those who write there already.
    pub crowding: f32,
    /// The risk that memory does not suffice.
    pub memory: f32,
    /// What it costs, at the exchange rate.
    pub money: f32,
    /// How many times all of that counts, for a backend that is less wanted.
    pub times: f32,
}

/// How much a second of the answer counts beside a second of waiting for its first token: readers read slower than that.
const DECODE_WEIGHT: f32 = 0.1;
/// How much of what others lose counts.
const CROWDING_WEIGHT: f32 = 0.1;
/// Seconds at stake when memory runs out: a sequence computed again.
const MEMORY_SECONDS: f32 = 0.15;
/// Share of memory beyond which nobody is sent there who has a choice.
const MEMORY_FULL: f32 = 0.97;
/// What it costs to be sent there nevertheless.
const MEMORY_FULL_SECONDS: f32 = 60.0;

/// What a pick knows of a pool beside its members.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// How many times as long as predicted the pool's backends take; for those of which nothing was measured.
    pub pace: f32,
    /// How much a second of prefill costs others: from nothing in an idle pool to several seconds in a full one.
    pub externality: f32,
    /// Seconds that reading a prompt takes in the mean: what a request of others that waits is taken to be.
    pub prompt_seconds: f32,
    /// Seconds that a dollar is worth.
    pub seconds_per_dollar: f32,
}

impl Conditions {
    /// Nothing is known and nothing is busy.
    pub const UNKNOWN: Self =
        Self { pace: 1.0, externality: 0.0, prompt_seconds: 0.0, seconds_per_dollar: 0.0 };

    /// The conditions of a pool with this pace, whose backends read prompts for `utilisation` of their time, each for
    /// `prompt_seconds` in the mean.
    #[must_use]
    pub fn new((pace, utilisation, prompt_seconds): (f32, f32, f32), config: &Config) -> Self {
        // Extra work at utilisation rho delays others by about rho / (1 - rho) of itself; the figures are a fit to replays
        // of public traces, where it takes up to 40 % off the mean time to first token near saturation.
        let busy = utilisation.clamp(0.0, 0.95);
        let externality = (3.0 * (busy - 0.4).max(0.0) / (1.0 - busy)).min(8.0);
        Self { pace, externality, prompt_seconds, seconds_per_dollar: config.seconds_per_dollar as f32 }
    }
}

impl Cost {
    /// What `request` would cost at `backend`, which has the first `cached` tokens of its prompt.
    #[must_use]
    pub fn of(backend: &Backend, request: &RequestShape<'_>, cached: u32, conditions: &Conditions) -> Self {
        let (load, speed) = (&backend.load, &backend.speed);
        let pace = backend.pace.read(request.now, conditions.pace);
        let uncached = request.prompt_tokens.saturating_sub(cached).max(1);
        let prefill = speed.prefill(uncached, cached) * pace;
        let others = &backend.others;
        let decoding = load.decoding() + others.running(request.now) as u32;
        let waiting = others.waiting_seconds(request.now, conditions.prompt_seconds * pace);
        let context = load.context();
        let step = speed.decode(decoding, context) * f32::from(u8::from(decoding > 0));
        let length = request.prompt_tokens + request.expected_output / 2;
        let output = request.expected_output as f32;
        let token = speed.decode(decoding + 1, context + u64::from(length));
        Self {
            network: backend.round_trip(),
            queue: load.queued_seconds() * pace + waiting + step * 0.5,
            prefill,
            decode: output * token * DECODE_WEIGHT,
            recompute: prefill * conditions.externality,
            // Half of what they write is still to come, in the mean.
            crowding: decoding as f32 * output * 0.5 * speed.share(length) * CROWDING_WEIGHT,
            memory: memory(backend, request, context),
            money: conditions.seconds_per_dollar
                * dollars(&backend.spec.prices, request, prefill + output * token / (decoding + 1) as f32),
            times: backend.weight().recip(),
        }
    }

    /// Seconds until the first token.
    #[must_use]
    pub fn ttft(&self) -> f32 {
        self.network + self.queue + self.prefill
    }

    /// All of it.
    #[must_use]
    pub fn total(&self) -> f32 {
        (self.ttft() + self.decode + self.recompute + self.crowding + self.memory + self.money) * self.times
    }
}

/// What a request costs beside what is paid anyway, if it takes so many seconds of GPU.
fn dollars(prices: &Prices, request: &RequestShape<'_>, seconds: f32) -> f32 {
    let tokens = prices.tokens(request.prompt_tokens, request.expected_output);
    prices.marginal_second() as f32 * seconds + tokens as f32
}

/// A barrier that is nothing as long as there is room, and steep near the end of it.
fn memory(backend: &Backend, request: &RequestShape<'_>, context: u64) -> f32 {
    let Some(room) = backend.spec.kv_tokens else { return 0.0 };
    let needed = context + u64::from(request.prompt_tokens + request.expected_output);
    let share = (needed as f32 / room.max(1) as f32).max(backend.others.kv_used(request.now));
    if share > MEMORY_FULL { MEMORY_FULL_SECONDS * share } else { MEMORY_SECONDS * share / (1.0 - share) }
}
