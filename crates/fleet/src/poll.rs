//! Asks a backend for its metrics, seldom where it has none.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_engines::grpc::Loads;
use plimsoll_engines::{Failure, grpc, openai};
use plimsoll_routing::{Backend, Report, Reporting};
use plimsoll_types::Clock;
use rand::rngs::SmallRng;

use crate::Config;
use crate::hear::Hearer;
use crate::load::{Reading, Table};
use crate::metrics::Polls;
use crate::watch::{jittered, within};
use crate::way::Asked;

/// Bytes that metrics may have. vLLM's are 60 KB for one model.
const LIMIT: usize = 4 << 20;
/// How often a backend is asked that has no metrics, or none that are known: it may be another one by then.
const SELDOM: Duration = Duration::from_secs(60);
/// The longest pause after failures: when it is back, its load should soon be known.
const LONGEST: Duration = Duration::from_secs(5);

/// What came of a question.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// It said how loaded it is.
    Ok(Reading),
    /// It has metrics, but none with a known name.
    Unknown,
    /// It has none there, or not for us.
    None,
    /// It did not answer, or with nonsense.
    Failed,
}

/// Polls one backend for as long as it is polled itself.
pub(crate) struct Poller {
    pub(crate) backend: Arc<Backend>,
    pub(crate) asked: Asked,
    pub(crate) paths: Vec<String>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) table: Arc<Table>,
    pub(crate) config: Config,
    /// What it says along with answers.
    pub(crate) hearer: Arc<Hearer>,
}

impl Poller {
    pub(crate) async fn run(self, mut rng: SmallRng) {
        let metrics = Polls::new(&self.backend.spec.name);
        let mut pace = Pace::new(self.config.poll, self.paths.len());
        let (mut engine, mut polled) = ("", None);
        loop {
            let now = self.clock.now();
            if self.hearer.last.spares(now, pace.wait, polled.as_ref()) {
                metrics.spared.increment(1);
            } else if !self.backend.outlier.is_dead(now) {
                // A backend that is out gets one question less; its silence is known.
                let outcome = self.ask(&self.paths[pace.path]).await;
                pace.asked(&outcome);
                let counter = match &outcome {
                    Outcome::Ok(_) => &metrics.ok,
                    Outcome::Unknown => &metrics.unknown,
                    Outcome::None => &metrics.none,
                    Outcome::Failed => &metrics.failed,
                };
                counter.increment(1);
                if let Outcome::Ok(reading) = outcome {
                    if engine != reading.engine {
                        engine = reading.engine;
                        tracing::info!(backend = %self.backend.spec.name, engine, "the backend reports its load");
                    }
                    let now = self.clock.now();
                    self.backend.reported(now, &reading.report);
                    self.backend.seen.reports(Reporting { engine, by: "poll" });
                    polled = Some((now, reading.report));
                }
            }
            self.clock.sleep_until(self.clock.now() + jittered(pace.wait, &mut rng)).await;
        }
    }

    async fn ask(&self, path: &str) -> Outcome {
        let asked = async {
            match &self.asked {
                Asked::Http(engine) => metrics_of(engine, path, &self.table).await,
                Asked::Grpc(engine) => loads_of(engine, path).await,
            }
        };
        match within(&*self.clock, self.config.timeout, asked).await {
            Some(Ok(outcome)) => outcome,
            Some(Err(Failure::Unreachable(_) | Failure::Broken(_))) | None => Outcome::Failed,
        }
    }
}

async fn metrics_of(engine: &openai::OpenAi, path: &str, table: &Table) -> Result<Outcome, Failure> {
    let document = engine.ask(path, LIMIT).await?;
    Ok(outcome(document.status, &document.body, table))
}

async fn loads_of(engine: &grpc::Grpc, method: &str) -> Result<Outcome, Failure> {
    Ok(match engine.loads(method).await? {
        Ok(loads) => Outcome::Ok(reading(method, &loads)),
        Err(status) => refusal(status),
    })
}

fn reading(method: &str, loads: &Loads) -> Reading {
    let engine = Loads::METHODS.iter().find(|(_, known)| *known == method).map_or("grpc", |(name, _)| name);
    let report = Report {
        waiting: Some(loads.waiting),
        running: Some(loads.running),
        kv_used: loads.kv_used.map(|share| share as f32),
        unread_tokens: None,
    };
    Reading { engine, report, rest: Duration::ZERO }
}

fn outcome(status: u16, body: &[u8], table: &Table) -> Outcome {
    match (status, std::str::from_utf8(body)) {
        (200, Ok(text)) => table.read(text).map_or(Outcome::Unknown, Outcome::Ok),
        (200, Err(_)) => Outcome::Unknown,
        _ => refusal(status),
    }
}

/// What it means that it said this in the place of its load.
fn refusal(status: u16) -> Outcome {
    if matches!(status, 300..=499 | 501) { Outcome::None } else { Outcome::Failed }
}

/// When and where to ask next.
#[derive(Debug)]
struct Pace {
    every: Duration,
    wait: Duration,
    paths: usize,
    path: usize,
    /// Paths in a row that had nothing.
    missed: usize,
}

impl Pace {
    fn new(every: Duration, paths: usize) -> Self {
        Self { every, wait: every, paths, path: 0, missed: 0 }
    }

    fn asked(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Ok(reading) => (self.wait, self.missed) = (self.every.max(reading.rest), 0),
            Outcome::Failed => self.wait = (self.wait * 2).min(LONGEST).max(self.every),
            Outcome::Unknown | Outcome::None => {
                self.path = (self.path + 1) % self.paths;
                self.missed += 1;
                self.wait = if self.missed < self.paths { self.every } else { SELDOM.max(self.every) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Names;

    fn waits(outcomes: &[&Outcome]) -> Vec<(u64, usize)> {
        let mut pace = Pace::new(Duration::from_secs(1), 2);
        let next = |outcome: &&Outcome| {
            pace.asked(outcome);
            (pace.wait.as_secs(), pace.path)
        };
        outcomes.iter().map(next).collect()
    }

    #[test]
    fn who_has_no_metrics_under_any_path_is_asked_seldom() {
        let ok = outcome(200, b"vllm:num_requests_running 1", &Table::new(&Names::default()));
        let (none, unknown) = (Outcome::None, Outcome::Unknown);
        assert_eq!(waits(&[&none, &ok, &ok]), [(1, 1), (1, 1), (1, 1)]);
        assert_eq!(waits(&[&none, &none, &unknown, &ok]), [(1, 1), (60, 0), (60, 1), (1, 1)]);
    }

    #[test]
    fn who_is_disturbed_by_questions_is_asked_less() {
        let ok = outcome(200, b"llamacpp:requests_processing 1", &Table::new(&Names::default()));
        assert_eq!(waits(&[&ok, &ok]), [(5, 0), (5, 0)]);
    }

    #[test]
    fn who_does_not_answer_is_left_alone_for_some_seconds() {
        let failed = Outcome::Failed;
        assert_eq!(waits(&[&failed; 4]), [(2, 0), (4, 0), (5, 0), (5, 0)]);
    }

    #[test]
    fn a_status_says_whether_there_is_something_to_read() {
        let of = |status| outcome(status, b"a 1", &Table::new(&Names::default()));
        assert_eq!(
            [200, 401, 404, 501].map(of),
            [Outcome::Unknown, Outcome::None, Outcome::None, Outcome::None]
        );
        assert_eq!([500, 503].map(of), [Outcome::Failed, Outcome::Failed]);
        assert_eq!(outcome(200, b"\xff", &Table::new(&Names::default())), Outcome::Unknown);
    }
}
