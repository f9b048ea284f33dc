//! Builds the house out of a configuration.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use plimsoll_engines::stepped::{Setup, Stepped};
use plimsoll_engines::{grpc, openai, simulated};
use plimsoll_pipeline::{Shared, Snapshot};
use plimsoll_routing::Fleet;
use plimsoll_telemetry::Exporter;
use plimsoll_types::{BackendSpec, Clock, Instant};

use crate::auth::Keys;
use crate::config::{Addresses, BackendConfig, Config, Targets};
use crate::discovery::Models;
use crate::house::{Engines, House, Settings};
use crate::serving::Served;
use crate::tls;

/// Decides what the embedded fleet writes.
const FLEET_SEED: u64 = 1;

/// What was found out of backends beside what the configuration says.
#[derive(Debug, Default)]
pub(crate) struct Discovered {
    /// Models that backends without a list of their own were found to serve, by backend and identity.
    pub(crate) models: HashMap<(String, String), Models>,
    /// Addresses of hosts that stand for several backends.
    pub(crate) addresses: Addresses,
    /// Records in use of services that stand for several backends.
    pub(crate) targets: Targets,
    /// Backends that `backends_file` lists.
    pub(crate) listed: Vec<BackendConfig>,
}

impl Discovered {
    /// The backends of `config` and those of its file. One whose name the configuration has taken since is passed over.
    pub(crate) fn all_of<'a>(&'a self, config: &'a Config) -> impl Iterator<Item = &'a BackendConfig> {
        let taken = |name: &str| config.backends.iter().any(|backend| backend.name == name);
        let listed = self.listed.iter().filter(move |backend| !taken(&backend.name));
        config.backends.iter().chain(listed)
    }
}

/// Builds what `config` describes, whose metrics `exporter` has, if there is one.
///
/// # Errors
///
/// What cannot be built, in words for the operator.
pub fn house(
    config: Config,
    clock: Arc<dyn Clock>,
    exporter: Option<Exporter>,
) -> Result<Arc<House>, String> {
    let tls = tls::acceptor(&config.tls)?;
    let (settings, specs) = settings(config, &Engines::default(), (&Discovered::default(), &clock))?;
    let fleet = Fleet::new(specs, settings.config.routing.clone(), None);
    let served = Served::new(exporter, &fleet);
    let snapshot = Snapshot::new(fleet, settings.config.pipeline.clone());
    let settings = ArcSwap::from_pointee(settings);
    Ok(Arc::new(House {
        id: RandomState::new().build_hasher().finish(),
        shared: Shared::new(snapshot),
        settings,
        tls,
        clock,
        leaving: AtomicBool::new(false),
        cards: ArcSwap::default(),
        served,
    }))
}

/// Puts `config` in force: settings first, since the new fleet needs its engines.
///
/// # Errors
///
/// What cannot be built; then nothing is changed.
pub(crate) fn publish(house: &House, config: Config, discovered: &Discovered) -> Result<(), String> {
    let before = house.settings.load_full();
    let snapshot = house.shared.snapshot();
    // Requests on their way may still ask for engines of the fleet that is replaced; older ones are let go.
    let mut engines = before.engines.clone();
    engines.keep_those_of(&snapshot.fleet);
    let (settings, specs) = settings(config, &engines, (discovered, &house.clock))?;
    let fleet = Fleet::new(specs, settings.config.routing.clone(), Some(&snapshot.fleet));
    let next = Snapshot::after(Some(&snapshot), fleet, settings.config.pipeline.clone());
    house.settings.store(Arc::new(settings));
    house.served.change(&next.fleet);
    house.shared.publish(next);
    Ok(())
}

fn settings(
    mut config: Config,
    before: &Engines,
    (discovered, clock): (&Discovered, &Arc<dyn Clock>),
) -> Result<(Settings, Vec<BackendSpec>), String> {
    let (mut engines, epoch) = (before.clone(), epoch(&**clock));
    let mut specs = Vec::new();
    if config.is_embedded() {
        for gpu in simulated::embedded(FLEET_SEED, epoch, config.embedded.time_scale as u32) {
            let spec = gpu.spec().clone();
            engines.simulated.entry(key(&spec)).or_insert(gpu);
            specs.push(spec);
        }
    }
    let found = (&discovered.addresses, &discovered.targets);
    let backends: Vec<BackendConfig> =
        discovered.all_of(&config).flat_map(|backend| backend.members(found)).collect();
    for backend in &backends {
        let spec = spec_of(backend, discovered);
        let wrong = |invalid: openai::Invalid| format!("{}: {invalid}", backend.name);
        if let Some(executor) = backend.executor() {
            if let Entry::Vacant(vacant) = engines.stepped.entry(key(&spec)) {
                let setup = Setup {
                    name: spec.name.clone(),
                    clock: Arc::clone(clock),
                    epoch: epoch.as_secs(),
                    time: spec.step_time,
                };
                let executor = executor.begin().map_err(|why| format!("{}: {why}", backend.name))?;
                let failed = |error| format!("{}: no thread for its executor: {error}", backend.name);
                let stepped = vacant.insert(Stepped::start(executor, setup).map_err(failed)?);
                if backend.is_in_process() {
                    stepped.prepare();
                }
            }
        } else if backend.speaks_grpc() {
            if let Entry::Vacant(vacant) = engines.grpc.entry(key(&spec)) {
                vacant.insert(grpc::Backend::new(&backend.engine()).map_err(wrong)?);
            }
        } else if let Entry::Vacant(vacant) = engines.openai.entry(key(&spec)) {
            vacant.insert(openai::Backend::new(&backend.engine()).map_err(wrong)?);
        }
        specs.push(spec);
    }
    let keys = Keys::new(&config.keys, &config.salts());
    for key in &mut config.keys {
        key.forget();
    }
    Ok((Settings { keys, engines, config, backends }, specs))
}

/// The origin of the clock as time since 1970: answers of the embedded fleet say when they were made.
#[expect(clippy::disallowed_methods, reason = "the wall clock is what is asked for")]
pub(crate) fn epoch(clock: &dyn Clock) -> Duration {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    wall.saturating_sub(clock.now() - Instant::ORIGIN)
}

fn key(spec: &BackendSpec) -> (String, String) {
    (spec.name.clone(), spec.identity.clone())
}

/// What routing is told of a backend: the models of its list, or those that it was found to serve.
pub(crate) fn spec_of(backend: &BackendConfig, discovered: &Discovered) -> BackendSpec {
    let spec = backend.spec(&backend.models);
    if !backend.models.is_empty() {
        return spec;
    }
    match discovered.models.get(&key(&spec)) {
        Some(models) => backend.spec(&models.names()),
        None => spec,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_types::TokioClock;

    fn embedded(time_scale: u64) -> Config {
        let mut config = Config::default();
        config.embedded.time_scale = time_scale;
        config
    }

    fn identities(house: &House) -> Vec<String> {
        house.shared.snapshot().fleet.backends.iter().map(|backend| backend.spec.identity.clone()).collect()
    }

    #[test]
    fn an_embedded_fleet_on_another_time_scale_is_another_fleet() {
        let house = house(embedded(1), Arc::new(TokioClock::start()), None).unwrap();
        let real = identities(&house);
        publish(&house, embedded(20), &Discovered::default()).unwrap();
        let slow = identities(&house);
        assert_eq!(slow.len(), real.len());
        assert!(slow.iter().all(|identity| !real.contains(identity)), "{slow:?}");
        publish(&house, embedded(20), &Discovered::default()).unwrap();
        assert_eq!(identities(&house), slow);
    }
}
