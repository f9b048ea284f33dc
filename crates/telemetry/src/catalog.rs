//! Every metric: name, labels, buckets. Nothing is recorded under a name that is not here.
//!
//! A file in `catalog/` holds the metrics of one area; [`ALL`] has them in the order of the reference.

mod batches;
mod buckets;
mod gateway;
mod health;
mod load;
mod picks;
mod prices;
mod queue;
mod requests;
mod steps;

pub use batches::*;
pub use buckets::*;
pub use gateway::*;
pub use health::*;
pub use load::*;
pub use picks::*;
pub use prices::*;
pub use queue::*;
pub use requests::*;
pub use steps::*;

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata};

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Observations in buckets.
    Histogram,
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name as Prometheus sees it.
    pub name: &'static str,
    /// What it is.
    pub kind: Type,
    /// One sentence for the reference and for `# HELP`.
    pub help: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// Upper bounds of its buckets, for a histogram.
    pub buckets: &'static [f64],
}

/// Labels whose values may be removed while the gateway runs: a reload, a look-up or a discovery takes a backend, a model, a
/// place or another gateway away. The exporter keeps a series with such a label only as long as all its names serve.
pub const REMOVABLE: &[&str] =
    &["backend", "cloud", "commitment", "domain", "gateway", "model", "policy", "region"];

const METADATA: Metadata<'static> = Metadata::new("plimsoll", Level::INFO, None);

impl Metric {
    const fn counter_of(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: Type::Counter, help, labels, buckets: &[] }
    }

    const fn gauge_of(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: Type::Gauge, help, labels, buckets: &[] }
    }

    const fn histogram_of(
        name: &'static str,
        labels: &'static [&'static str],
        buckets: &'static [f64],
        help: &'static str,
    ) -> Self {
        Self { name, kind: Type::Histogram, help, labels, buckets }
    }

    /// A handle of this counter for these label values, in the order of [`Metric::labels`].
    ///
    /// What counts often holds the handle, because a look-up costs some twenty times an increment. The series does not
    /// depend on it: it lasts as long as its names serve.
    pub fn counter(&self, values: &[&str]) -> Counter {
        debug_assert_eq!(self.kind, Type::Counter, "{}", self.name);
        metrics::with_recorder(|recorder| recorder.register_counter(&self.key(values), &METADATA))
    }

    /// A handle of this gauge for these label values.
    ///
    /// The gauge has no series before it is set, and none after it is set to NaN. With a label of [`REMOVABLE`] it has one
    /// only as long as a handle of it is held.
    pub fn gauge(&self, values: &[&str]) -> Gauge {
        debug_assert_eq!(self.kind, Type::Gauge, "{}", self.name);
        metrics::with_recorder(|recorder| recorder.register_gauge(&self.key(values), &METADATA))
    }

    /// A handle of this histogram for these label values.
    pub fn histogram(&self, values: &[&str]) -> Histogram {
        debug_assert_eq!(self.kind, Type::Histogram, "{}", self.name);
        metrics::with_recorder(|recorder| recorder.register_histogram(&self.key(values), &METADATA))
    }

    fn key(&self, values: &[&str]) -> Key {
        assert_eq!(values.len(), self.labels.len(), "{} has the labels {:?}", self.name, self.labels);
        let labels: Vec<Label> = self
            .labels
            .iter()
            .zip(values)
            .map(|(name, value)| Label::new(*name, (*value).to_owned()))
            .collect();
        Key::from_parts(self.name, labels)
    }
}

