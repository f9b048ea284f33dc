//! Takes a backend out of service that fails in a row, and lets it back in one request at a time.
//!
//! ```text
//!        fails `consecutive_failures` times in a row, or `failure_share` of the time
//!   in service ────────────────────────────────────────────────▶ ejected ◀──────────┐
//!       ▲                                                           │ its time is up │ fails: twice as long
//!       │                     answers                               ▼                │
//!       └──────────────────────────────────────────────────── probation: one request
//! ```
//!
//! Beside what requests say stands what probes say: a backend that a probe finds dead gets nothing until a probe finds it
//! alive, or until the probe's word is too old. Each takes back what it has said, and no more: an answer to a probe ends no
//! ejection that requests caused by failing, for a backend may be well and answer nonsense. But it ends one that was only
//! about reaching the backend, and a backend that was dead and is back begins with nothing against it: then no request
//! has to find that out.

use std::time::Duration;

use plimsoll_types::Instant;

use crate::Config;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

/// What may be sent to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Everything.
    Open,
    /// One request, to see whether it works again.
    Probation,
    /// Nothing.
    Ejected,
}

/// The passive health of one backend. Hot path: no allocation, no lock, no await.
#[derive(Debug, Default)]
pub struct Outlier {
    failures: AtomicU32,
    /// The share of recent requests that failed, in millionths: a mean to which each adds a [`RECENT`]th.
    failing: AtomicU32,
    ejections: AtomicU32,
    /// Nanoseconds until when it is ejected; 0 in service.
    until: AtomicU64,
    probing: AtomicBool,
    /// Whether it went out with its domain.
    fallen: AtomicBool,
    /// Whether it is slow: then answers do not bring it back.
    slow: AtomicBool,
    /// Whether the last failure was that it could not be reached.
    unreached: AtomicBool,
    /// Nanoseconds until when the word of a probe counts that found it dead; 0 where none did.
    dead_until: AtomicU64,
}

const MILLION: u32 = 1_000_000;
/// How many requests are recent.
const RECENT: u32 = 20;

impl Outlier {
    /// What may be sent at `now`.
    #[must_use]
    pub fn service(&self, now: Instant) -> Service {
        if self.is_dead(now) {
            return Service::Ejected;
        }
        match self.until.load(Relaxed) {
            0 => Service::Open,
            until if now.as_nanos() < until || self.probing.load(Relaxed) => Service::Ejected,
            _ => Service::Probation,
        }
    }

    /// Whether the last probe found it dead, and not long ago.
    #[must_use]
    pub fn is_dead(&self, now: Instant) -> bool {
        let until = self.dead_until.load(Relaxed);
        until != 0 && now.as_nanos() < until
    }

    /// A probe found it dead, which counts until `until`. True if that is news.
    pub(crate) fn found_dead(&self, now: Instant, until: Instant) -> bool {
        self.dead_until.swap(until.as_nanos().max(1), Relaxed) <= now.as_nanos()
    }

    /// A probe found it alive. True if that brings it back into service.
    pub(crate) fn found_alive(&self) -> bool {
        let was_dead = self.dead_until.swap(0, Relaxed) != 0;
        let was_out = self.until.load(Relaxed) != 0;
        if was_dead || (was_out && self.unreached.load(Relaxed)) {
            self.failures.store(0, Relaxed);
            self.ejections.store(0, Relaxed);
            self.fallen.store(false, Relaxed);
            self.slow.store(false, Relaxed);
            self.until.store(0, Relaxed);
        }
        was_dead || (was_out && self.until.load(Relaxed) == 0)
    }

    /// It is about to be said that it failed: whether because it could not be reached.
    pub(crate) fn unreached(&self, unreached: bool) {
        self.unreached.store(unreached, Relaxed);
    }

