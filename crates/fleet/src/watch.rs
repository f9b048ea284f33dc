use std::cell::Cell;
use std::collections::HashMap;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_engines::openai;
use plimsoll_routing::Backend;
use plimsoll_types::Clock;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::task::{AbortHandle, spawn_local};

use crate::Config;
use crate::load::Table;
use crate::poll::Poller;
use crate::probe::Prober;

/// How often it is looked whether the fleet has changed.
const LOOK: Duration = Duration::from_millis(100);

/// A backend that is to be watched.
#[derive(Clone)]
pub struct Watched {
    /// What is told of it.
    pub backend: Arc<Backend>,
    /// How to reach it.
    pub engine: Arc<openai::Backend>,
    /// The path that says whether it is well; `None` where it is not to be asked.
    pub health: Option<String>,
    /// Where its metrics are; `None` where it is not to be asked.
    pub metrics: Option<Metrics>,
}

/// Where the metrics of a backend are.
#[derive(Clone)]
pub struct Metrics {
    /// How to reach them: another port, perhaps.
    pub engine: Arc<openai::Backend>,
    /// Paths where they may be, the likely one first; at least one.
    pub paths: Vec<String>,
}

/// Knows which backends there are.
pub trait List {
    /// All of them and how to watch them, if that may have changed since this was last asked.
    fn changed(&mut self) -> Option<(Config, Vec<Watched>)>;

    /// Probes found some of them dead that were not known to be.
    fn some_died(&self);
}

/// Watches whatever `list` names for as long as this is polled, in tasks of the current `LocalSet`.
pub async fn watch(mut list: impl List, clock: Arc<dyn Clock>, seed: u64) {
    let mut seeds = SmallRng::seed_from_u64(seed);
    let mut watches: HashMap<usize, Watch> = HashMap::new();
    let deaths = Rc::new(Cell::new(false));
    loop {
        if let Some((config, backends)) = list.changed() {
            let table = Rc::new(Table::new(&config.names));
            let mut before = std::mem::take(&mut watches);
            for watched in backends {
                let slot = watched.backend.slot;
                let same = before.remove(&slot).filter(|watch| watch.is_of(&watched, &config));
                let new = || Watch::begin(watched, &config, (&table, &clock, &deaths), &mut seeds);
                watches.insert(slot, same.unwrap_or_else(new));
            }
        }
        clock.sleep_until(clock.now() + LOOK).await;
        if deaths.take() {
            list.some_died();
        }
    }
}

/// The tasks that watch one backend. They end when this is dropped.
struct Watch {
    watched: Watched,
    config: Config,
    tasks: Vec<AbortHandle>,
}

impl Watch {
    fn begin(
        watched: Watched,
        config: &Config,
        (table, clock, deaths): (&Rc<Table>, &Arc<dyn Clock>, &Rc<Cell<bool>>),
        seeds: &mut SmallRng,
    ) -> Self {
        let mut tasks = Vec::new();
        let mut rng = || SmallRng::seed_from_u64(seeds.random());
        if let Some(path) = watched.health.clone().filter(|_| !config.probe.is_zero()) {
            let prober = Prober {
                backend: Arc::clone(&watched.backend),
                engine: watched.engine.engine(clock),
                path,
                clock: Arc::clone(clock),
                config: config.clone(),
                deaths: Rc::clone(deaths),
            };
            tasks.push(spawn_local(prober.run(rng())).abort_handle());
        }
        if let Some(metrics) = watched.metrics.as_ref().filter(|_| !config.poll.is_zero()) {
            let poller = Poller {
                backend: Arc::clone(&watched.backend),
                engine: metrics.engine.engine(clock),
                paths: metrics.paths.clone(),
                clock: Arc::clone(clock),
                table: Rc::clone(table),
                config: config.clone(),
            };
            tasks.push(spawn_local(poller.run(rng())).abort_handle());
        }
        Self { watched, config: config.clone(), tasks }
    }

    /// Whether it watches this in this way already.
    fn is_of(&self, watched: &Watched, config: &Config) -> bool {
        let metrics = |of: &Watched| {
            of.metrics.as_ref().map(|metrics| (Arc::as_ptr(&metrics.engine), metrics.paths.clone()))
        };
        self.config == *config
            && Arc::ptr_eq(&self.watched.engine, &watched.engine)
            && self.watched.health == watched.health
            && metrics(&self.watched) == metrics(watched)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Somewhat less than `wait`, so that gateways and backends do not fall into step, and never more.
pub(crate) fn jittered(wait: Duration, rng: &mut SmallRng) -> Duration {
    wait.mul_f64(rng.random_range(0.8..1.0))
}

/// What `work` gives, if it does within `limit`.
pub(crate) async fn within<T>(
    clock: &dyn Clock,
    limit: Duration,
    work: impl Future<Output = T>,
) -> Option<T> {
    let late = clock.sleep_until(clock.now() + limit);
    tokio::select! {
        done = work => Some(done),
        () = late => None,
    }
}
