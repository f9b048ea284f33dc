//! Asks a backend whether it is well, and decides what the answer means.
//!
//! What a probe may conclude, and why a busy engine does not fool it:
//!
//! | the probe finds | means |
//! |---|---|
//! | any status below 500 | alive: a process answers. Where there is no such path (404), connecting is the question, and the path is asked for once a minute. |
//! | the connection refused | dead, at once: nobody listens, which no load explains. Streams that still run are not touched, only nothing new is sent. |
//! | no connection in time | one of `failures` in a row: a black hole, or a process too busy to accept |
//! | a connection, but no answer in time | the same, unless requests of this gateway are there: a long prefill may hold the answer back, and those requests have limits of their own |
//! | a status of 500 and more, a reset, nonsense | one of `failures` in a row |
//!
//! Over gRPC `grpc.health.v1` is asked: what serves says 200, what does not 503, and who does not know the question 404.
//!
//! Tokens that came while the probe was waiting, or since the one before, are a better answer than any: then only a
//! refusal counts. When tokens come from a backend that is taken for dead, its sentence is not renewed and ends by itself.
//!
//! One answer is enough to return: it begins with nothing against it, see `routing::Outlier`.

mod health;
mod round_trip;

pub use health::{Finding, Health, Traffic, Verdict};
pub use round_trip::RoundTrip;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_engines::Failure;
use plimsoll_routing::{Backend, Probed};
use plimsoll_types::{Clock, Instant};
use rand::rngs::SmallRng;

use crate::Config;
use crate::metrics::Probes;
use crate::watch::{jittered, within};
use crate::way::Asked;

/// How often a backend is asked that has no such path; between, connecting to it is the question. Endpoints that clouds
/// manage have none as a rule, and count what they are asked.
const SELDOM: Duration = Duration::from_secs(60);

/// Probes one backend for as long as it is polled.
pub(crate) struct Prober {
    pub(crate) backend: Arc<Backend>,
    pub(crate) asked: Asked,
    pub(crate) path: String,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: Config,
    /// Set when this one is found dead and that is news.
    pub(crate) deaths: Rc<Cell<bool>>,
}

impl Prober {
    pub(crate) async fn run(self, mut rng: SmallRng) {
        let metrics = Probes::new(&self.backend.spec.name);
        let (mut health, mut round_trip) = (Health::default(), RoundTrip::default());
        let mut ask_at = Instant::ORIGIN;
        loop {
            let begun = self.clock.now();
            let (finding, handshake) = self.probe(&mut ask_at).await;
            if let Some(handshake) = handshake {
                self.backend.set_round_trip(round_trip.measured(handshake));
            }
            let counter = match finding {
                Finding::Alive => &metrics.alive,
                Finding::Refused => &metrics.refused,
                Finding::Failed(_) => &metrics.failed,
                Finding::Unconnected | Finding::Silent => &metrics.silent,
            };
            counter.increment(1);
            let now = self.clock.now();
            self.backend.is_closed(now, finding == Finding::Refused);
            self.backend.seen.probed(now, Probed { outcome: finding.outcome(), why: finding.why() });
            let verdict = health.judge(finding, self.traffic(begun, now), self.config.failures);
            self.tell(verdict, finding, now);
            self.clock.sleep_until(begun + jittered(self.config.probe, &mut rng)).await;
        }
    }

    /// What requests show meanwhile.
    fn traffic(&self, begun: Instant, now: Instant) -> Traffic {
        let lately = (now - begun).max(self.config.probe);
        Traffic {
            writing: self.backend.load.since_token(now).is_some_and(|since| since <= lately),
            busy: self.backend.load.in_flight() > 0,
        }
    }

    fn tell(&self, verdict: Verdict, finding: Finding, now: Instant) {
        let name = &self.backend.spec.name;
        match verdict {
            Verdict::Alive => {
                if self.backend.found_alive(now) {
                    tracing::info!(backend = %name, "a probe found the backend alive: back in service");
                }
            }
            Verdict::Dead => {
                // Longer than until the next probe says so again, be it silent.
                let until = now + (self.config.probe + self.config.timeout) * 3;
                if self.backend.found_dead(now, until) {
                    self.deaths.set(true);
                    tracing::warn!(backend = %name, why = finding.why(), "probes found the backend dead");
                }
            }
            Verdict::Open => {}
        }
    }

    async fn probe(&self, ask_at: &mut Instant) -> (Finding, Option<Duration>) {
        let limit = self.config.timeout;
        let connected = match within(&*self.clock, limit, self.asked.connect()).await {
            None => return (Finding::Unconnected, None),
            Some(Err(failure)) => return (found(failure), None),
            Some(Ok(connected)) => connected,
        };
        let handshake = connected.handshake();
        let now = self.clock.now();
        if now < *ask_at {
            return (Finding::Alive, Some(handshake));
        }
        let asked = self.asked.health_over(connected, &self.path);
        let finding = match within(&*self.clock, limit, asked).await {
            None => Finding::Silent,
            Some(Err(failure)) => found(failure),
            Some(Ok(500..)) => Finding::Failed("it says that it is not well"),
            Some(Ok(status)) => {
                *ask_at = if matches!(status, 404 | 405) { now + SELDOM } else { now };
                Finding::Alive
            }
        };
        (finding, Some(handshake))
    }
}

fn found(failure: Failure) -> Finding {
    match failure {
        Failure::REFUSED => Finding::Refused,
        Failure::Unreachable(why) | Failure::Broken(why) => Finding::Failed(why),
    }
}
