//! Which backends and domains are in service, and how that is found out.

use super::Metric;

/// Whether a backend is in service.
pub const BACKEND_HEALTHY: Metric =
    Metric::gauge_of("plimsoll_backend_healthy", &["backend"], "1 in service, 0.5 in probation, 0 ejected.");
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
