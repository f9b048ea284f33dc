//! How loaded backends are: as counted here, and as they say themselves.

use super::Metric;

/// Requests at a backend.
pub const BACKEND_IN_FLIGHT: Metric =
    Metric::gauge_of("plimsoll_backend_in_flight", &["backend"], "Requests at a backend.");
/// Prompt tokens at a backend that wait for their first token.
pub const BACKEND_QUEUED_TOKENS: Metric = Metric::gauge_of(
    "plimsoll_backend_queued_tokens",
    &["backend"],
    "Prompt tokens of streams dispatched to a backend whose first token has not come yet (estimated).",
);
/// What a backend's memory is taken to hold.
pub const BACKEND_CONTEXT: Metric = Metric::gauge_of(
    "plimsoll_backend_context_tokens",
    &["backend"],
    "Tokens of prompts and expected answers of all that is in flight at a backend (estimated).",
);
/// What it may hold.
pub const BACKEND_LINE: Metric = Metric::gauge_of(
    "plimsoll_backend_line_tokens",
    &["backend"],
    "The line of a backend: how large plimsoll_backend_context_tokens may get before requests wait. Only where its memory is known.",
);
/// Prompts that it reads at a time.
pub const BACKEND_PROMPTS: Metric = Metric::gauge_of(
    "plimsoll_backend_line",
    &["backend"],
    "The line of a backend in prompts: how many it is observed to read at a time. Requests wait beyond that.",
);
/// Requests that it runs at a time.
pub const BACKEND_SEATS: Metric = Metric::gauge_of(
    "plimsoll_backend_seats",
    &["backend"],
    "The most requests that a backend was observed to run while others waited there. Only where that was observed lately.",
);
/// What routing expects of a backend.
pub const BACKEND_EXPECTED_TTFT: Metric = Metric::gauge_of(
    "plimsoll_backend_expected_ttft_seconds",
    &["backend"],
    "Expected time to first token of a 1,000-token prompt sent to a backend now.",
);
/// Questions for load.
pub const POLLS: Metric = Metric::counter_of(
    "plimsoll_polls_total",
    &["backend", "outcome"],
    "Times that a backend was asked how loaded it is, by outcome (ok, unknown, none, failed), or was not, since its answers \
     had said it (spared).",
);
/// What backends said of their load along with answers.
pub const LOAD_REPORTS: Metric = Metric::counter_of(
    "plimsoll_load_reports_total",
    &["backend", "outcome"],
    "Reports of load that came along with answers of a backend (ORCA), by outcome: ok, unknown (nothing in it is known) or \
     malformed.",
);
/// What backends told of their caches.
pub const KV_EVENTS: Metric = Metric::counter_of(
    "plimsoll_kv_event_batches_total",
    &["backend", "outcome"],
    "Batches of KV events of a backend, by outcome: taken, lost (some before could not be had, and its cache counts as empty) \
     or malformed.",
);
/// Age of what a backend said of its load.
pub const BACKEND_REPORT_AGE: Metric = Metric::gauge_of(
    "plimsoll_backend_report_age_seconds",
    &["backend"],
    "Time since a backend last said how loaded it is; without a sample or old, own counts stand alone.",
);
