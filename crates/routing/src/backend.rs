use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use plimsoll_types::{BLOCK_TOKENS, BackendSpec, Instant};

use crate::affinity::{Cache, Index};
use crate::aged::Aged;
use crate::load::Share;
use crate::metrics::BackendMetrics;
use crate::reported::{Others, Report};
use crate::speed::Speed;
use crate::{Conditions, Config, Cost, Load, Outlier, Pace, RequestShape, Service};

/// Tokens that memory holds where nobody said: an 8B model on a GPU of 40 GB.
const UNKNOWN_KV_TOKENS: u32 = 150_000;
/// The share of memory that prompts have; the rest is answers being written.
const PROMPT_SHARE: f64 = 0.8;

/// Seconds over which the peak of times to first token fades (linkerd has ten).
const PEAK_SECONDS: f32 = 10.0;

/// A backend as the router sees it: what it is, what is sent to it, how it does.
pub struct Backend {
    /// Which one it is: unique as long as the process lives, small, never used again.
    pub slot: usize,
    /// What it is.
    pub spec: BackendSpec,
    /// What was sent to it and has not come back.
    pub load: Load,
    /// How long it takes beside what was predicted.
    pub pace: Pace,
    /// What it has cached, as far as it can be known from here.
    pub(crate) cache: Option<Cache>,
    /// The peak of recent times to first token.
    peak: Aged,
    /// How long it is predicted to take.
    pub(crate) speed: Speed,
    /// What others put on it.
    pub(crate) others: Others,
    /// Whether it may be used.
    pub outlier: Outlier,
    pub(crate) metrics: BackendMetrics,
    /// Nanoseconds until when it asked to be left alone (429 with `Retry-After`).
    pushback: AtomicU64,
}

impl Backend {
    /// A backend that nothing is known of yet, whose cache is a part of `index`.
    #[must_use]
    pub fn new(slot: usize, spec: BackendSpec, index: Option<&Arc<Index>>) -> Self {
        let tokens = u64::from(spec.kv_tokens.unwrap_or(UNKNOWN_KV_TOKENS));
        let blocks = (tokens as f64 * PROMPT_SHARE) as u64 / BLOCK_TOKENS;
        Self {
            slot,
            cache: index.and_then(|index| index.join(slot, blocks as usize)),
            metrics: BackendMetrics::new(&spec.name),
            speed: spec.step_time.as_ref().map_or(Speed::UNKNOWN, Speed::of),
            spec,
            load: Load::default(),
            pace: Pace::default(),
            peak: Aged::default(),
            others: Others::default(),
            outlier: Outlier::default(),
            pushback: AtomicU64::new(0),
        }
    }

    /// Seconds until a request sent now would get its first token if none of its prompt is cached: the network, what is
    /// queued before it and its own prompt, at the pace that was measured.
    #[must_use]
    pub fn expected_ttft(&self, request: &RequestShape<'_>, conditions: &Conditions) -> f32 {
        Cost::of(self, request, 0, conditions).ttft()
    }

    /// It says how loaded it is.
    pub fn reported(&self, now: Instant, report: &Report) {
        self.others.reported(now, report, self.load.in_flight());
    }

    /// Seconds since it last said how loaded it is; `None` if it never did.
    #[must_use]
    pub fn report_age(&self, now: Instant) -> Option<f32> {
        self.others.age(now)
    }

    /// The peak of its recent times to first token, in seconds, which fades.
    #[must_use]
    pub fn peak_ttft(&self, now: Instant) -> f32 {
        self.peak.read(now).map_or(0.0, |(peak, age)| peak * (-age / PEAK_SECONDS).exp())
    }

    /// A first token came after so many seconds.
    pub(crate) fn answered(&self, now: Instant, ttft: f32) {
        self.peak.update(now, |before| {
            let (peak, age) = before.unwrap_or_default();
            let kept = (-age / PEAK_SECONDS).exp();
            if ttft > peak * kept { ttft } else { peak * kept + ttft * (1.0 - kept) }
        });
    }

    /// Seconds of the network there and back.
    #[must_use]
    pub fn round_trip(&self) -> f32 {
        self.spec.round_trip.map_or(0.0, |time| time.as_secs_f32())
    }

    /// What a second of its GPU costs, in US dollars.
    #[must_use]
    pub fn dollars_per_second(&self) -> f32 {
        self.spec.dollars_per_hour as f32 / 3_600.0
    }

    /// What `request` adds to its load if `cached` tokens of the prompt are there.
    pub(crate) fn share(&self, request: &RequestShape<'_>, cached: u32) -> Share {
        let uncached = request.prompt_tokens.saturating_sub(cached).max(1);
        Share {
            tokens: u64::from(uncached),
            nanos: (f64::from(self.speed.prefill(uncached, cached)) * 1e9) as u64,
            context: u64::from(uncached) + u64::from(request.expected_output),
        }
    }

    /// What may be sent to it at `now`.
    #[must_use]
    pub fn service(&self, now: Instant) -> Service {
        if self.pushback.load(Relaxed) > now.as_nanos() {
            return Service::Ejected;
        }
        self.outlier.service(now)
    }

    /// Whether it is below its line, so that `request` may go there: what it has got and not read, what its memory holds,
    /// and how many requests. One that is idle takes any request.
    #[must_use]
    pub fn has_room(&self, request: &RequestShape<'_>, config: &Config) -> bool {
        let in_flight = self.load.in_flight();
        if in_flight == 0 {
            return self.spec.max_in_flight > 0;
        }
        let unread = config.line_prompt_tokens == 0 || self.load.queued_tokens() < config.line_prompt_tokens;
        in_flight < self.spec.max_in_flight && unread && self.has_memory(request, config)
    }

    fn has_memory(&self, request: &RequestShape<'_>, config: &Config) -> bool {
        let needed = self.load.context() + u64::from(request.prompt_tokens + request.expected_output);
        self.line_tokens(config).is_none_or(|line| needed as f64 <= line)
    }

    /// Tokens of prompts and expected answers that its memory may hold; `None` where that is not known or not bounded.
    fn line_tokens(&self, config: &Config) -> Option<f64> {
        let room = self.spec.kv_tokens.filter(|_| config.line_kv_share > 0.0)?;
        Some(f64::from(room) * config.line_kv_share)
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
    pub fn observe(&self, now: Instant, config: &Config) {
        let healthy = match self.outlier.service(now) {
            Service::Open => 1.0,
            Service::Probation => 0.5,
            Service::Ejected => 0.0,
        };
        let expected = self.expected_ttft(&RequestShape::typical(now), &Conditions::UNKNOWN);
        self.metrics.observe(self.load.in_flight(), self.load.queued_tokens(), expected, healthy);
        self.metrics.observe_line(self.load.context(), self.line_tokens(config));
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
