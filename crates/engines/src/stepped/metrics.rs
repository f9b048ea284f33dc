use plimsoll_telemetry::{Counter, Gauge, Histogram, catalog};

/// Handles of one engine's steps.
pub(super) struct StepMetrics {
    pub(super) seconds: Histogram,
    pub(super) prediction: Histogram,
    pub(super) sequences: Histogram,
    pub(super) tokens: Histogram,
    pub(super) preemptions: Counter,
    pub(super) prefix_tokens: Counter,
    pub(super) failures: Counter,
    pub(super) waiting: Gauge,
    pub(super) kv_use: Gauge,
}

impl StepMetrics {
    pub(super) fn new(backend: &str) -> Self {
        Self {
            seconds: catalog::STEP_SECONDS.histogram(&[backend]),
            prediction: catalog::STEP_PREDICTION.histogram(&[backend]),
            sequences: catalog::STEP_SEQUENCES.histogram(&[backend]),
            tokens: catalog::STEP_TOKENS.histogram(&[backend]),
            preemptions: catalog::STEP_PREEMPTIONS.counter(&[backend]),
            prefix_tokens: catalog::STEP_PREFIX_TOKENS.counter(&[backend]),
            failures: catalog::EXECUTOR_FAILURES.counter(&[backend]),
            waiting: catalog::STEP_WAITING.gauge(&[backend]),
            kv_use: catalog::STEP_KV_USE.gauge(&[backend]),
        }
    }
}
