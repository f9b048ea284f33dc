use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use plimsoll_types::{BackendSpec, Instant};

use crate::metrics::BackendMetrics;
use crate::pace::{FIXED_TOKENS, UNKNOWN};
use crate::{Load, Outlier, Pace, RequestShape, Service};

/// A backend as the router sees it: what it is, what is sent to it, how it does.
pub struct Backend {
    /// Which one it is: unique as long as the process lives, small, never used again.
    pub slot: usize,
    /// What it is.
    pub spec: BackendSpec,
    /// What was sent to it and has not come back.
    pub load: Load,
    /// How fast it has been.
    pub pace: Pace,
    /// Whether it may be used.
    pub outlier: Outlier,
    pub(crate) metrics: BackendMetrics,
    /// Nanoseconds until when it asked to be left alone (429 with `Retry-After`).
    pushback: AtomicU64,
}

impl Backend {
    /// A backend that nothing is known of yet.
    #[must_use]
    pub fn new(slot: usize, spec: BackendSpec) -> Self {
        Self {
            slot,
            metrics: BackendMetrics::new(&spec.name),
            spec,
            load: Load::default(),
            pace: Pace::default(),
            outlier: Outlier::default(),
            pushback: AtomicU64::new(0),
        }
    }

    /// Seconds until a request sent now would get its first token: what is queued before it and its own prompt, at
    /// the pace that was measured. `prior` is the pace of its pool.
    #[must_use]
    pub fn expected_ttft(&self, request: &RequestShape, prior: f32) -> f32 {
        let tokens = self.load.queued_tokens() + u64::from(request.prompt_tokens + FIXED_TOKENS);
        tokens as f32 * self.pace.read(request.now, prior)
    }

    /// What may be sent to it at `now`.
    #[must_use]
    pub fn service(&self, now: Instant) -> Service {
        if self.pushback.load(Relaxed) > now.as_nanos() {
            return Service::Ejected;
        }
        self.outlier.service(now)
    }

    /// Whether it has room for one more request.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.load.in_flight() < self.spec.max_in_flight
    }

    /// It asked to be left alone for `wait`.
    pub(crate) fn push_back(&self, now: Instant, wait: Duration) {
        self.pushback.fetch_max((now + wait).as_nanos(), Relaxed);
    }

    /// How long it still wants to be left alone.
    #[must_use]
    pub fn pushback_left(&self, now: Instant) -> Duration {
        Instant::from_nanos(self.pushback.load(Relaxed)) - now
    }

    /// It has left the fleet: its gauges say nothing from now on, for a metric cannot be taken back.
    pub fn retire(&self) {
        self.metrics.retire();
    }

    /// Sets its gauges; called when somebody is about to read them.
    pub fn observe(&self, now: Instant) {
        let healthy = match self.outlier.service(now) {
            Service::Open => 1.0,
            Service::Probation => 0.5,
            Service::Ejected => 0.0,
        };
        let expected = self.expected_ttft(&RequestShape { prompt_tokens: 1_000, now }, UNKNOWN);
        self.metrics.observe(self.load.in_flight(), self.load.queued_tokens(), expected, healthy);
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend")
            .field("slot", &self.slot)
            .field("name", &self.spec.name)
            .finish_non_exhaustive()
    }
}
