//! The names by which engines say how loaded they are. A new engine is one entry.

use std::time::Duration;

/// An engine's names; where versions differ, the newer one first.
pub(super) struct Engine {
    pub(super) name: &'static str,
    pub(super) waiting: &'static [&'static str],
    pub(super) running: &'static [&'static str],
    pub(super) kv_used: &'static [&'static str],
    /// The least time between two questions, where asking disturbs it.
    pub(super) rest: Duration,
}

/// Who may be asked at any time.
const NONE: Duration = Duration::ZERO;

/// All engines, the more telling of those first that one process may speak for at once.
pub(super) const ENGINES: &[Engine] = &[
    Engine {
        name: "vllm",
        waiting: &["vllm:num_requests_waiting"],
        running: &["vllm:num_requests_running"],
        kv_used: &["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"],
        rest: NONE,
    },
    Engine {
        name: "sglang",
        waiting: &["sglang:num_queue_reqs"],
        running: &["sglang:num_running_reqs"],
        kv_used: &["sglang:token_usage"],
        rest: NONE,
    },
    Engine {
        name: "trtllm",
        waiting: &["trtllm_num_requests_waiting"],
        running: &["trtllm_num_requests_running"],
        kv_used: &["trtllm_kv_cache_utilization"],
        rest: NONE,
    },
    Engine {
        name: "triton",
        waiting: &["nv_trt_llm_request_metrics{request_type=waiting}", "nv_inference_pending_request_count"],
        running: &["nv_trt_llm_request_metrics{request_type=scheduled}"],
        kv_used: &["nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=fraction}"],
        rest: NONE,
    },
    Engine {
        name: "tgi",
        waiting: &["tgi_queue_size"],
        running: &["tgi_batch_current_size"],
        kv_used: &["tgi_batch_current_max_tokens/tgi_batch_max_total_tokens"],
        rest: NONE,
    },
    Engine {
        name: "llamacpp",
        waiting: &["llamacpp:requests_deferred"],
        running: &["llamacpp:requests_processing"],
        kv_used: &["llamacpp:kv_cache_usage_ratio"],
        // Its server notices that a client of a plain request has left only after a second in which no request of any kind
        // ended there, and a question for metrics is one.
        rest: Duration::from_secs(5),
    },
    Engine {
        name: "plimsoll",
        waiting: &[],
        running: &["plimsoll_requests_in_flight"],
        kv_used: &[],
        rest: NONE,
    },
];

/// Names that reports on answers have in the place of those among metrics.
pub(super) const SHORT: &[(&str, &str)] = &[
    ("num_requests_waiting", "vllm:num_requests_waiting"),
    ("num_requests_running", "vllm:num_requests_running"),
    ("kv_cache_usage_perc", "vllm:kv_cache_usage_perc"),
];
