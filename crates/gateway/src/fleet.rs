//! Tells the crate that watches backends which there are.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::thread;

use plimsoll_engines::grpc::Loads;
use plimsoll_engines::{grpc, openai};
use plimsoll_fleet::{List, Metrics, Watched, Way, watch};
use plimsoll_pipeline::{Snapshot, keep_up};
use plimsoll_routing::Backend;
use tokio::sync::oneshot;

use crate::assemble;
use crate::config::BackendConfig;
use crate::house::{House, Settings};

/// Watches the fleet on a thread of its own, so that no request waits behind it, until what this gives is dropped.
#[must_use]
pub(crate) fn start(house: &Arc<House>) -> oneshot::Sender<()> {
    let (watching, over) = oneshot::channel();
    let house = Arc::clone(house);
    let work = move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return tracing::error!(%error, "nobody watches the fleet"),
        };
        let (clock, seed) = (Arc::clone(&house.clock), RandomState::new().build_hasher().finish());
        let upkeep = keep_up(Arc::clone(&house.shared), Arc::clone(&clock), assemble::epoch(&*clock));
        let list = Fleet { house, seen: None, elsewhere: HashMap::new() };
        tokio::task::LocalSet::new().block_on(&runtime, async {
            tokio::select! {
                () = watch(list, clock, seed) => {}
                () = upkeep => {}
                _ = over => {}
            }
        });
    };
    thread::Builder::new().name("fleet".into()).spawn(work).expect("the system has room for a thread");
    watching
}

/// The fleet in force.
struct Fleet {
    house: Arc<House>,
    seen: Option<(Arc<Snapshot>, Arc<Settings>)>,
    /// How to ask for metrics that have an address of their own, by the backend's slot and that address.
    elsewhere: HashMap<(usize, String), Way>,
}

impl List for Fleet {
    fn changed(&mut self) -> Option<(plimsoll_fleet::Config, Vec<Watched>)> {
        let (snapshot, settings) = (self.house.shared.snapshot(), self.house.settings.load_full());
        let same = |(before, said): &(Arc<Snapshot>, Arc<Settings>)| {
            Arc::ptr_eq(before, &snapshot) && Arc::ptr_eq(said, &settings)
        };
        if self.seen.as_ref().is_some_and(same) {
            return None;
        }
        let backends = &snapshot.fleet.backends;
        self.elsewhere.retain(|(slot, _), _| backends.iter().any(|backend| backend.slot == *slot));
        let by_name: HashMap<&str, &BackendConfig> =
            settings.backends.iter().map(|backend| (backend.name.as_str(), backend)).collect();
        let mut watched = Vec::new();
        for backend in backends {
            let key = (backend.spec.name.clone(), backend.spec.identity.clone());
            let http = || settings.engines.openai.get(&key).cloned().map(Way::Http);
            let way = http().or_else(|| settings.engines.grpc.get(&key).cloned().map(Way::Grpc));
            // Engines whose steps are computed or planned here are not watched: all that they do is known.
            let (Some(way), Some(said)) = (way, by_name.get(key.0.as_str())) else { continue };
            watched.push(Watched {
                backend: Arc::clone(backend),
                health: Some(said.health.clone()).filter(|path| !path.is_empty()),
                metrics: self.metrics(backend, &way, said),
                publisher: said.publisher(),
                way,
            });
        }
        let config = settings.config.fleet.clone();
        self.seen = Some((snapshot, settings));
        Some((config, watched))
    }

    fn some_died(&self) {
        self.house.shared.snapshot().fleet.spread(self.house.clock.now());
    }
}

impl Fleet {
    fn metrics(&mut self, backend: &Backend, way: &Way, said: &BackendConfig) -> Option<Metrics> {
        // That it can stand was found out when the configuration was read.
        let Some((config, path)) = said.metrics_elsewhere().ok()? else {
            let paths = said.metrics_paths();
            return (!paths.is_empty()).then(|| Metrics { way: way.clone(), paths });
        };
        let way = match self.elsewhere.entry((backend.slot, said.metrics.clone())) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(vacant) => vacant.insert(way_to(&config)?).clone(),
        };
        let methods = || Loads::METHODS.iter().map(|(_, method)| (*method).to_owned()).collect();
        let paths = if matches!(way, Way::Grpc(_)) { methods() } else { vec![path] };
        Some(Metrics { way, paths })
    }
}

fn way_to(config: &openai::Config) -> Option<Way> {
    if config.url.starts_with("grpc") {
        grpc::Backend::new(config).ok().map(Way::Grpc)
    } else {
        openai::Backend::new(config).ok().map(Way::Http)
    }
}