/// All of them, in the order of the reference.
pub const ALL: &[Metric] = &[
    REQUESTS,
    REFUSALS,
    IN_FLIGHT,
    TTFT,
    ITL,
    DURATION,
    OVERHEAD,
    TOKENS,
    PICKS,
    ATTEMPTS,
    RETRIES,
    RETRIES_DENIED,
    BROKEN_STREAMS,
    CONTINUATIONS,
    BACKEND_IN_FLIGHT,
    BACKEND_QUEUED_TOKENS,
    BACKEND_CONTEXT,
    BACKEND_LINE,
    BACKEND_PROMPTS,
    BACKEND_SEATS,
    BACKEND_EXPECTED_TTFT,
    QUEUE_LENGTH,
    QUEUE_WAIT,
    QUEUE_LATE,
    QUEUE_REFUSALS,
    HELD_WHILE_IDLE,
    PREDICTION_ERROR,
    BATCHES,
    BATCH_ITEMS,
    BATCH_FILL,
    BATCH_PADDING,
    BATCH_WAIT,
    BATCHES_UNDONE,
    PARTS,
    PREFIX_TOKENS,
    PREFIX_REFUSED,
    PREFIX_PICKS,
    SPILLOVERS,
    PICK_REGRET,
    TTFT_PREDICTION,
    BACKEND_HEALTHY,
    BACKEND_WORTH,
    COMMITMENT_USED,
    COMMITMENT_LEFT,
    COMMITMENT_END,
    DOMAIN_IN_FLIGHT,
    DOMAIN_IN_SERVICE,
    DOMAIN_EJECTIONS,
    PEER_POLLS,
    PEER_PROMPTS,
    EJECTIONS,
    SLOW_EJECTIONS,
    BACKEND_BESIDE_PEERS,
    PROBES,
    POLLS,
    LOAD_REPORTS,
    KV_EVENTS,
    BACKEND_REPORT_AGE,
    UPSTREAM_CONNECTIONS,
    UPSTREAM_CONNECTS,
    STEP_SECONDS,
    STEP_PREDICTION,
    STEP_SEQUENCES,
    STEP_TOKENS,
    STEP_PREEMPTIONS,
    STEP_PREFIX_TOKENS,
    STEP_WAITING,
    STEP_KV_USE,
    EXECUTOR_FAILURES,
    CLIENT_CONNECTIONS,
    RELOADS,
    BUILD_INFO,
    PROCESS_CPU,
    PROCESS_MEMORY,
    PROCESS_FDS,
    PROCESS_MAX_FDS,
    PROCESS_START,
];

/// The reference `docs/metrics.md`, written from the catalogue.
#[must_use]
pub fn reference() -> String {
    let mut out = String::from(
        "# Metrics\n\nWritten from the catalogue in `crates/telemetry/src/catalog.rs` by `make docs`; `make test` holds \
         it to the code.\n\nWhat is removed (a backend, a model, a domain, a commitment, another gateway) leaves: its \
         gauges at once, its counters and histograms after two scrapes have seen their last value or after a minute. A gauge \
         with nothing to tell has no series; none is ever NaN.\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n",
    );
    for metric in ALL {
        let kind = match metric.kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram => "histogram",
        };
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        out.push_str(&format!("| `{}` | {kind} | {} | {} |\n", metric.name, labels.join(", "), metric.help));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_is_one_that_may_be_removed_or_has_a_fixed_set_of_values() {
        let fixed = [
            "core", "of", "outcome", "paid", "priority", "protocol", "reason", "route", "type", "unit",
            "version",
        ];
        for label in ALL.iter().flat_map(|metric| metric.labels) {
            assert!(
                REMOVABLE.contains(label) != fixed.contains(label),
                "{label}: a series of it may stay for ever"
            );
        }
    }

    #[test]
    fn names_are_unique_and_say_their_unit() {
        let mut names: Vec<_> = ALL.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            match metric.kind {
                Type::Counter => assert!(metric.name.ends_with("_total"), "{}", metric.name),
                Type::Histogram => {
                    let units = ["_seconds", "_ratio", "_items", "_tokens", "_sequences"];
                    let says = units.iter().any(|unit| metric.name.ends_with(unit));
                    assert!(says, "{}", metric.name);
                }
                Type::Gauge => {}
            }
            assert!(metric.buckets.is_sorted(), "{}", metric.name);
            assert_eq!(metric.buckets.is_empty(), metric.kind != Type::Histogram, "{}", metric.name);
        }
    }
}
