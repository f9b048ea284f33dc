//! Every metric: name, labels, buckets. Nothing is recorded under a name that is not here.

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
    pub fn counter(&self, values: &[&str]) -> Counter {
        debug_assert_eq!(self.kind, Type::Counter, "{}", self.name);
        metrics::with_recorder(|recorder| recorder.register_counter(&self.key(values), &METADATA))
    }

    /// A handle of this gauge for these label values.
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

/// Time to first token: vLLM's bounds up to 160 s, which begin like those of OpenTelemetry's GenAI conventions.
pub const TTFT_BUCKETS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0,
];
/// Gap between tokens: down to 1 ms, since a GB200 writes one each 3 to 10 ms.
pub const ITL_BUCKETS: &[f64] = &[
    0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.4,
    0.8, 1.6, 3.2,
];
/// Whole requests.
pub const DURATION_BUCKETS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0,
    50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0,
];
/// What was over what was expected.
pub const RATIO_BUCKETS: &[f64] = &[0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0];
/// What the gateway itself adds.
pub const OVERHEAD_BUCKETS: &[f64] =
    &[1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.05, 0.1];

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
/// Picks.
pub const PICKS: Metric = Metric::counter_of(
    "plimsoll_picks_total",
    &["model", "policy", "cloud", "region", "backend"],
    "Backends picked, by policy and place.",
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
/// What routing expects of a backend.
pub const BACKEND_EXPECTED_TTFT: Metric = Metric::gauge_of(
    "plimsoll_backend_expected_ttft_seconds",
    &["backend"],
    "Expected time to first token of a 1,000-token prompt sent to a backend now.",
);
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
/// Requests that the queue turned away.
pub const QUEUE_REFUSALS: Metric = Metric::counter_of(
    "plimsoll_queue_refusals_total",
    &["model"],
    "Requests refused because they would have waited, or did wait, longer than they may, or because the queue was full.",
);
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
/// What was cached of prompts, as routing thought.
pub const PREFIX_TOKENS: Metric = Metric::counter_of(
    "plimsoll_prefix_tokens_total",
    &["model"],
    "Prompt tokens that the picked backend was expected to have cached (estimated).",
);
/// Blocks that nobody could remember.
pub const PREFIX_REFUSED: Metric = Metric::counter_of(
    "plimsoll_prefix_refused_blocks_total",
    &[],
    "Blocks of prompts that were not remembered, since `routing.prefix_blocks` was reached: if this grows, that is too small for \
     the fleet.",
);
/// Whether picks follow caches.
pub const PREFIX_PICKS: Metric = Metric::counter_of(
    "plimsoll_prefix_picks_total",
    &["model", "outcome"],
    "Picks by where the prompt is cached: as much at the picked backend as anywhere (hit), more at another (elsewhere), \
     nothing anywhere (nowhere); as far as routing knows.",
);
/// Picks far away.
pub const SPILLOVERS: Metric = Metric::counter_of(
    "plimsoll_spillovers_total",
    &["model"],
    "Picks in another region than the one with the shortest way.",
);
/// What picks cost beyond the cheapest.
pub const PICK_REGRET: Metric = Metric::histogram_of(
    "plimsoll_pick_regret_seconds",
    &["model", "policy"],
    &[0.0001, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0],
    "What the picked backend was expected to cost beyond the cheapest candidate, by the cost of `expected_cost`; of one \
     pick in 64.",
);
/// How right routing was.
pub const TTFT_PREDICTION: Metric = Metric::histogram_of(
    "plimsoll_ttft_prediction_ratio",
    &["model"],
    RATIO_BUCKETS,
    "Time to first token of an attempt over what was expected when its backend was picked.",
);
/// Whether a backend is in service.
pub const BACKEND_HEALTHY: Metric =
    Metric::gauge_of("plimsoll_backend_healthy", &["backend"], "1 in service, 0.5 in probation, 0 ejected.");
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
/// Requests at all backends of a domain.
pub const DOMAIN_IN_FLIGHT: Metric = Metric::gauge_of(
    "plimsoll_domain_in_flight",
    &["domain"],
    "Requests at the backends of a cloud, region, zone or rack.",
);
/// The share of a domain's backends that are in service.
pub const DOMAIN_IN_SERVICE: Metric = Metric::gauge_of(
    "plimsoll_domain_in_service_ratio",
    &["domain"],
    "Share of the backends of a cloud, region, zone or rack that are in service; 0 where it is drained.",
);
/// Domains that failed as one.
pub const DOMAIN_EJECTIONS: Metric = Metric::counter_of(
    "plimsoll_domain_ejections_total",
    &["domain"],
    "Times that a cloud, region, zone or rack was taken out of service, because most of it was out.",
);
/// Questions to other gateways.
pub const PEER_POLLS: Metric = Metric::counter_of(
    "plimsoll_peer_polls_total",
    &["gateway", "outcome"],
    "Questions to other gateways for what they have sent where, by outcome (ok; self: it is this one; failed).",
);
/// Prompts of other gateways.
pub const PEER_PROMPTS: Metric = Metric::counter_of(
    "plimsoll_peer_prompts_total",
    &["gateway"],
    "Prompts of which another gateway told that it had sent them, and where.",
);
/// Ejections.
pub const EJECTIONS: Metric = Metric::counter_of(
    "plimsoll_ejections_total",
    &["backend"],
    "Times that a backend was taken out of service: it failed in a row, with its domain, or a probe found it dead.",
);
/// Times that a backend was taken out for being slow.
pub const SLOW_EJECTIONS: Metric = Metric::counter_of(
    "plimsoll_slow_ejections_total",
    &["backend"],
    "Times that a backend was taken out of service because it was slow beside its peers; part of \
     `plimsoll_ejections_total`.",
);
/// How slow a backend is beside its peers.
pub const BACKEND_BESIDE_PEERS: Metric = Metric::gauge_of(
    "plimsoll_backend_beside_peers_ratio",
    &["backend", "of"],
    "How many times as long as in the median of its peers something takes (ttft, itl), beside what was predicted of each.",
);
/// Probes.
pub const PROBES: Metric = Metric::counter_of(
    "plimsoll_probes_total",
    &["backend", "outcome"],
    "Probes of a backend, by outcome (alive, refused, failed, silent).",
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
/// Connections to backends.
pub const UPSTREAM_CONNECTIONS: Metric =
    Metric::gauge_of("plimsoll_upstream_connections", &["backend"], "Open connections to a backend.");
/// Connections made.
pub const UPSTREAM_CONNECTS: Metric = Metric::counter_of(
    "plimsoll_upstream_connects_total",
    &["backend", "outcome"],
    "Connections made to a backend, by outcome (ok, failed).",
);
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
/// Connections of clients.
pub const CLIENT_CONNECTIONS: Metric =
    Metric::gauge_of("plimsoll_client_connections", &["core"], "Open client connections of a core.");
/// Configuration reloads.
pub const RELOADS: Metric = Metric::counter_of(
    "plimsoll_config_reloads_total",
    &["outcome"],
    "Configuration reloads, by outcome (applied, refused).",
);
/// Build information.
pub const BUILD_INFO: Metric =
    Metric::gauge_of("plimsoll_build_info", &["version"], "Always 1; the label says what runs.");
/// CPU time.
pub const PROCESS_CPU: Metric =
    Metric::gauge_of("process_cpu_seconds_total", &[], "CPU time of the process, user and system.");
/// Resident memory.
pub const PROCESS_MEMORY: Metric =
    Metric::gauge_of("process_resident_memory_bytes", &[], "Resident memory of the process.");
/// Open file descriptors.
pub const PROCESS_FDS: Metric = Metric::gauge_of("process_open_fds", &[], "Open file descriptors.");
/// Limit of file descriptors.
pub const PROCESS_MAX_FDS: Metric =
    Metric::gauge_of("process_max_fds", &[], "File descriptors that the process may open.");
/// When the process began.
pub const PROCESS_START: Metric =
    Metric::gauge_of("process_start_time_seconds", &[], "When the process began, in seconds of Unix time.");

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
    BACKEND_EXPECTED_TTFT,
    QUEUE_LENGTH,
    QUEUE_WAIT,
    QUEUE_LATE,
    QUEUE_REFUSALS,
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
         it to the code.\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n",
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
