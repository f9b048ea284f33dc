//! All series: made with their first handle, read by each scrape, and removed once they are over.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use crate::series::{Fate, Series, Value};
use crate::serving::{Names, Roll};

/// The series of a process, and what serves.
#[derive(Default)]
pub(crate) struct Registry {
    series: RwLock<HashMap<Key, Arc<Series>>>,
    roll: Arc<Roll>,
    /// How often names had changed when a look at all series found none that is leaving.
    settled: AtomicU64,
}

const UNSETTLED: u64 = u64::MAX;

impl Registry {
    /// What serves.
    pub(crate) fn roll(&self) -> &Arc<Roll> {
        &self.roll
    }

    /// Moves samples into their buckets, and lets go of series that are over at `now`. It looks at all series only where
    /// names have changed or a series is leaving: there may be hundreds of thousands.
    pub(crate) fn keep_up(&self, now: Duration) {
        self.drain();
        let names = self.roll.names();
        if self.settled.load(Ordering::Relaxed) != names.changes() {
            self.look(&names, now, false);
        }
    }

    /// The series that a scrape at `now` sees.
    pub(crate) fn scrape(&self, now: Duration) -> Vec<Arc<Series>> {
        self.drain();
        self.look(&self.roll.names(), now, true)
    }

    fn drain(&self) {
        let is_histogram = |series: &&Arc<Series>| matches!(series.value, Value::Histogram(_));
        let histograms: Vec<Arc<Series>> = self.read().values().filter(is_histogram).cloned().collect();
        for series in &histograms {
            if let Value::Histogram(samples) = &series.value {
                samples.drain();
            }
        }
    }

    /// Looks at every series: gives those that are shown, and removes those that are over. `names` are locked, so that
    /// nothing begins to serve before this is done: what is counted of it then is not removed.
    fn look(&self, names: &Names, now: Duration, scraped: bool) -> Vec<Arc<Series>> {
        let mut all: Vec<Arc<Series>> = self.read().values().cloned().collect();
        let (mut over, mut leaving) = (Vec::new(), false);
        all.retain(|series| {
            let fate = series.look(names, now, scraped);
            if fate == Fate::Over && !series.is_held() {
                over.push(series.key.clone());
            }
            leaving |= fate == Fate::Leaving;
            matches!(fate, Fate::Shown | Fate::Leaving)
        });
        self.settled.store(if leaving { UNSETTLED } else { names.changes() }, Ordering::Relaxed);
        self.remove(&over);
        all
    }

    fn remove(&self, over: &[Key]) {
        if over.is_empty() {
            return;
        }
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        for key in over {
            // A handle may have been made since. Under this lock none can be: what is not held now never counts again.
            if series.get(key).is_some_and(|series| !series.is_held()) {
                series.remove(key);
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<Key, Arc<Series>>> {
        // Every change is complete before anything can panic.
        self.series.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `handle` makes of the series of `key`, which is made if there is none; `None` if it is not in the catalogue.
    /// The handle is made under the lock, so that its series cannot be removed before it is held.
    fn handle<H>(&self, key: &Key, handle: impl Fn(&Value) -> Option<H>) -> Option<H> {
        if let Some(series) = self.read().get(key) {
            return handle(&series.value);
        }
        let new = Arc::new(Series::new(key)?);
        let mut all = self.series.write().unwrap_or_else(PoisonError::into_inner);
        handle(&all.entry(key.clone()).or_insert(new).value)
    }
}

impl Recorder for Registry {
    // The catalogue describes them.
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let of = |value: &Value| match value {
            Value::Counter(count) => Some(Counter::from_arc(Arc::clone(count))),
            _ => None,
        };
        self.handle(key, of).unwrap_or_else(Counter::noop)
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let of = |value: &Value| match value {
            Value::Gauge(level) => Some(Gauge::from_arc(Arc::clone(level))),
            _ => None,
        };
        self.handle(key, of).unwrap_or_else(Gauge::noop)
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let of = |value: &Value| match value {
            Value::Histogram(samples) => Some(Histogram::from_arc(Arc::clone(samples))),
            _ => None,
        };
        self.handle(key, of).unwrap_or_else(Histogram::noop)
    }
}

#[cfg(test)]
mod tests;
