//! What is counted while a run lasts, for whoever watches.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::report::Outcome;

/// The counts of one thread, which alone adds to them.
pub(super) struct Tally {
    sent: AtomicU64,
    ok: AtomicU64,
    errors: AtomicU64,
    tokens: AtomicU64,
    /// Microseconds.
    ttft: Mutex<Histogram<u64>>,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Progress {
    /// Requests that were sent.
    pub sent: u64,
    /// Of these, answered in full.
    pub ok: u64,
    /// Of these, ended in any other way.
    pub errors: u64,
    /// Tokens that came.
    pub tokens: u64,
    /// Time to first token so far: the median and the 99th percentile, from the due time.
    pub ttft: Option<(Duration, Duration)>,
}

impl Progress {
    /// Requests that wait for their answer or its end.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.sent.saturating_sub(self.ok + self.errors)
    }
}

impl Tally {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            sent: AtomicU64::new(0),
            ok: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
            ttft: Mutex::new(histogram()),
        })
    }

    pub(super) fn sent(&self) {
        self.sent.fetch_add(1, Relaxed);
    }

    pub(super) fn tokens(&self, count: u32) {
        self.tokens.fetch_add(count.into(), Relaxed);
    }

    pub(super) fn first_token(&self, after: Duration) {
        let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        self.ttft.lock().expect("nobody panics here").saturating_record(micros);
    }

    pub(super) fn ended(&self, outcome: Outcome) {
        let counter = if outcome == Outcome::Ok { &self.ok } else { &self.errors };
        counter.fetch_add(1, Relaxed);
    }
}

/// From microseconds to hours, within one percent.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 10_000_000_000, 2).expect("the bounds are in order")
}

/// The sum over all threads.
pub(super) fn progress(tallies: &[Arc<Tally>]) -> Progress {
    let sum = |counter: fn(&Tally) -> &AtomicU64| {
        tallies.iter().map(|tally| counter(tally).load(Relaxed)).sum::<u64>()
    };
    let mut ttft = histogram();
    for tally in tallies {
        ttft.add(&*tally.ttft.lock().expect("nobody panics here")).expect("the bounds are the same");
    }
    let at = |quantile| Duration::from_micros(ttft.value_at_quantile(quantile));
    Progress {
        // What ended is read first, so that it is never more than what was sent.
        ok: sum(|tally| &tally.ok),
        errors: sum(|tally| &tally.errors),
        sent: sum(|tally| &tally.sent),
        tokens: sum(|tally| &tally.tokens),
        ttft: (!ttft.is_empty()).then(|| (at(0.5), at(0.99))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_add_up() {
        let tallies = [Tally::new(), Tally::new()];
        assert_eq!(progress(&tallies), Progress::default());
        for (tally, outcome) in tallies.iter().zip([Outcome::Ok, Outcome::Timeout]) {
            tally.sent();
            tally.sent();
            tally.first_token(Duration::from_millis(64));
            tally.tokens(3);
            tally.ended(outcome);
        }
        let seen = progress(&tallies);
        assert_eq!((seen.sent, seen.ok, seen.errors, seen.tokens, seen.in_flight()), (4, 1, 1, 6, 2));
        let (median, _) = seen.ttft.unwrap();
        assert!((63..=65).contains(&median.as_millis()), "{median:?}");
    }
}
