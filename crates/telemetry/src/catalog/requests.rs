//! Requests: what came, how long it took, what became of it.

use super::{DURATION_BUCKETS, ITL_BUCKETS, Metric, OVERHEAD_BUCKETS, TTFT_BUCKETS};

/// Requests by what became of them.
pub const REQUESTS: Metric = Metric::counter_of(
    "plimsoll_requests_total",
    &["route", "model", "outcome", "protocol"],
    "Requests by route, model, outcome (ok, client_error, backend_error, timeout, cancelled) and protocol (http, grpc).",
);
/// Requests that never reached a backend.
pub const REFUSALS: Metric = Metric::counter_of(
    "plimsoll_refusals_total",
    &["reason"],
    "Requests refused before a backend was picked, by reason.",
);
/// Requests being served.
pub const IN_FLIGHT: Metric =
    Metric::gauge_of("plimsoll_requests_in_flight", &["model"], "Requests being served.");
/// Time to first token.
pub const TTFT: Metric = Metric::histogram_of(
    "plimsoll_ttft_seconds",
    &["model"],
    TTFT_BUCKETS,
    "From the arrival of a streamed request to its first content, reasoning or tool delta.",
);
/// Gap between tokens.
pub const ITL: Metric = Metric::histogram_of(
    "plimsoll_itl_seconds",
    &["model"],
    ITL_BUCKETS,
    "Gap between two events with tokens, where the client was waiting for the backend.",
);
/// Whole requests.
pub const DURATION: Metric = Metric::histogram_of(
    "plimsoll_request_duration_seconds",
    &["route", "model"],
    DURATION_BUCKETS,
    "From the arrival of a request to the end of its answer.",
);
/// What the gateway adds.
pub const OVERHEAD: Metric = Metric::histogram_of(
    "plimsoll_overhead_seconds",
    &["model"],
    OVERHEAD_BUCKETS,
    "From the arrival of a request to its dispatch: what the gateway itself adds before the backend.",
);
/// Tokens by type.
pub const TOKENS: Metric = Metric::counter_of(
    "plimsoll_tokens_total",
    &["model", "type"],
    "Tokens as backends report them: input, output, and cached (a part of input).",
);
/// Attempts and how they ended.
pub const ATTEMPTS: Metric = Metric::counter_of(
    "plimsoll_attempts_total",
    &["backend", "outcome"],
    "Attempts by backend and outcome (ok, refused, unreachable, failed, timeout, pushback, cancelled).",
);
/// Second tries.
pub const RETRIES: Metric = Metric::counter_of(
    "plimsoll_retries_total",
    &["model", "reason"],
    "Attempts made after another had failed, by why it failed (unreachable is free of the retry budget).",
);
/// Second tries that the budget did not allow.
pub const RETRIES_DENIED: Metric = Metric::counter_of(
    "plimsoll_retries_denied_total",
    &["model"],
    "Failed attempts that were not tried again because the retry budget was spent.",
);
/// Streams that broke.
pub const BROKEN_STREAMS: Metric = Metric::counter_of(
    "plimsoll_broken_streams_total",
    &["model"],
    "Streams that ended with an error event after their first token.",
);
/// Streams that were to go on elsewhere.
pub const CONTINUATIONS: Metric = Metric::counter_of(
    "plimsoll_continuations_total",
    &["model", "outcome"],
    "Streams whose backend was lost after their first token and whose rest was asked for at another, by whether that one \
     went on (continued) or none did (failed).",
);
