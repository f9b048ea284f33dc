//! Requests that share a call, and those that are too large for one.

use super::{Metric, OVERHEAD_BUCKETS};

/// Calls that several requests could share.
pub const BATCHES: Metric = Metric::counter_of(
    "plimsoll_batches_total",
    &["backend", "reason"],
    "Calls of requests that may be joined, by why they left (idle, returned, full, waited, deadline).",
);
/// Texts of such a call.
pub const BATCH_ITEMS: Metric = Metric::histogram_of(
    "plimsoll_batch_items",
    &["backend"],
    &[1.0, 2.0, 4.0, 8.0, 16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 128.0, 256.0, 512.0, 1_024.0],
    "Texts of such a call.",
);
/// How full it was.
pub const BATCH_FILL: Metric = Metric::histogram_of(
    "plimsoll_batch_fill_ratio",
    &["backend"],
    &[0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
    "Share of its budget of texts or tokens that such a call took, the larger of the two.",
);
/// How much of it was padding.
pub const BATCH_PADDING: Metric = Metric::histogram_of(
    "plimsoll_batch_padding_ratio",
    &["backend"],
    &[0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9],
    "Share of the tokens of such a call that is padding, for an engine that makes all texts as long as the longest.",
);
/// How long a request waited for others.
pub const BATCH_WAIT: Metric = Metric::histogram_of(
    "plimsoll_batch_wait_seconds",
    &["backend"],
    OVERHEAD_BUCKETS,
    "How long a request waited to leave with others; only of those that waited.",
);
/// Joined calls that were undone.
pub const BATCHES_UNDONE: Metric = Metric::counter_of(
    "plimsoll_batches_undone_total",
    &["backend"],
    "Joined calls that the backend refused or whose answer could not be divided, after which each request was sent alone.",
);
/// Parts of large requests.
pub const PARTS: Metric = Metric::counter_of(
    "plimsoll_request_parts_total",
    &["model"],
    "Parts in which requests went that have more texts or tokens than one call may hold.",
);
