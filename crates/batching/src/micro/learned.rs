//! How fast requests come and how long a batch takes: `t(n) = a n + b` by least squares, older batches counting less.

use std::time::Duration;

use plimsoll_types::Instant;

/// Seconds over which arrivals fade.
const MEMORY_SECONDS: f64 = 1.0;
/// What the batches before count at each new one.
const FADE: f64 = 0.95;
/// Batches, faded, before a fit is believed.
const ENOUGH: f64 = 4.0;
/// How many times the longest wait those who gather wait for the first call of all.
const UNKNOWN_WAITS: u32 = 20;

#[derive(Debug, Default)]
pub(super) struct Learned {
    /// Requests a second.
    rate: f64,
    last: Instant,
    weight: f64,
    tokens: f64,
    seconds: f64,
    tokens_squared: f64,
    tokens_seconds: f64,
}

impl Learned {
    pub(super) fn arrived(&mut self, now: Instant) {
        let gap = (now - self.last).as_secs_f64().max(1e-9);
        let kept = (-gap / MEMORY_SECONDS).exp();
        self.rate = self.rate * kept + (1.0 - kept) / gap;
        self.last = now;
    }

    pub(super) fn took(&mut self, tokens: u64, time: Duration) {
        let (x, y) = (tokens as f64, time.as_secs_f64());
        for (sum, add) in [
            (&mut self.weight, 1.0),
            (&mut self.tokens, x),
            (&mut self.seconds, y),
            (&mut self.tokens_squared, x * x),
            (&mut self.tokens_seconds, x * y),
        ] {
            *sum = *sum * FADE + add;
        }
    }

    /// How many requests should leave together at least: the rate times what a batch costs whatever it holds. To wait
    /// a moment costs each who waits that moment, and saves the fixed cost for each who comes in it.
    pub(super) fn worth(&self, now: Instant) -> f64 {
        let silence = (now - self.last).as_secs_f64();
        self.rate * (-silence / MEMORY_SECONDS).exp() * self.line().1
    }

    /// How long a batch of so many tokens takes, with a fifth more to be safe.
    pub(super) fn takes(&self, tokens: u64) -> Duration {
        let (slope, fixed) = self.line();
        Duration::try_from_secs_f64((slope * tokens as f64 + fixed) * 1.2).unwrap_or(Duration::MAX)
    }

    /// When those who gather have waited longer than a call should take: twice as long as usual. Where no call has come
    /// back yet, a few times `max_wait`.
    pub(super) fn overdue(&self, max_wait: Duration) -> Duration {
        if self.weight < 1.0 {
            return max_wait * UNKNOWN_WAITS;
        }
        let usual = self.seconds / self.weight;
        Duration::try_from_secs_f64(2.0 * usual).unwrap_or(Duration::MAX).saturating_add(max_wait)
    }

    /// Seconds for each token, and for the batch as such.
    fn line(&self) -> (f64, f64) {
        if self.weight < ENOUGH {
            return (0.0, 0.0);
        }
        let mean = (self.tokens / self.weight, self.seconds / self.weight);
        let spread = self.tokens_squared / self.weight - mean.0 * mean.0;
        if spread < 1.0 {
            // All batches were alike: nothing says which part was fixed, and to wait for it would be a guess.
            return (mean.1 / mean.0.max(1.0), 0.0);
        }
        let slope = (self.tokens_seconds / self.weight - mean.0 * mean.1) / spread;
        let slope = slope.clamp(0.0, mean.1 / mean.0.max(1.0));
        (slope, mean.1 - slope * mean.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    #[test]
    fn the_fixed_part_of_a_batch_and_the_rate_are_found() {
        let mut learned = Learned::default();
        for batch in 0..40 {
            let tokens = 100 + batch % 7 * 50;
            learned.took(tokens, Duration::from_micros(8_000 + 20 * tokens));
        }
        for arrival in 1..3_000 {
            learned.arrived(at(arrival * 2));
        }
        let worth = learned.worth(at(6_000));
        assert!((3.5..4.5).contains(&worth), "500 a second times 8 ms is 4, not {worth}");
        let takes = learned.takes(1_000).as_secs_f64();
        assert!((takes - 0.028 * 1.2).abs() < 1e-4, "{takes}");
        assert!(learned.worth(at(16_000)) < 0.1, "who was frequent once is not for ever");
    }

    #[test]
    fn batches_that_were_all_alike_say_nothing_of_what_is_fixed() {
        let mut learned = Learned::default();
        (0..40).for_each(|_| learned.took(500, Duration::from_millis(10)));
        (1..100).for_each(|arrival| learned.arrived(at(arrival)));
        assert!(learned.worth(at(100)) < 1e-9);
        assert!(learned.takes(500) >= Duration::from_millis(10));
    }
}
