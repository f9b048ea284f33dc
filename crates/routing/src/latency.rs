//! The part of a time to first token that does not depend on the prompt, learned from short prompts.
//!
//! A prompt of thirty tokens takes what a step takes whatever it holds, and what server, scheduler and network add. For
//! an embedding server that is a millisecond, for another a tenth of a second; a factor on the prompt's tokens would be
//! wrong for the next long prompt, so it stands by itself.

use crate::sync::{AtomicU32, Ordering::Relaxed};

/// How much a sample moves what is known.
const WEIGHT: f32 = 0.125;
/// A sample moves it as if it were at most this many seconds, and this many times what is known, away: one hiccup of a
/// busy machine is no property of a backend.
const SURPRISE: (f32, f32) = (0.02, 4.0);
/// What is left of the difference to the rest of the pool after a look: a backend that seemed late gets requests again within
/// seconds, and one that answers many is measured anew at once.
const KEPT: f32 = 0.2;

/// Seconds beyond the prediction, or short of it. Hot path: no allocation, no lock, no await.
#[derive(Debug, Default)]
pub(crate) struct Latency(AtomicU32);

impl Latency {
    /// Seconds to add to what is predicted; below zero where it is faster than predicted.
    #[inline(always)]
    pub(crate) fn read(&self) -> f32 {
        f32::from_bits(self.0.load(Relaxed))
    }

    /// A short prompt took so many seconds beyond the prediction.
    pub(crate) fn measured(&self, beyond: f32) {
        let known = self.read();
        let bound = SURPRISE.0.max(known.abs() * SURPRISE.1);
        let moved = (beyond - known).clamp(-bound, bound) * WEIGHT;
        // Two cores that write at once lose one of two samples.
        self.0.store((known + moved).to_bits(), Relaxed);
    }

    /// Time passes: what is not measured again becomes what is usual in the pool.
    pub(crate) fn fade(&self, usual: f32) {
        let known = self.read();
        self.0.store((usual + (known - usual) * KEPT).to_bits(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_short_prompt_takes_is_learned_within_some_thirty_of_them_and_forgotten() {
        let latency = Latency::default();
        (0..30).for_each(|_| latency.measured(0.1));
        assert!((0.08..0.1).contains(&latency.read()), "{}", latency.read());
        (0..10).for_each(|_| latency.fade(0.0));
        assert!(latency.read() < 0.001);
    }

    #[test]
    fn one_hiccup_is_hardly_noticed() {
        let latency = Latency::default();
        (0..100).for_each(|_| latency.measured(0.001));
        latency.measured(3.0);
        assert!(latency.read() < 0.005, "{}", latency.read());
    }
}
