//! Measures one request from its arrival to whatever end it takes. Hot path: no allocation, no lock, no await.

use std::sync::Arc;

use plimsoll_routing::Writing;
use plimsoll_types::{Clock, Envelope, Finish, Instant, Kind, Peeked, Protocol, ServeError, Text, Usage};

use crate::shared::Lane;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Ok,
    ClientError,
    BackendError,
    Timeout,
    Cancelled,
}

/// The figures of one request. They are recorded when it is dropped; until something else is said, it was cancelled.
pub(crate) struct Meter {
    lane: Arc<Lane>,
    clock: Arc<dyn Clock>,
    id: Text,
    tenant: Option<Arc<plimsoll_types::Tenant>>,
    kind: Kind,
    protocol: Protocol,
    received: Instant,
    first_token: Option<Instant>,
    last_token: Instant,
    token_events: u32,
    writing: Writing,
    usage: Option<Usage>,
    finish: Option<Finish>,
    outcome: Outcome,
    pub(crate) backend: Option<Arc<plimsoll_routing::Backend>>,
    pub(crate) attempts: u32,
    log: bool,
    /// Whether it measures a part of a request, of which nothing is recorded: the whole is.
    part: bool,
}

impl Meter {
    pub(crate) fn new(lane: &Arc<Lane>, clock: &Arc<dyn Clock>, envelope: &Envelope, log: bool) -> Self {
        lane.metrics.in_flight.increment(1.0);
        Self {
            lane: Arc::clone(lane),
            clock: Arc::clone(clock),
            id: envelope.id.clone(),
            tenant: envelope.tenant.clone(),
            kind: envelope.kind,
            protocol: envelope.protocol,
            received: envelope.received,
            first_token: None,
            last_token: envelope.received,
            token_events: 0,
            writing: Writing::default(),
            usage: None,
            finish: None,
            outcome: Outcome::Cancelled,
            backend: None,
            attempts: 0,
            log,
            part: false,
        }
    }

    /// What measures a part of this request.
    pub(crate) fn part(&self) -> Self {
        Self {
            lane: Arc::clone(&self.lane),
            clock: Arc::clone(&self.clock),
            id: self.id.clone(),
            tenant: None,
            backend: None,
            attempts: 0,
            part: true,
            ..*self
        }
    }

    /// A part of it has been answered.
    pub(crate) fn includes(&mut self, part: &Self) {
        self.attempts += part.attempts;
        self.backend.clone_from(&part.backend);
    }

    pub(crate) fn dispatched(&mut self, now: Instant) {
        if self.attempts == 0 && !self.part {
            self.lane.metrics.overhead.record((now - self.received).as_secs_f64());
        }
        self.attempts += 1;
    }

    /// A piece of the answer came. `waited` says whether the client was waiting for it: a gap that the client made
    /// says nothing of the backend.
    pub(crate) fn chunk(&mut self, now: Instant, peeked: &Peeked, waited: bool) {
        if peeked.token_events > 0 {
            if self.first_token.is_none() {
                self.first_token = Some(now);
                self.lane.metrics.ttft.record((now - self.received).as_secs_f64());
            } else if waited {
                let gap = now - self.last_token;
                self.lane.metrics.itl.record(gap.as_secs_f64());
                self.writing.waited(gap, peeked.token_events);
            }
            self.last_token = now;
            self.token_events += peeked.token_events;
        }
        if let Some(usage) = peeked.usage {
            // Anthropic says the input first and the output last: the larger figure of each stands.
            let before = self.usage.unwrap_or_default();
            self.usage = Some(Usage {
                prompt: usage.prompt.max(before.prompt),
                cached: usage.cached.max(before.cached),
                completion: usage.completion.max(before.completion),
            });
        }
        self.finish = peeked.finish.or(self.finish);
    }

    /// The answer goes on at another backend, which has written nothing yet.
    pub(crate) fn goes_on(&mut self) {
        self.writing = Writing::default();
    }

    /// What the backend took to write, as far as the client was waiting for it.
    pub(crate) fn writing(&self) -> Writing {
        self.writing
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    pub(crate) fn finished(&mut self) {
        self.outcome = Outcome::Ok;
    }

    pub(crate) fn failed(&mut self, error: &ServeError) {
        self.outcome = match error {
            ServeError::Refused(refusal) if refusal.status < 500 && refusal.status != 429 => {
                Outcome::ClientError
            }
            ServeError::Invalid { .. } => Outcome::ClientError,
            ServeError::Deadline(_) => Outcome::Timeout,
            _ => Outcome::BackendError,
        };
    }

    pub(crate) fn broken_stream(&mut self, error: &ServeError) {
        self.failed(error);
        self.lane.metrics.broken_streams.increment(1);
    }

    fn write_log(&self, now: Instant) {
        let usage = self.usage.unwrap_or_default();
        let millis = |at: Instant| (at - self.received).as_secs_f64() * 1_000.0;
        tracing::info!(
            request_id = %self.id,
            tenant = self.tenant.as_ref().map_or("", |tenant| tenant.name.as_str()),
            route = self.kind.label(),
            model = %self.lane.pool.model,
            backend = self.backend.as_ref().map_or("", |backend| backend.spec.name.as_str()),
            outcome = ?self.outcome,
            finish = ?self.finish,
            attempts = self.attempts,
            prompt_tokens = usage.prompt,
            cached_tokens = usage.cached,
            completion_tokens = usage.completion,
            token_events = self.token_events,
            ttft_ms = self.first_token.map(millis),
            duration_ms = millis(now),
            "request"
        );
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if self.part {
            return;
        }
        let metrics = &self.lane.metrics;
        let route = metrics.route(self.kind, self.protocol);
        match self.outcome {
            Outcome::Ok => &route.ok,
            Outcome::ClientError => &route.client_error,
            Outcome::BackendError => &route.backend_error,
            Outcome::Timeout => &route.timeout,
            Outcome::Cancelled => &route.cancelled,
        }
        .increment(1);
        let now = self.clock.now();
        route.duration.record((now - self.received).as_secs_f64());
        metrics.in_flight.decrement(1.0);
        match self.usage {
            Some(usage) => {
                metrics.input.increment(u64::from(usage.prompt));
                metrics.cached.increment(u64::from(usage.cached));
                metrics.output.increment(u64::from(usage.completion));
            }
            // A stream that was cut has no figures: an event with tokens holds one, as a rule.
            None => metrics.output.increment(u64::from(self.token_events)),
        }
        if self.log {
            self.write_log(now);
        }
    }
}
