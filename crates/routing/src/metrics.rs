use std::sync::OnceLock;

use plimsoll_telemetry::{Counter, Gauge, catalog};
use plimsoll_types::BackendSpec;

use crate::BesidePeers;

/// Handles of one backend, made when it appears.
#[derive(Clone)]
pub(crate) struct BackendMetrics {
    pub(crate) ejections: Counter,
    pub(crate) slow_ejections: Counter,
    pub(crate) ok: Counter,
    pub(crate) refused: Counter,
    pub(crate) unreachable: Counter,
    pub(crate) failed: Counter,
    pub(crate) timeout: Counter,
    pub(crate) pushback: Counter,
    pub(crate) cancelled: Counter,
    /// Where money counts.
    pub(crate) worth: Option<Counter>,
    /// Where a commitment pays as long as something of it is left.
    pub(crate) worth_committed: Option<Counter>,
    in_flight: Gauge,
    queued_tokens: Gauge,
    expected_ttft: Gauge,
    healthy: Gauge,
    context: Gauge,
    /// Made where there is a line: a backend whose memory is not known has none.
    line: OnceLock<Gauge>,
    /// Made where there are peers.
    beside_ttft: OnceLock<Gauge>,
    beside_itl: OnceLock<Gauge>,
    backend: String,
    pub(crate) report_age: Gauge,
}

impl BackendMetrics {
    pub(crate) fn new(spec: &BackendSpec) -> Self {
        let (backend, prices) = (spec.name.as_str(), &spec.prices);
        let worth = |paid| catalog::BACKEND_WORTH.counter(&[backend, paid]);
        let attempts = |outcome| catalog::ATTEMPTS.counter(&[backend, outcome]);
        Self {
            ejections: catalog::EJECTIONS.counter(&[backend]),
            slow_ejections: catalog::SLOW_EJECTIONS.counter(&[backend]),
            ok: attempts("ok"),
            refused: attempts("refused"),
            unreachable: attempts("unreachable"),
            failed: attempts("failed"),
            timeout: attempts("timeout"),
            pushback: attempts("pushback"),
            cancelled: attempts("cancelled"),
            worth: prices.label().map(worth),
            worth_committed: spec.commitment.as_ref().map(|_| worth("committed")),
            in_flight: catalog::BACKEND_IN_FLIGHT.gauge(&[backend]),
            queued_tokens: catalog::BACKEND_QUEUED_TOKENS.gauge(&[backend]),
            expected_ttft: catalog::BACKEND_EXPECTED_TTFT.gauge(&[backend]),
            healthy: catalog::BACKEND_HEALTHY.gauge(&[backend]),
            context: catalog::BACKEND_CONTEXT.gauge(&[backend]),
            line: OnceLock::new(),
            beside_ttft: OnceLock::new(),
            beside_itl: OnceLock::new(),
            backend: backend.to_owned(),
            report_age: catalog::BACKEND_REPORT_AGE.gauge(&[backend]),
        }
    }

    /// How old a report is before there is one: not zero seconds.
    pub(crate) fn unreported(self) -> Self {
        self.report_age.set(f64::NAN);
        self
    }

    pub(crate) fn retire(&self) {
        let always = [
            &self.in_flight,
            &self.queued_tokens,
            &self.expected_ttft,
            &self.healthy,
            &self.context,
            &self.report_age,
        ];
        let perhaps = [&self.line, &self.beside_ttft, &self.beside_itl];
        for gauge in always.into_iter().chain(perhaps.into_iter().filter_map(OnceLock::get)) {
            gauge.set(f64::NAN);
        }
    }

    /// How slow it is beside its peers.
    pub(crate) fn observe_peers(&self, beside: BesidePeers) {
        let of = [("ttft", &self.beside_ttft, beside.ttft), ("itl", &self.beside_itl, beside.itl)];
        for (what, gauge, ratio) in of {
            let Some(ratio) = ratio.or(gauge.get().map(|_| f32::NAN)) else { continue };
            let gauge = gauge.get_or_init(|| catalog::BACKEND_BESIDE_PEERS.gauge(&[&self.backend, what]));
            gauge.set(f64::from(ratio));
        }
    }

    /// Tokens that memory holds and that it may hold.
    pub(crate) fn observe_line(&self, context: u64, line: Option<f64>) {
        self.context.set(context as f64);
        if let Some(line) = line {
            self.line.get_or_init(|| catalog::BACKEND_LINE.gauge(&[&self.backend])).set(line);
        }
    }

    pub(crate) fn observe(&self, in_flight: u32, queued_tokens: u64, expected_ttft: f32, healthy: f64) {
        self.in_flight.set(in_flight);
        self.queued_tokens.set(queued_tokens as f64);
        self.expected_ttft.set(f64::from(expected_ttft));
        self.healthy.set(healthy);
    }
}
