//! How fast something works, learned from what was measured.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use plimsoll_types::Instant;

/// Prompt tokens that stand for what every request costs besides its prompt: network, ingest, the first decode step.
pub(crate) const FIXED_TOKENS: u32 = 256;
/// Half of a sample's weight is gone after about this many seconds.
const MEMORY_SECONDS: f32 = 10.0;
/// Seconds per token before anything was measured: an H200 at 20,000 prompt tokens a second.
pub(crate) const UNKNOWN: f32 = 50e-6;

/// Seconds of time to first token for each prompt token that was in the way, as an exponentially weighted mean.
///
/// A reading drifts back to a given prior as it ages, so that one bad sample does not keep traffic, and with it
/// better samples, away for good. Value and time share one atomic: a reader never sees half of an update.
#[derive(Debug, Default)]
pub struct Pace(AtomicU64);

impl Pace {
    /// Seconds per token at `now`, or `prior` as far as what was measured is old.
    #[must_use]
    pub fn read(&self, now: Instant, prior: f32) -> f32 {
        let (value, at) = unpack(self.0.load(Relaxed));
        if value == 0.0 {
            return prior;
        }
        let kept = kept(seconds(now) - at);
        prior + (value - prior) * kept
    }

    /// Takes in that `tokens` in the way took `elapsed` seconds.
    pub fn measured(&self, now: Instant, tokens: u64, elapsed: f32) {
        let sample = elapsed / (tokens.max(1) as f32);
        let mut seen = self.0.load(Relaxed);
        loop {
            let (value, at) = unpack(seen);
            let next = if value == 0.0 {
                sample
            } else {
                // A sample weighs a tenth, and more the older the last one is.
                let weight = (1.0 - kept(seconds(now) - at)).max(0.1);
                value + (sample - value) * weight
            };
            let packed = pack(next.max(f32::MIN_POSITIVE), seconds(now));
            match self.0.compare_exchange_weak(seen, packed, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(now_seen) => seen = now_seen,
            }
        }
    }

    /// Whether anything was measured yet.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.0.load(Relaxed) != 0
    }
}

fn kept(age: f32) -> f32 {
    (-age.max(0.0) / MEMORY_SECONDS).exp()
}

fn seconds(at: Instant) -> f32 {
    // Whole and fractional part apart: f32 alone would lose milliseconds after some days.
    let nanos = at.as_nanos();
    (nanos / 1_000_000 % 1_000_000_000) as f32 / 1_000.0
}

fn pack(value: f32, at: f32) -> u64 {
    u64::from(value.to_bits()) << 32 | u64::from(at.to_bits())
}

fn unpack(packed: u64) -> (f32, f32) {
    (f32::from_bits((packed >> 32) as u32), f32::from_bits(packed as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(seconds)
    }

    #[test]
    fn nothing_measured_reads_as_the_prior() {
        assert_eq!(Pace::default().read(at(1), 0.5), 0.5);
    }

    #[test]
    fn a_bad_sample_is_forgotten_when_nothing_follows() {
        let pace = Pace::default();
        pace.measured(at(1), 1, 9.0);
        assert!(pace.read(at(1), 1.0) > 8.9);
        assert!(pace.read(at(120), 1.0) < 1.01);
    }

    #[test]
    fn samples_pull_the_mean_towards_themselves() {
        let pace = Pace::default();
        pace.measured(at(1), 100, 1.0);
        for _ in 0..50 {
            pace.measured(at(1), 100, 2.0);
        }
        let read = pace.read(at(1), 1.0);
        assert!((0.0195..0.0201).contains(&read), "{read}");
    }
}
