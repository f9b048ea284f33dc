//! The gateway itself: its connections, its peers, its configuration, its process.

use super::Metric;

/// Connections of clients.
pub const CLIENT_CONNECTIONS: Metric =
    Metric::gauge_of("plimsoll_client_connections", &["core"], "Open client connections of a core.");
/// Connections to backends.
pub const UPSTREAM_CONNECTIONS: Metric =
    Metric::gauge_of("plimsoll_upstream_connections", &["backend"], "Open connections to a backend.");
/// Connections made.
pub const UPSTREAM_CONNECTS: Metric = Metric::counter_of(
    "plimsoll_upstream_connects_total",
    &["backend", "outcome"],
    "Connections made to a backend, by outcome (ok, failed).",
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
