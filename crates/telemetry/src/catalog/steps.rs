//! Engines whose steps are planned here.

use super::{ITL_BUCKETS, Metric, RATIO_BUCKETS};

/// How long steps take.
pub const STEP_SECONDS: Metric = Metric::histogram_of(
    "plimsoll_step_seconds",
    &["backend"],
    ITL_BUCKETS,
    "How long a step of an engine that computes steps took.",
);
/// How right the step-time model was.
pub const STEP_PREDICTION: Metric = Metric::histogram_of(
    "plimsoll_step_prediction_ratio",
    &["backend"],
    RATIO_BUCKETS,
    "How long a step took over what its step times say; only where these are known.",
);
/// Sequences of a step.
pub const STEP_SEQUENCES: Metric = Metric::histogram_of(
    "plimsoll_step_sequences",
    &["backend"],
    &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0],
    "Sequences computed in a step: those that decode and those of which a piece is read.",
);
/// Tokens of a step.
pub const STEP_TOKENS: Metric = Metric::histogram_of(
    "plimsoll_step_tokens",
    &["backend"],
    &[1.0, 4.0, 16.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0],
    "Tokens computed in a step.",
);
/// Sequences that lost their memory.
pub const STEP_PREEMPTIONS: Metric = Metric::counter_of(
    "plimsoll_step_preemptions_total",
    &["backend"],
    "Sequences that gave their memory to others and are computed anew later.",
);
/// Prompt tokens that were there.
pub const STEP_PREFIX_TOKENS: Metric = Metric::counter_of(
    "plimsoll_step_prefix_tokens_total",
    &["backend"],
    "Prompt tokens that did not have to be computed because another prompt began alike.",
);
/// Sequences that wait for a step.
pub const STEP_WAITING: Metric = Metric::gauge_of(
    "plimsoll_step_waiting",
    &["backend"],
    "Sequences that wait to be let into the steps of an engine.",
);
/// Memory in use.
pub const STEP_KV_USE: Metric = Metric::gauge_of(
    "plimsoll_step_kv_use_ratio",
    &["backend"],
    "Share of an engine's memory for keys and values that is held.",
);
/// Executors that failed.
pub const EXECUTOR_FAILURES: Metric = Metric::counter_of(
    "plimsoll_executor_failures_total",
    &["backend"],
    "Times that an executor could not be loaded, or was lost with all that it was working on.",
);
