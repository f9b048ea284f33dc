//! Requests that wait for room at a backend.

use super::{Metric, TTFT_BUCKETS};

/// Requests that are held.
pub const QUEUE_LENGTH: Metric = Metric::gauge_of(
    "plimsoll_queue_requests",
    &["model", "priority"],
    "Requests that wait because every backend of their model is at its line.",
);
/// How long requests were held.
pub const QUEUE_WAIT: Metric = Metric::histogram_of(
    "plimsoll_queue_wait_seconds",
    &["model", "priority"],
    TTFT_BUCKETS,
    "How long a request waited because every backend was at its line; only of those that waited.",
);
/// What overtaking costs those who are overtaken.
pub const QUEUE_LATE: Metric = Metric::histogram_of(
    "plimsoll_queue_late_seconds",
    &["model"],
    TTFT_BUCKETS,
    "How much later a request left the queue than its tenant's requests of its priority would have in the order of arrival.",
);
/// What should be nothing.
pub const HELD_WHILE_IDLE: Metric = Metric::counter_of(
    "plimsoll_held_while_idle_seconds_total",
    &["model"],
    "Seconds for which a request waited in the queue though a backend that may serve it had nothing in flight. It should not rise.",
);
/// How far predictions are off.
pub const PREDICTION_ERROR: Metric = Metric::gauge_of(
    "plimsoll_prediction_error_ratio",
    &["model", "of"],
    "Measured over predicted time in the mean of the last ones, of answers (answer) and of waits in the queue (wait); 1 is exact. \
     Beyond 3, or below a third, for a dozen in a row, what was observed stands in for the prediction.",
);
/// Requests that the queue turned away.
pub const QUEUE_REFUSALS: Metric = Metric::counter_of(
    "plimsoll_queue_refusals_total",
    &["model"],
    "Requests refused because they would have waited, or did wait, longer than they may, or because the queue was full.",
);
