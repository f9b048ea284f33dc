//! How long something takes beside what was predicted, learned from what was measured.

use std::time::Duration;

use plimsoll_types::Instant;

use crate::aged::{Aged, kept};

/// A sample's weight fades within about so many seconds.
const MEMORY_SECONDS: f32 = 10.0;
/// Predictions of this many seconds and more count in full; shorter ones tell less, since the network, the step under
/// way and the scheduler of this machine are most of what was measured.
const TELLING_SECONDS: f32 = 0.1;
/// The least weight of a sample.
const LEAST_WEIGHT: f32 = 0.02;
/// How far a prediction may be off.
const RANGE: (f32, f32) = (0.05, 20.0);

/// How many times as long as predicted a first token takes, as an exponentially weighted mean.
///
/// A reading drifts back to a given prior as it ages, so that one bad sample does not keep traffic, and with it better
/// samples, away for good.
#[derive(Debug, Default)]
pub struct Pace(Aged);

impl Pace {
    /// The factor at `now`, or `prior` as far as what was measured is old.
    #[must_use]
    pub fn read(&self, now: Instant, prior: f32) -> f32 {
        self.0.read(now).map_or(prior, |(value, age)| prior + (value - prior) * kept(age, MEMORY_SECONDS))
    }

    /// Takes in that what was predicted to take `predicted` seconds took `elapsed`.
    pub fn measured(&self, now: Instant, predicted: f32, elapsed: f32) {
        let sample = (elapsed / predicted.max(1e-6)).clamp(RANGE.0, RANGE.1);
        let telling = (predicted / TELLING_SECONDS).clamp(LEAST_WEIGHT, 1.0);
        self.0.update(now, |before| match before {
            None => sample,
            // A sample weighs a tenth, and more the older the last one is.
            Some((value, age)) => {
                value + (sample - value) * telling * (1.0 - kept(age, MEMORY_SECONDS)).max(0.1)
            }
        });
    }

    /// Whether anything was measured yet.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.0.is_known()
    }
}

/// Tokens of one answer and how long they took, as far as somebody was waiting for them: a gap that a reader made says
/// nothing of who writes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Writing {
    seconds: f32,
    tokens: u32,
}

impl Writing {
    /// So many tokens came after a gap.
    pub fn waited(&mut self, gap: Duration, tokens: u32) {
        self.seconds += gap.as_secs_f32();
        self.tokens += tokens;
    }

    /// How long it was predicted to take where a token was to take so many seconds, and how long it took. A few tokens tell
    /// nothing.
    pub(crate) fn took(&self, predicted: f32) -> Option<(f32, f32)> {
        (self.tokens >= FEW_TOKENS).then_some((predicted * self.tokens as f32, self.seconds))
    }

    /// Teaches `pace`, where a token was predicted to take so many seconds.
    pub(crate) fn teach(&self, pace: &Pace, now: Instant, predicted: f32) {
        if let Some((predicted, elapsed)) = self.took(predicted) {
            pace.measured(now, predicted, elapsed);
        }
    }
}

/// Fewer than this may have come in one packet.
const FEW_TOKENS: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

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
        pace.measured(at(1), 1.0, 9.0);
        assert!(pace.read(at(1), 1.0) > 8.9);
        assert!(pace.read(at(120), 1.0) < 1.01);
    }

    #[test]
    fn what_was_waited_for_teaches_how_fast_one_writes_and_a_few_tokens_teach_nothing() {
        let (pace, mut writing) = (Pace::default(), Writing::default());
        for tokens in 1..=100 {
            writing.waited(Duration::from_millis(20), 1);
            writing.teach(&pace, at(1), 0.01);
            assert_eq!(pace.is_known(), tokens >= 8);
        }
        assert!((pace.read(at(1), 1.0) - 2.0).abs() < 0.01, "{}", pace.read(at(1), 1.0));
    }

    #[test]
    fn samples_pull_the_mean_towards_themselves_and_long_ones_more() {
        let read = |predicted: f32| {
            let pace = Pace::default();
            pace.measured(at(1), 1.0, 1.0);
            for _ in 0..20 {
                pace.measured(at(1), predicted, 2.0 * predicted);
            }
            pace.read(at(1), 1.0)
        };
        assert!((1.85..2.0).contains(&read(1.0)), "{}", read(1.0));
        assert!((1.0..1.2).contains(&read(0.005)), "{}", read(0.005));
    }
}
