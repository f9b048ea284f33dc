//! How many second tries there may be in all.
//!
//! Each request deposits a share of a try, which fades within seconds, and time gives some more; a second try withdraws
//! a whole one. In a storm of failures retries thus add no more than their share of load
//! (Finagle's `RetryBudget`; "Retries amplify", Google SRE book, chapter 22).

use plimsoll_types::Instant;

use crate::Config;

/// Seconds over which deposits of requests fade.
const MEMORY_SECONDS: f64 = 5.0;

/// The balance of one core.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Tries that requests deposited lately.
    deposited: f64,
    /// Tries that time gave: at most a second's worth.
    given: f64,
    at: Instant,
    cores: f64,
}

impl Budget {
    /// A full budget of one core out of `cores`.
    pub(crate) fn new(cores: usize, config: &Config) -> Self {
        let cores = cores.max(1) as f64;
        Self { deposited: 0.0, given: config.retry_per_second as f64 / cores, at: Instant::ORIGIN, cores }
    }

    /// A request came.
    pub(crate) fn deposit(&mut self, now: Instant, config: &Config) {
        self.pass_to(now, config);
        self.deposited += config.retry_percent as f64 / 100.0;
    }

    /// Whether there is a try to take.
    pub(crate) fn has_one(&mut self, now: Instant, config: &Config) -> bool {
        self.pass_to(now, config);
        self.given >= 1.0 || self.deposited >= 1.0
    }

    /// Takes a try, if there is one.
    pub(crate) fn withdraw(&mut self, now: Instant, config: &Config) -> bool {
        self.pass_to(now, config);
        let from = if self.given >= 1.0 { &mut self.given } else { &mut self.deposited };
        let enough = *from >= 1.0;
        *from -= f64::from(u8::from(enough));
        enough
    }

    fn pass_to(&mut self, now: Instant, config: &Config) {
        let elapsed = (now - self.at).as_secs_f64();
        self.at = self.at.max(now);
        let rate = config.retry_per_second as f64 / self.cores;
        // A rate below one a second saves up for a whole try.
        self.given = (self.given + elapsed * rate).min(rate.max(1.0));
        self.deposited *= (1.0 - elapsed / MEMORY_SECONDS).max(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

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
            budget.deposit(at(request / 100), &config);
            retries += u32::from(budget.withdraw(at(request / 100), &config));
        }
        assert!((250..=300).contains(&retries), "{retries}");
    }

    #[test]
    fn hours_of_peace_save_up_no_storm() {
        let config = Config::default();
        let mut budget = Budget::new(1, &config);
        for second in 0..3_600 {
            budget.deposit(at(second), &config);
        }
        let retries = (0..1_000).filter(|_| budget.withdraw(at(3_600), &config)).count();
        assert!(retries <= 12, "{retries}");
    }

    #[test]
    fn a_quiet_gateway_may_still_retry() {
        let config = Config::default();
        let mut budget = Budget::new(2, &config);
        while budget.withdraw(at(0), &config) {}
        assert!(budget.withdraw(at(1), &config));
    }
}
