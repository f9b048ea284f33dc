//! One series: what its handles write, and how long it is shown.
//!
//! ```text
//!                      its names serve          two scrapes or a minute
//!            ┌──────────────┐     a name ends     ┌─────────┐        ┌────────┐  no handle is held
//!   made ──▶ │   serving    │ ──────────────────▶ │ leaving │ ─────▶ │ hidden │ ──────────────────▶ gone from memory
//!            └──────────────┘ ◀── names serve ─── └─────────┘        └────────┘
//!                   ▲                                  ▲ it is counted │  │
//!                   │                                  └───────────────┘  │ names serve
//!                   └─────────────────────────────────────────────────────┘
//! ```
//!
//! A gauge has no time of leaving: it is hidden at once. Hot path, where handles write: no lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{GaugeFn, HistogramFn, Key};
use metrics_util::storage::{AtomicBucket, Histogram};

use crate::catalog::{self, Metric, Type};
use crate::serving::Names;

/// How long the last value of a counter is shown if no scrape reads it: Prometheus' default interval.
pub(crate) const LEAVE: Duration = Duration::from_secs(60);
/// Scrapes that see the last value: `rate` and `increase` need two samples.
const SCRAPES: u32 = 2;

/// One series.
pub(crate) struct Series {
    pub(crate) key: Key,
    /// What it is a series of.
    pub(crate) metric: &'static Metric,
    /// Which of the catalogue that is.
    pub(crate) place: usize,
    pub(crate) value: Value,
    /// `None` while its names serve.
    leaving: Mutex<Option<Leaving>>,
}

/// What handles write. Each holds a reference of it, so their number says whether any is left.
pub(crate) enum Value {
    Counter(Arc<AtomicU64>),
    Gauge(Arc<Level>),
    Histogram(Arc<Samples>),
}

/// A series that counts what no longer serves.
struct Leaving {
    /// When it last counted, or its names ended.
    since: Duration,
    /// How much it had counted then.
    last: u64,
    /// Scrapes since.
    scrapes: u32,
}

/// What becomes of a series when somebody looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Shown,
    /// It is shown until its time is over.
    Leaving,
    /// It has nothing to tell now.
    Hidden,
    /// It has nothing to tell and is over, unless a handle is held.
    Over,
}

impl Series {
    /// A series of `key`; `None` if that is not in the catalogue.
    pub(crate) fn new(key: &Key) -> Option<Self> {
        let place = catalog::ALL.iter().position(|metric| metric.name == key.name())?;
        let metric = &catalog::ALL[place];
        let value = match metric.kind {
            Type::Counter => Value::Counter(Arc::default()),
            Type::Gauge => Value::Gauge(Arc::default()),
            Type::Histogram => Value::Histogram(Arc::new(Samples::new(metric.buckets))),
        };
        Some(Self { key: key.clone(), metric, place, value, leaving: Mutex::default() })
    }

    /// Whether a handle of it is held.
    pub(crate) fn is_held(&self) -> bool {
        let references = match &self.value {
            Value::Counter(count) => Arc::strong_count(count),
            Value::Gauge(level) => Arc::strong_count(level),
            Value::Histogram(samples) => Arc::strong_count(samples),
        };
        references > 1
    }

    /// What becomes of it at `now`, when `names` serve; `scraped` if what is shown is told.
    pub(crate) fn look(&self, names: &Names, now: Duration, scraped: bool) -> Fate {
        let serves = self.serves(names);
        let counted = match &self.value {
            Value::Counter(count) => count.load(Ordering::Relaxed),
            Value::Histogram(samples) => samples.told().count(),
            Value::Gauge(level) => return self.look_at_level(level.get(), serves),
        };
        // A change is complete before anything can panic.
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        if serves {
            *leaving = None;
            return Fate::Shown;
        }
        let new = || Leaving { since: now, last: counted, scrapes: 0 };
        let state = leaving.get_or_insert_with(new);
        if state.last != counted {
            *state = new();
        }
        if state.scrapes >= SCRAPES || now.saturating_sub(state.since) >= LEAVE {
            return Fate::Over;
        }
        state.scrapes += u32::from(scraped);
        Fate::Leaving
    }

    fn look_at_level(&self, level: Option<f64>, serves: bool) -> Fate {
        // A gauge that nobody can set any more says what was.
        if !serves || self.is_removable() && !self.is_held() {
            return Fate::Over;
        }
        if level.is_some() { Fate::Shown } else { Fate::Hidden }
    }

    fn is_removable(&self) -> bool {
        self.metric.labels.iter().any(|label| catalog::REMOVABLE.contains(label))
    }

    fn serves(&self, names: &Names) -> bool {
        let mut removable = self.key.labels().filter(|label| catalog::REMOVABLE.contains(&label.key()));
        removable.all(|label| names.have(label.key(), label.value()))
    }
}

/// A number that rises and falls, as the bits of an `f64`; NaN where there is none.
pub(crate) struct Level(AtomicU64);

impl Default for Level {
    fn default() -> Self {
        Self(AtomicU64::new(f64::NAN.to_bits()))
    }
}

impl Level {
    /// The number, if there is one.
    pub(crate) fn get(&self) -> Option<f64> {
        Some(f64::from_bits(self.0.load(Ordering::Relaxed))).filter(|level| !level.is_nan())
    }

    fn add(&self, change: f64) {
        let changed = |bits| {
            let level = f64::from_bits(bits);
            Some((if level.is_nan() { change } else { level + change }).to_bits())
        };
        // It never fails, for `changed` always gives something.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
    }
}

impl GaugeFn for Level {
    fn increment(&self, change: f64) {
        self.add(change);
    }

    fn decrement(&self, change: f64) {
        self.add(-change);
    }

    fn set(&self, level: f64) {
        self.0.store(level.to_bits(), Ordering::Relaxed);
    }
}

/// Samples of a histogram: those that were just recorded, and the buckets of the others.
pub(crate) struct Samples {
    fresh: AtomicBucket<f64>,
    told: Mutex<Histogram>,
}

impl Samples {
    fn new(buckets: &[f64]) -> Self {
        let told = Histogram::new(buckets).expect("a test holds the catalogue to buckets for each histogram");
        Self { fresh: AtomicBucket::new(), told: Mutex::new(told) }
    }

    /// Moves what was recorded into its buckets.
    pub(crate) fn drain(&self) {
        let mut told = self.told();
        self.fresh.clear_with(|samples| told.record_many(samples));
    }

    /// The samples in their buckets.
    pub(crate) fn told(&self) -> MutexGuard<'_, Histogram> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HistogramFn for Samples {
    fn record(&self, sample: f64) {
        // One that is no number would make the sum none for ever.
        if !sample.is_nan() {
            self.fresh.push(sample);
        }
    }
}
