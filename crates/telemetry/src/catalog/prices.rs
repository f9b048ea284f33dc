//! What the use of backends is worth, and what is left of commitments.

use super::Metric;

/// What the use of a backend was worth.
pub const BACKEND_WORTH: Metric = Metric::counter_of(
    "plimsoll_backend_worth_microdollars_total",
    &["backend", "paid"],
    "What requests took of a backend, at its prices, in millionths of a US dollar: of hours that are committed, of hours on \
     demand, or by tokens.",
);
/// What was used of a commitment.
pub const COMMITMENT_USED: Metric = Metric::gauge_of(
    "plimsoll_commitment_used",
    &["commitment", "unit"],
    "What has been used of a commitment, in dollars or tokens, as far as this gateway knows.",
);
/// What is left of a commitment.
pub const COMMITMENT_LEFT: Metric = Metric::gauge_of(
    "plimsoll_commitment_left",
    &["commitment", "unit"],
    "What is left of a commitment, in dollars or tokens.",
);
/// When a commitment ends.
pub const COMMITMENT_END: Metric = Metric::gauge_of(
    "plimsoll_commitment_end_timestamp_seconds",
    &["commitment"],
    "When a commitment ends, in seconds since 1970; no sample where it has no end.",
);
