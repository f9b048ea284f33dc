use plimsoll_telemetry::{Counter, Gauge, catalog};
use plimsoll_types::Prices;

/// Handles of one backend, made when it appears.
#[derive(Clone)]
pub(crate) struct BackendMetrics {
    pub(crate) ejections: Counter,
    pub(crate) ok: Counter,
    pub(crate) refused: Counter,
    pub(crate) unreachable: Counter,
    pub(crate) failed: Counter,
    pub(crate) timeout: Counter,
    pub(crate) pushback: Counter,
    pub(crate) cancelled: Counter,
    /// Where money counts.
    pub(crate) worth: Option<Counter>,
    in_flight: Gauge,
    queued_tokens: Gauge,
    expected_ttft: Gauge,
    healthy: Gauge,
    pub(crate) report_age: Gauge,
}

impl BackendMetrics {
    pub(crate) fn new(backend: &str, prices: &Prices) -> Self {
        let attempts = |outcome| catalog::ATTEMPTS.counter(&[backend, outcome]);
        Self {
            ejections: catalog::EJECTIONS.counter(&[backend]),
            ok: attempts("ok"),
            refused: attempts("refused"),
            unreachable: attempts("unreachable"),
            failed: attempts("failed"),
            timeout: attempts("timeout"),
            pushback: attempts("pushback"),
            cancelled: attempts("cancelled"),
            worth: prices.label().map(|paid| catalog::BACKEND_WORTH.counter(&[backend, paid])),
            in_flight: catalog::BACKEND_IN_FLIGHT.gauge(&[backend]),
            queued_tokens: catalog::BACKEND_QUEUED_TOKENS.gauge(&[backend]),
            expected_ttft: catalog::BACKEND_EXPECTED_TTFT.gauge(&[backend]),
            healthy: catalog::BACKEND_HEALTHY.gauge(&[backend]),
            report_age: catalog::BACKEND_REPORT_AGE.gauge(&[backend]),
        }
    }

    /// How old a report is before there is one: not zero seconds.
    pub(crate) fn unreported(self) -> Self {
        self.report_age.set(f64::NAN);
        self
    }

    pub(crate) fn retire(&self) {
        let gauges =
            [&self.in_flight, &self.queued_tokens, &self.expected_ttft, &self.healthy, &self.report_age];
        for gauge in gauges {
            gauge.set(f64::NAN);
        }
    }

    pub(crate) fn observe(&self, in_flight: u32, queued_tokens: u64, expected_ttft: f32, healthy: f64) {
        self.in_flight.set(in_flight);
        self.queued_tokens.set(queued_tokens as f64);
        self.expected_ttft.set(f64::from(expected_ttft));
        self.healthy.set(healthy);
    }
}
