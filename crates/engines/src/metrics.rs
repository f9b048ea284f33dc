use plimsoll_telemetry::{Counter, Gauge, catalog};

/// Handles of one backend's connections.
#[derive(Clone)]
pub(crate) struct ConnectionMetrics {
    pub(crate) open: Gauge,
    pub(crate) connected: Counter,
    pub(crate) failed: Counter,
}

impl ConnectionMetrics {
    pub(crate) fn new(backend: &str) -> Self {
        let open = catalog::UPSTREAM_CONNECTIONS.gauge(&[backend]);
        open.increment(0.0);
        Self {
            open,
            connected: catalog::UPSTREAM_CONNECTS.counter(&[backend, "ok"]),
            failed: catalog::UPSTREAM_CONNECTS.counter(&[backend, "failed"]),
        }
    }
}

/// Counts an open connection for as long as it lives.
pub(crate) struct OpenConnection(Gauge);

impl OpenConnection {
    pub(crate) fn count(metrics: &ConnectionMetrics) -> Self {
        metrics.connected.increment(1);
        metrics.open.increment(1.0);
        Self(metrics.open.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
