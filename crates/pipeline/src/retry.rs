//! How many second tries there may be in all.
//!
//! Each request deposits a share of a try and time deposits some more; a second try withdraws a whole one. While all
//! goes well the balance stays at its cap, and in a storm of failures retries add no more than their share of load
//! (Finagle's `RetryBudget`; "Retries amplify", Google SRE book, chapter 22).

use std::time::Duration;

use plimsoll_types::Instant;

use crate::Config;

/// Thousandths of a try.
const WHOLE: u64 = 1_000;
/// Seconds of deposits that are kept.
const KEPT_SECONDS: u64 = 10;

/// The balance of one core.
#[derive(Debug)]
pub(crate) struct Budget {
    balance: u64,
    at: Instant,
    cores: u64,
}

impl Budget {
    /// A full budget of one core out of `cores`.
    pub(crate) fn new(cores: usize, config: &Config) -> Self {
        let cores = cores.max(1) as u64;
        Self { balance: config.retry_per_second * KEPT_SECONDS * WHOLE / cores, at: Instant::ORIGIN, cores }
    }

    /// A request came.
    pub(crate) fn deposit(&mut self, config: &Config) {
        self.balance += config.retry_percent * WHOLE / 100;
        // What requests deposited must not pile up over hours of peace: ten seconds' worth of a busy core.
        self.balance = self.balance.min(self.cap(config) + 1_000 * WHOLE);
    }

    /// Takes a try, if there is one.
    pub(crate) fn withdraw(&mut self, now: Instant, config: &Config) -> bool {
        let elapsed = (now - self.at).min(Duration::from_secs(KEPT_SECONDS));
        let earned = elapsed.as_millis() as u64 * config.retry_per_second / self.cores;
        if self.balance < self.cap(config) {
            self.balance = (self.balance + earned).min(self.cap(config));
        }
        self.at = now;
        let enough = self.balance >= WHOLE;
        self.balance -= if enough { WHOLE } else { 0 };
        enough
    }

    fn cap(&self, config: &Config) -> u64 {
        config.retry_per_second * KEPT_SECONDS * WHOLE / self.cores
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(seconds)
    }

    #[test]
    fn in_a_storm_retries_are_a_fifth_of_requests_and_ten_a_second() {
        let config = Config::default();
        let mut budget = Budget::new(1, &config);
        while budget.withdraw(at(0), &config) {}
        let mut retries = 0;
        for request in 0..1_000 {
            budget.deposit(&config);
            retries += u32::from(budget.withdraw(at(request / 100), &config));
        }
        assert!((280..=300).contains(&retries), "{retries}");
    }

    #[test]
    fn a_quiet_gateway_may_still_retry() {
        let config = Config::default();
        let mut budget = Budget::new(2, &config);
        while budget.withdraw(at(0), &config) {}
        assert!(budget.withdraw(at(1), &config));
    }
}
