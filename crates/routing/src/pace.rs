//! How long something takes beside what was predicted, learned from what was measured.

use std::time::Duration;

use plimsoll_types::Instant;

use crate::aged::{Aged, kept};

/// A sample's weight fades within about so many seconds.
const MEMORY_SECONDS: f32 = 10.0;
/// Predictions of this many seconds and more count in full; shorter ones tell less, since the network, the step under
/// way and the scheduler of this machine are most of what was measured.
const TELLING_SECONDS: f32 = 0.1;
/// The least weight of a sample, and the unit of evidence.
const LEAST_WEIGHT: f32 = 0.04;
/// Samples in full of which the mean is, in the most.
const MOST_EVIDENCE: f32 = 10.0;
/// What is believed beforehand weighs so many samples in full: a cold start alone condemns nobody.
const PRIOR_EVIDENCE: f32 = 0.2;
/// How far a prediction may be off.
const RANGE: (f32, f32) = (0.05, 20.0);
/// How many times more or less than what is known a sample may say: how far it moves that is bounded, so that one hiccup
/// among many short prompts, whatever it is beside their few milliseconds, does not condemn who had it.
const SURPRISE: f32 = 5.0;
/// The same of what is usual among many, of whom some may be out of the ordinary.
const UNUSUAL: f32 = 1.25;

/// How many times as long as predicted something takes, as the mean of what was measured, in which each sample weighs as
/// much as it tells, moves it so far and no farther (Huber's estimator of location, 1964), and the last ten in full are most
/// of it.
///
/// A reading drifts back to a given prior as it ages, so that one bad sample does not keep traffic, and with it better
/// samples, away for good.
#[derive(Debug, Default)]
pub struct Pace(Aged);

impl Pace {
    /// The factor at `now`, or `prior` as far as what was measured is old.
    #[must_use]
    pub fn read(&self, now: Instant, prior: f32) -> f32 {
        self.0.read(now).map_or(prior, |(known, age)| {
            // How much evidence there is stands in the last digits, where it does no harm.
            prior + (known - prior) * kept(age, MEMORY_SECONDS)
        })
    }

    /// Takes in that what was predicted to take `predicted` seconds took `elapsed`, where `prior` was the factor to expect
    /// before anything was measured.
    pub fn measured(&self, now: Instant, prior: f32, (predicted, elapsed): (f32, f32)) {
        let sample = (elapsed / predicted.max(1e-6)).clamp(RANGE.0, RANGE.1);
        let telling = (predicted / TELLING_SECONDS).clamp(LEAST_WEIGHT, 1.0);
        self.0.update(now, |before| {
            let (known, kept) = match before {
                None => (Known { value: prior, evidence: PRIOR_EVIDENCE }, 1.0),
                Some((packed, age)) => (Known::unpack(packed), kept(age, MEMORY_SECONDS)),
            };
            let sample = sample.clamp(known.value / SURPRISE, known.value * SURPRISE);
            let evidence = (known.evidence * kept + telling).min(MOST_EVIDENCE);
            // A sample weighs more the older the last one is.
            let weight = telling * (1.0 - kept).max(evidence.recip());
            Known { value: known.value + (sample - known.value) * weight, evidence }.pack()
        });
    }

    /// The same of one of many, which may be out of the ordinary: neither the few slow ones decide what is usual nor the last
    /// one.
    pub fn measured_of_many(&self, now: Instant, (predicted, elapsed): (f32, f32)) {
        let usual = predicted * self.read(now, 1.0);
        let elapsed = if self.is_known() { elapsed.clamp(usual / UNUSUAL, usual * UNUSUAL) } else { elapsed };
        self.measured(now, 1.0, (predicted, elapsed));
    }

    /// Whether anything was measured yet.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.0.is_known()
    }
}

/// What a [`Pace`] knows, in one number.
#[derive(Debug, Clone, Copy)]
struct Known {
    value: f32,
    /// Samples in full that it is the mean of.
    evidence: f32,
}

impl Known {
    /// The last digits of the value, less than a thirty-thousandth of it, count the evidence.
    const DIGITS: u32 = 0xff;

    fn pack(self) -> f32 {
        let units = (self.evidence / LEAST_WEIGHT).round() as u32;
        f32::from_bits(self.value.to_bits() & !Self::DIGITS | units.min(Self::DIGITS))
    }

    fn unpack(packed: f32) -> Self {
        let units = packed.to_bits() & Self::DIGITS;
        Self { value: packed, evidence: units as f32 * LEAST_WEIGHT }
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
        pace.measured(at(1), 1.0, (1.0, 9.0));
        assert!(pace.read(at(1), 1.0) > 2.5);
        assert!(pace.read(at(120), 1.0) < 1.01);
    }

    #[test]
    fn a_cold_start_is_made_good_by_as_many_samples_as_tell_as_much() {
        let pace = Pace::default();
        pace.measured(at(1), 1.0, (0.01, 2.0));
        assert!((1.5..3.0).contains(&pace.read(at(1), 1.0)), "{}", pace.read(at(1), 1.0));
        for _ in 0..20 {
            pace.measured(at(1), 1.0, (0.01, 0.01));
        }
        assert!(pace.read(at(1), 1.0) < 1.3, "{}", pace.read(at(1), 1.0));
    }

    #[test]
    fn one_hiccup_among_short_prompts_is_hardly_seen_and_slowness_soon() {
        let pace = Pace::default();
        for number in 0..20 {
            pace.measured(at(1), 1.0, (0.005, if number == 15 { 0.5 } else { 0.005 }));
        }
        assert!(pace.read(at(1), 1.0) < 1.2, "{}", pace.read(at(1), 1.0));
        for _ in 0..20 {
            pace.measured(at(1), 1.0, (0.005, 0.05));
        }
        assert!(pace.read(at(1), 1.0) > 3.0, "{}", pace.read(at(1), 1.0));
    }

    #[test]
    fn what_is_usual_is_so_whatever_a_third_of_them_takes() {
        let pace = Pace::default();
        for number in 0..300 {
            pace.measured_of_many(at(1), (1.0, if number % 3 == 2 { 9.0 } else { 1.0 }));
        }
        assert!((1.0..1.3).contains(&pace.read(at(1), 1.0)), "{}", pace.read(at(1), 1.0));
        for _ in 0..200 {
            pace.measured_of_many(at(1), (1.0, 9.0));
        }
        assert!(pace.read(at(1), 1.0) > 8.0, "where all are slow, slow is usual: {}", pace.read(at(1), 1.0));
    }

    #[test]
    fn a_few_tokens_tell_nothing() {
        let mut writing = Writing::default();
        for tokens in 1..=100 {
            writing.waited(Duration::from_millis(20), 1);
            assert_eq!(writing.took(0.01).is_some(), tokens >= 8);
        }
        let (predicted, elapsed) = writing.took(0.01).unwrap();
        assert!((predicted - 1.0).abs() < 1e-3 && (elapsed - 2.0).abs() < 1e-3, "{predicted} {elapsed}");
    }

    #[test]
    fn samples_pull_the_mean_towards_themselves_and_long_ones_more() {
        let read = |predicted: f32| {
            let pace = Pace::default();
            for _ in 0..10 {
                pace.measured(at(1), 1.0, (1.0, 1.0));
            }
            for _ in 0..20 {
                pace.measured(at(1), 1.0, (predicted, 2.0 * predicted));
            }
            pace.read(at(1), 1.0)
        };
        assert!((1.85..2.0).contains(&read(1.0)), "{}", read(1.0));
        assert!((1.0..1.2).contains(&read(0.005)), "{}", read(0.005));
    }
}
