//! Callers: they send each request when it is due, read its answer and write down what came of it.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use plimsoll_pipeline::{Flow, Pipeline, TokenStream};
use plimsoll_types::{Clock, Instant, ServeError};

use super::clock::Face;
use super::gaps::Gaps;
use super::requests::Requests;
use crate::report::{Outcome, Record};

/// A gateway, and how far its callers are.
pub(super) struct Front {
    pub(super) pipeline: Rc<Pipeline>,
    /// For each region of the trace, the way to this gateway, one way.
    pub(super) ways: Vec<Duration>,
    /// Which of all backends its own are, in the order of its fleet.
    pub(super) backends: Vec<usize>,
}

/// What callers share.
pub(super) struct Callers {
    pub(super) requests: Rc<Requests>,
    pub(super) gaps: Rc<Gaps>,
    pub(super) clock: Face,
    pub(super) fronts: Vec<Front>,
    /// For each region of the trace, the gateways that its callers take in turn.
    pub(super) nearest: Vec<Vec<usize>>,
    /// Whether each gap between tokens is seen here; otherwise the stations count them.
    pub(super) sees_gaps: bool,
}

impl Callers {
    /// Sends every request of the trace when it is due, and ends when the last of them has.
    pub(super) async fn send_all(self: Rc<Self>) {
        let mut running = Vec::new();
        for (index, arrival) in self.requests.trace().arrivals.iter().enumerate() {
            let near = &self.nearest[usize::from(arrival.region)];
            let front = near[index % near.len()];
            let way = self.fronts[front].ways[usize::from(arrival.region)];
            self.clock.sleep_until(Instant::ORIGIN + arrival.at).await;
            running.push(tokio::task::spawn_local(Rc::clone(&self).send(index, front, way)));
            if running.len() >= 4_096 {
                running.retain(|task| !task.is_finished());
            }
        }
        for task in running {
            if let Err(error) = task.await {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }

    async fn send(self: Rc<Self>, index: usize, front: usize, way: Duration) {
        let due = self.clock.now();
        if !way.is_zero() {
            self.clock.sleep_until(due + way).await;
        }
        let arrival = *self.requests.arrival(index);
        let request = self.requests.request(index, self.clock.now());
        let mut record = Record {
            request: index as u32,
            due: due - Instant::ORIGIN,
            sent: due - Instant::ORIGIN,
            first_token: None,
            end: Duration::ZERO,
            outcome: Outcome::Ok,
            prompt_tokens: arrival.prompt_tokens,
            cached_tokens: 0,
            output_tokens: 0,
            model: arrival.model,
            tenant: arrival.tenant,
            region: arrival.region,
            backend: None,
        };
        match self.fronts[front].pipeline.serve(request).await {
            Ok(response) => self.read(response.body, (&self.fronts[front], way), &mut record).await,
            Err(error) => record.outcome = outcome(&error, false),
        }
        record.end = self.clock.now() + way - Instant::ORIGIN;
        self.gaps.record(&record);
    }

    /// Reads an answer to its end; what comes is seen one way later.
    async fn read(&self, mut body: TokenStream, (front, way): (&Front, Duration), record: &mut Record) {
        let mut last = Instant::ORIGIN;
        while let Some(flow) = poll_fn(|cx| body.poll_next(cx)).await {
            match flow {
                Flow::Chunk(_) => {
                    let now = self.clock.now() + way;
                    if record.first_token.is_none() {
                        record.first_token = Some(now - Instant::ORIGIN);
                    } else if self.sees_gaps {
                        self.gaps.add(now, now - last, 1);
                    }
                    last = now;
                }
                Flow::Quiet => {}
                Flow::Failed(error) => {
                    record.outcome = outcome(&error, record.first_token.is_some());
                    return;
                }
            }
            let Some(backend) = body.backend() else { continue };
            let seen = body.seen();
            // The tokens of a whole answer are no events: only its usage counts them.
            let usage = seen.usage.unwrap_or_default();
            record.output_tokens = seen.token_events.max(usage.completion);
            record.cached_tokens = usage.cached;
            record.backend = Some(front.backends[backend.slot] as u16);
        }
    }
}

/// What a caller makes of an error.
fn outcome(error: &ServeError, begun: bool) -> Outcome {
    match error {
        _ if begun => Outcome::Broken,
        ServeError::Overloaded { .. } | ServeError::Pushback { .. } => Outcome::Overloaded,
        ServeError::NoBackend => Outcome::Unreachable,
        ServeError::Deadline(_) => Outcome::Timeout,
        ServeError::Refused(_) | ServeError::Invalid { .. } | ServeError::UnknownModel { .. } => {
            Outcome::Refused
        }
        _ => Outcome::Failed,
    }
}
