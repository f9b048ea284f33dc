use std::cell::Cell;
use std::collections::HashMap;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_engines::orca::Listen;
use plimsoll_routing::Backend;
use plimsoll_types::Clock;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::task::{AbortHandle, spawn_local};

use crate::Config;
use crate::Way;
use crate::hear::{Hearer, Last};
use crate::listen::{Listener, Publisher};
use crate::load::Table;
use crate::metrics::Reports;
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
    pub way: Way,
    /// The path that says whether it is well, for a [`Way`] that needs one; `None` where it is not to be asked.
    pub health: Option<String>,
    /// Where its metrics are; `None` where it is not to be asked.
    pub metrics: Option<Metrics>,
    /// Who tells of its cache; `None` where nobody does.
    pub publisher: Option<Publisher>,
}

/// Where the metrics of a backend are.
#[derive(Clone)]
pub struct Metrics {
    /// How to reach them: another port, perhaps.
    pub way: Way,
    /// Paths where they may be, or methods, the likely one first; at least one.
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
            let table = Arc::new(Table::new(&config.names));
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
    /// Hears what answers say of its load for as long as it is here.
    _listener: Arc<dyn Listen>,
}

impl Watch {
    fn begin(
        watched: Watched,
        config: &Config,
        (table, clock, deaths): (&Arc<Table>, &Arc<dyn Clock>, &Rc<Cell<bool>>),
        seeds: &mut SmallRng,
    ) -> Self {
        let mut tasks = Vec::new();
        let hearer = Arc::new(Hearer {
            backend: Arc::clone(&watched.backend),
            table: Arc::clone(table),
            clock: Arc::clone(clock),
            metrics: Reports::new(&watched.backend.spec.name),
            last: Last::default(),
        });
        let listener: Arc<dyn Listen> = Arc::clone(&hearer) as Arc<dyn Listen>;
        watched.way.listen(&listener);
        let mut rng = || SmallRng::seed_from_u64(seeds.random());
        if let Some(path) = watched.health.clone().filter(|_| !config.probe.is_zero()) {
            let prober = Prober {
                backend: Arc::clone(&watched.backend),
                asked: watched.way.open(clock),
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
                asked: metrics.way.open(clock),
                paths: metrics.paths.clone(),
                clock: Arc::clone(clock),
                table: Arc::clone(table),
                config: config.clone(),
                hearer: Arc::clone(&hearer),
            };
            tasks.push(spawn_local(poller.run(rng())).abort_handle());
        }
        if let Some(publisher) = watched.publisher.clone() {
            let listener =
                Listener { backend: Arc::clone(&watched.backend), publisher, clock: Arc::clone(clock) };
            tasks.push(spawn_local(listener.run(rng())).abort_handle());
        }
        Self { watched, config: config.clone(), tasks, _listener: listener }
    }

    /// Whether it watches this in this way already.
    fn is_of(&self, watched: &Watched, config: &Config) -> bool {
        let same_metrics = match (&self.watched.metrics, &watched.metrics) {
            (Some(these), Some(others)) => these.way.is(&others.way) && these.paths == others.paths,
            (these, others) => these.is_none() && others.is_none(),
        };
        self.config == *config
            && self.watched.way.is(&watched.way)
            && self.watched.health == watched.health
            && self.watched.publisher == watched.publisher
            && same_metrics
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
        // After a pause of this process both are ready, and an answer that is there is none that is missing.
        biased;
        done = work => Some(done),
        () = late => None,
    }
}
