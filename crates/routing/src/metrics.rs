use plimsoll_telemetry::{Counter, Gauge, catalog};
use plimsoll_types::BackendSpec;

use crate::BesidePeers;
use crate::capacity::Capacity;

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
    prompts: Gauge,
    seats: Gauge,
    context: Gauge,
    line: Gauge,
    beside_ttft: Gauge,
    beside_itl: Gauge,
    report_age: Gauge,
}

impl BackendMetrics {
    pub(crate) fn new(spec: &BackendSpec) -> Self {
        let (backend, prices) = (spec.name.as_str(), &spec.prices);
        let worth = |paid| catalog::BACKEND_WORTH.counter(&[backend, paid]);
        let beside = |of| catalog::BACKEND_BESIDE_PEERS.gauge(&[backend, of]);
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
            prompts: catalog::BACKEND_PROMPTS.gauge(&[backend]),
            seats: catalog::BACKEND_SEATS.gauge(&[backend]),
            context: catalog::BACKEND_CONTEXT.gauge(&[backend]),
            line: catalog::BACKEND_LINE.gauge(&[backend]),
            beside_ttft: beside("ttft"),
            beside_itl: beside("itl"),
            report_age: catalog::BACKEND_REPORT_AGE.gauge(&[backend]),
        }
    }

    /// How slow it is beside its peers, where that is known.
    pub(crate) fn observe_peers(&self, beside: BesidePeers) {
        self.beside_ttft.set(known(beside.ttft));
        self.beside_itl.set(known(beside.itl));
    }

    /// Tokens that memory holds, and those that it may hold where that is known.
    pub(crate) fn observe_line(&self, context: u64, line: Option<f32>) {
        self.context.set(context as f64);
        self.line.set(known(line));
    }

    /// Seconds since it last said how loaded it is, if it ever did.
    pub(crate) fn observe_report(&self, age: Option<f32>) {
        self.report_age.set(known(age));
    }

    /// How much it is observed to take at a time.
    pub(crate) fn observe_capacity(&self, capacity: &Capacity) {
        self.prompts.set(f64::from(capacity.prompts()));
        self.seats.set(capacity.seats().map_or(NOTHING, f64::from));
    }

    pub(crate) fn observe(&self, in_flight: u32, queued_tokens: u64, expected_ttft: f32, healthy: f64) {
        self.in_flight.set(in_flight);
        self.queued_tokens.set(queued_tokens as f64);
        self.expected_ttft.set(f64::from(expected_ttft));
        self.healthy.set(healthy);
    }
}

/// Handles of one domain, made when it appears.
#[derive(Debug)]
pub(crate) struct DomainMetrics {
    pub(crate) in_flight: Gauge,
    pub(crate) in_service: Gauge,
}

impl DomainMetrics {
    pub(crate) fn new(domain: &str) -> Self {
        Self {
            in_flight: catalog::DOMAIN_IN_FLIGHT.gauge(&[domain]),
            in_service: catalog::DOMAIN_IN_SERVICE.gauge(&[domain]),
        }
    }
}

/// Handles of one commitment, made when it appears.
#[derive(Debug)]
pub(crate) struct CommitmentMetrics {
    units: [UnitMetrics; 2],
    end: Gauge,
}

/// Handles of one commitment in one unit.
#[derive(Debug)]
struct UnitMetrics {
    unit: &'static str,
    used: Gauge,
    left: Gauge,
}

impl CommitmentMetrics {
    pub(crate) fn new(commitment: &str) -> Self {
        let of = |unit| UnitMetrics {
            unit,
            used: catalog::COMMITMENT_USED.gauge(&[commitment, unit]),
            left: catalog::COMMITMENT_LEFT.gauge(&[commitment, unit]),
        };
        Self { units: ["dollars", "tokens"].map(of), end: catalog::COMMITMENT_END.gauge(&[commitment]) }
    }

    /// Sets all of them: the unit and the end may have changed with the configuration.
    pub(crate) fn observe(&self, unit: &str, size: f64, used: f64, end: Option<u64>) {
        for gauges in &self.units {
            let counts = gauges.unit == unit;
            gauges.used.set(if counts { used } else { NOTHING });
            gauges.left.set(if counts { (size - used).max(0.0) } else { NOTHING });
        }
        self.end.set(end.map_or(NOTHING, |end| end as f64));
    }
}

/// A gauge that is set to this has no series.
const NOTHING: f64 = f64::NAN;

fn known(value: Option<f32>) -> f64 {
    value.map_or(NOTHING, f64::from)
}