    /// Failures in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures.load(Relaxed)
    }

    /// Takes the one place of a backend in probation; false if somebody has it.
    pub(crate) fn take_probe(&self) -> bool {
        !self.probing.swap(true, Relaxed)
    }

    /// Gives the place back without a verdict: the request went away.
    pub(crate) fn leave_probe(&self) {
        self.probing.store(false, Relaxed);
    }

    /// It answered. True if that brings it back into service.
    pub(crate) fn succeeded(&self, now: Instant, config: &Config) -> bool {
        // Reading first keeps the line shared while all is well.
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
        let failing = self.failing.load(Relaxed);
        if failing != 0 {
            // Two cores that write at once lose one of two answers: no more than a twentieth.
            self.failing.store(failing - failing.div_ceil(RECENT), Relaxed);
        }
        if self.until.load(Relaxed) == 0 {
            return false;
        }
        if self.slow.load(Relaxed) {
            // How fast it is now is looked at in the background; until then it gets another one in a while.
            self.until.store((now + config.max_ejection).as_nanos(), Relaxed);
            return false;
        }
        self.ejections.store(0, Relaxed);
        self.fallen.store(false, Relaxed);
        self.until.swap(0, Relaxed) != 0
    }

    /// Whether it is slow beside its peers, so that it gets one request in a while.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.slow.load(Relaxed)
    }

    /// It was found slow. True if that takes it out of service.
    pub(crate) fn slows(&self, now: Instant, config: &Config) -> bool {
        let until = (now + config.max_ejection).as_nanos().max(1);
        let out = self.until.compare_exchange(0, until, Relaxed, Relaxed).is_ok();
        if out {
            self.slow.store(true, Relaxed);
        }
        out
    }

    /// It is slow no longer. True if that brings it back into service.
    pub(crate) fn recovers(&self) -> bool {
        self.slow.swap(false, Relaxed) && self.failures() == 0 && self.until.swap(0, Relaxed) != 0
    }

    /// Its domain fails as one. True if that takes it out of service.
    pub(crate) fn falls(&self, now: Instant, config: &Config) -> bool {
        self.fallen.store(true, Relaxed);
        let until = (now + config.base_ejection).as_nanos().max(1);
        self.until.compare_exchange(0, until, Relaxed, Relaxed).is_ok()
    }

    /// Whether it is out because its domain is: that most of a pool is out says nothing then.
    pub(crate) fn has_fallen(&self) -> bool {
        self.fallen.load(Relaxed)
    }

    /// It failed. True if that takes it out of service.
    pub(crate) fn failed(&self, now: Instant, config: &Config) -> bool {
        let failures = self.failures.fetch_add(1, Relaxed) + 1;
        let failing = self.failing.load(Relaxed);
        let failing = failing + (MILLION - failing) / RECENT;
        self.failing.store(failing, Relaxed);
        let too_often = f64::from(failing) > config.failure_share * f64::from(MILLION);
        let until = self.until.load(Relaxed);
        let probation_failed = until != 0 && now.as_nanos() >= until;
        let too_many = u64::from(failures) >= config.consecutive_failures || too_often;
        if !probation_failed && (until != 0 || !too_many) {
            return false;
        }
        // It returns with half of that against it.
        self.failing.store(failing.min((config.failure_share * f64::from(MILLION / 2)) as u32), Relaxed);
        let times = self.ejections.fetch_add(1, Relaxed).min(16);
        let wait = Duration::min(config.base_ejection * 2_u32.pow(times), config.max_ejection);
        let next = (now + wait).as_nanos().max(1);
        self.until.compare_exchange(until, next, Relaxed, Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    #[test]
    fn three_failures_in_a_row_eject_and_one_success_brings_back() {
        let (outlier, config) = (Outlier::default(), Config::default());
        assert!(!outlier.failed(at(0), &config));
        assert!(!outlier.failed(at(0), &config));
        assert!(outlier.failed(at(0), &config));
        assert_eq!(outlier.service(at(1)), Service::Ejected);
        assert_eq!(outlier.service(at(1_000)), Service::Probation);
        assert!(outlier.take_probe());
        assert!(!outlier.take_probe());
        assert_eq!(outlier.service(at(1_000)), Service::Ejected);
        assert!(outlier.succeeded(at(1_000), &config));
        outlier.leave_probe();
        assert_eq!(outlier.service(at(1_000)), Service::Open);
    }

    fn ejected(unreached: bool) -> Outlier {
        let (outlier, config) = (Outlier::default(), Config::default());
        for _ in 0..3 {
            outlier.unreached(unreached);
            outlier.failed(at(0), &config);
        }
        outlier
    }

    #[test]
    fn what_a_probe_finds_dead_gets_nothing_not_even_one_request() {
        let outlier = ejected(true);
        assert!(outlier.found_dead(at(500), at(5_500)));
        assert!(!outlier.found_dead(at(1_500), at(6_500)), "it is no news");
        assert_eq!(
            outlier.service(at(1_600)),
            Service::Ejected,
            "its ejection is over, but nobody has to try it"
        );
        assert!(outlier.found_alive());
        assert_eq!((outlier.service(at(1_600)), outlier.failures()), (Service::Open, 0));
    }

    #[test]
    fn the_word_of_a_probe_that_is_not_repeated_fades() {
        let outlier = Outlier::default();
        outlier.found_dead(at(500), at(5_500));
        assert_eq!(outlier.service(at(5_499)), Service::Ejected);
        assert_eq!(outlier.service(at(5_500)), Service::Open);
    }

    #[test]
    fn a_probe_brings_back_what_could_not_be_reached_but_not_what_answered_nonsense() {
        let (unreached, failed) = (ejected(true), ejected(false));
        assert!(unreached.found_alive() && !failed.found_alive());
        assert_eq!(unreached.service(at(10)), Service::Open);
        assert_eq!(failed.service(at(10)), Service::Ejected);
        assert_eq!(failed.service(at(1_000)), Service::Probation, "only a request can tell");
    }

    #[test]
    fn a_success_between_failures_starts_the_count_again() {
        let (outlier, config) = (Outlier::default(), Config::default());
        for _ in 0..10 {
            outlier.failed(at(0), &config);
            outlier.failed(at(0), &config);
            outlier.succeeded(at(0), &config);
        }
        assert_eq!(outlier.service(at(0)), Service::Open);
    }

    #[test]
    fn who_fails_half_of_the_time_is_taken_out_and_who_fails_a_third_is_not() {
        let ejects = |successes: u32| {
            let (outlier, config) = (Outlier::default(), Config::default());
            (0..1_000).any(|_| {
                (0..successes).for_each(|_| {
                    outlier.succeeded(at(0), &config);
                });
                outlier.failed(at(0), &config)
            })
        };
        assert!(ejects(1));
        assert!(!ejects(2));
    }

    #[test]
    fn each_failed_probation_doubles_the_ejection_up_to_its_limit() {
        let (outlier, config) = (Outlier::default(), Config::default());
        let mut now = at(0);
        for _ in 0..3 {
            outlier.failed(now, &config);
        }
        let mut waits = Vec::new();
        for _ in 0..5 {
            let begin = now;
            while outlier.service(now) == Service::Ejected {
                now += Duration::from_millis(100);
            }
            waits.push((now - begin).as_millis());
            assert!(outlier.failed(now, &config));
        }
        assert_eq!(waits, [1_000, 2_000, 4_000, 5_000, 5_000]);
    }
}
