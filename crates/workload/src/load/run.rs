use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fmt, io};

use plimsoll_types::{Clock, Instant, TokioClock};
use tokio::sync::{mpsc, watch};

use super::log::{Kept, Log};
use super::tally::{Tally, progress};
use super::thread::{Orders, work};
use super::timeline::Timeline;
use super::{Plan, Progress, Unusable, host, notes, verdict};
use crate::report::{About, Kind, Recorder};

/// From when a run is started to its beginning, so that every thread is ready by then.
const LEAD: Duration = Duration::from_millis(50);

/// A run that has begun.
pub struct Run {
    plan: Arc<Plan>,
    clock: TokioClock,
    timeline: Timeline,
    log: Arc<Log>,
    tallies: Vec<Arc<Tally>>,
    threads: Vec<JoinHandle<io::Result<f64>>>,
    stop: watch::Sender<Option<Instant>>,
    /// Closed when the last thread has ended.
    working: mpsc::Receiver<()>,
    /// Connections that were wanted and that the system does not give.
    narrowed_from: Option<usize>,
}

/// Why a run did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Load cannot be put on this endpoint.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// The system refused something.
    #[error("the system refused {what}: {why}")]
    System {
        /// What was wanted.
        what: &'static str,
        /// Why not.
        why: io::Error,
    },
}

impl Run {
    /// Begins to put load on the target of `plan`.
    ///
    /// # Errors
    ///
    /// Where the target's address cannot stand, or the system has no room for another thread.
    pub fn start(mut plan: Plan) -> Result<Self, Fault> {
        let backend = plan.target.backend(false).map_err(Unusable::from)?;
        let wanted = plan.max_in_flight;
        plan.max_in_flight = host::connections(wanted);
        let clock = TokioClock::start();
        let start = clock.now() + LEAD;
        let timeline = Timeline { start, slow_down: plan.slow_down, warm_up: plan.warm_up };
        let log = Arc::new(Log::new(timeline, plan.duration()));
        let (stop, stopped) = watch::channel(None);
        let (worker, working) = mpsc::channel(1);
        let plan = Arc::new(plan);
        let orders = Orders {
            plan: Arc::clone(&plan),
            backend,
            clock,
            timeline,
            log: Arc::clone(&log),
            stop: stopped,
        };
        let tallies: Vec<_> = (0..plan.threads).map(|_| Tally::new()).collect();
        let mut threads = Vec::new();
        for (index, tally) in tallies.iter().enumerate() {
            let (orders, tally, worker) = (orders.clone(), Arc::clone(tally), worker.clone());
            let body = move || {
                let done = work(orders, index, tally);
                drop(worker);
                done
            };
            let spawned = thread::Builder::new().name(format!("load-{index}")).spawn(body);
            threads.push(spawned.map_err(|why| Fault::System { what: "a thread", why })?);
        }
        let narrowed_from = (plan.max_in_flight < wanted).then_some(wanted);
        Ok(Self { plan, clock, timeline, log, tallies, threads, stop, working, narrowed_from })
    }

    /// How long it has lasted, on this machine.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.clock.now() - self.timeline.start
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        progress(&self.tallies)
    }

    /// Completes when the last answer has come. May be dropped and asked again.
    pub async fn ended(&mut self) {
        while self.working.recv().await.is_some() {}
    }

    /// Sends nothing more and cancels what is in flight, which counts as unfinished.
    pub fn stop(&self) {
        let now = self.clock.now();
        self.stop.send_if_modified(|stopped| stopped.replace(now).is_none());
    }

    /// Waits for the end and gives what came of it, and what a report of it is about.
    ///
    /// # Errors
    ///
    /// Where a thread had no runtime to work in.
    pub fn finish(self) -> Result<(Recorder, About), Fault> {
        let mut busiest = 0.0_f64;
        for thread in self.threads {
            let busy = thread.join().expect("a thread that panics has said why");
            busiest = busiest.max(busy.map_err(|why| Fault::System { what: "a runtime", why })?);
        }
        let log = Arc::into_inner(self.log).expect("the threads that shared it have ended");
        let stopped = self.stop.borrow().map(|at| self.timeline.reported(at).unwrap_or_default());
        let Kept { mut recorder, faults, backends, warm_up } = log.into_kept();
        if let Some(at) = stopped {
            recorder.stop(at);
        }
        let mut notes = notes::of(&self.plan, warm_up, stopped.is_some());
        if let Some(wanted) = self.narrowed_from {
            notes.push(notes::narrowed(wanted, self.plan.max_in_flight));
        }
        notes.extend(verdict::of(recorder.records(), busiest, self.plan.max_in_flight));
        notes.extend(faults.lines());
        Ok((recorder, About { backends, ..about(&self.plan, notes) }))
    }
}

fn about(plan: &Plan, notes: Vec<String>) -> About {
    let trace = &plan.trace;
    let models = match &plan.asking.model {
        Some(model) => vec![model.clone(); trace.models.len()],
        None => trace.models.clone(),
    };
    About {
        kind: Kind::Load,
        name: trace.name.clone(),
        target: plan.target.name(),
        policy: String::new(),
        seed: plan.asking.seed,
        slo: plan.slo,
        models,
        tenants: trace.tenants.clone(),
        regions: trace.regions.clone(),
        backends: Vec::new(),
        fleet: Vec::new(),
        notes,
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("target", &self.plan.target.name()).finish_non_exhaustive()
    }
}
