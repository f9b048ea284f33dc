use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use plimsoll_telemetry::{Counter, Gauge, Histogram, catalog};
use plimsoll_types::{Kind, Priority, Protocol};

/// Handles of one model, made when its pool appears.
pub(crate) struct ModelMetrics {
    model: String,
    pub(crate) in_flight: Gauge,
    pub(crate) ttft: Histogram,
    pub(crate) itl: Histogram,
    pub(crate) overhead: Histogram,
    /// How much later than in the order of arrival requests left the queue.
    pub(crate) late: Histogram,
    /// Requests that would have waited in vain.
    pub(crate) in_vain: Counter,
    /// Parts of requests that were too large for one call.
    pub(crate) parts: Counter,
    /// By priority, made when the first request waits: most pools have one priority, or never a queue.
    queues: [OnceLock<QueueMetrics>; Priority::ALL.len()],
    pub(crate) input: Counter,
    pub(crate) output: Counter,
    pub(crate) cached: Counter,
    pub(crate) retries_denied: Counter,
    pub(crate) broken_streams: Counter,
    /// How far predictions of answers and waits are off.
    answer_error: Gauge,
    wait_error: Gauge,
    held_while_idle: Counter,
    idle_nanos: AtomicU64,
    /// By protocol and route, made at the first request: most models are asked by one route only.
    routes: [[OnceLock<RouteMetrics>; Kind::ALL.len()]; Protocol::ALL.len()],
}

/// Handles of the requests of one priority that wait for one model.
pub(crate) struct QueueMetrics {
    pub(crate) waiting: Gauge,
    pub(crate) wait: Histogram,
}

/// Handles of one model, route and protocol.
pub(crate) struct RouteMetrics {
    pub(crate) ok: Counter,
    pub(crate) client_error: Counter,
    pub(crate) backend_error: Counter,
    pub(crate) timeout: Counter,
    pub(crate) cancelled: Counter,
    pub(crate) duration: Histogram,
}

impl ModelMetrics {
    pub(crate) fn new(model: &str) -> Self {
        let tokens = |kind| catalog::TOKENS.counter(&[model, kind]);
        // Said now, so that the first request or second try is an increase and not a new series.
        for reason in crate::attempt::RETRY_REASONS {
            catalog::RETRIES.counter(&[model, reason]).increment(0);
        }
        let in_flight = catalog::IN_FLIGHT.gauge(&[model]);
        in_flight.increment(0.0);
        Self {
            model: model.to_owned(),
            in_flight,
            ttft: catalog::TTFT.histogram(&[model]),
            itl: catalog::ITL.histogram(&[model]),
            overhead: catalog::OVERHEAD.histogram(&[model]),
            late: catalog::QUEUE_LATE.histogram(&[model]),
            in_vain: catalog::QUEUE_REFUSALS.counter(&[model]),
            parts: catalog::PARTS.counter(&[model]),
            queues: [const { OnceLock::new() }; Priority::ALL.len()],
            input: tokens("input"),
            output: tokens("output"),
            cached: tokens("cached"),
            retries_denied: catalog::RETRIES_DENIED.counter(&[model]),
            broken_streams: catalog::BROKEN_STREAMS.counter(&[model]),
            answer_error: catalog::PREDICTION_ERROR.gauge(&[model, "answer"]),
            wait_error: catalog::PREDICTION_ERROR.gauge(&[model, "wait"]),
            held_while_idle: catalog::HELD_WHILE_IDLE.counter(&[model]),
            idle_nanos: AtomicU64::new(0),
            routes: [const { [const { OnceLock::new() }; Kind::ALL.len()] }; Protocol::ALL.len()],
        }
    }

    /// Shows how many times as long as predicted answers and waits take.
    pub(crate) fn observe(&self, answer: f32, wait: f32) {
        self.answer_error.set(f64::from(answer));
        self.wait_error.set(f64::from(wait));
    }

    pub(crate) fn queue(&self, priority: Priority) -> &QueueMetrics {
        self.queues[priority as usize].get_or_init(|| {
            let labels = [self.model.as_str(), priority.name()];
            QueueMetrics {
                waiting: catalog::QUEUE_LENGTH.gauge(&labels),
                wait: catalog::QUEUE_WAIT.histogram(&labels),
            }
        })
    }

    pub(crate) fn route(&self, kind: Kind, protocol: Protocol) -> &RouteMetrics {
        self.routes[protocol as usize][kind as usize].get_or_init(|| {
            let (model, route) = (self.model.as_str(), kind.label());
            let requests = |outcome| catalog::REQUESTS.counter(&[route, model, outcome, protocol.label()]);
            RouteMetrics {
                ok: requests("ok"),
                client_error: requests("client_error"),
                backend_error: requests("backend_error"),
                timeout: requests("timeout"),
                cancelled: requests("cancelled"),
                duration: catalog::DURATION.histogram(&[route, model]),
            }
        })
    }

    /// Counts an answer that was to go on at another backend. Rare, so the handle is looked up.
    pub(crate) fn continued(&self, does: bool) {
        let outcome = if does { "continued" } else { "failed" };
        catalog::CONTINUATIONS.counter(&[&self.model, outcome]).increment(1);
    }

    /// Counts time for which a request was held though a backend had nothing to do. Counters are whole numbers: what is left
    /// of a second waits for the next time.
    pub(crate) fn held_while_idle(&self, time: Duration) {
        const SECOND: u64 = 1_000_000_000;
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let before = self.idle_nanos.fetch_add(nanos, Relaxed);
        self.held_while_idle.increment((before % SECOND + nanos) / SECOND);
    }

    /// Counts a second try. Rare, so the handle is looked up.
    pub(crate) fn retried(&self, reason: &str) {
        catalog::RETRIES.counter(&[&self.model, reason]).increment(1);
    }
}
