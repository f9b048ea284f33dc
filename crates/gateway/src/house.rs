//! What all cores share, and what of it a new configuration changes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use arc_swap::ArcSwap;
use plimsoll_engines::openai::Card;
use plimsoll_engines::stepped::Stepped;
use plimsoll_engines::{grpc, openai, simulated};
use plimsoll_pipeline::Shared;
use plimsoll_routing::{Backend, Fleet, Service};
use plimsoll_types::Clock;
use tokio_rustls::TlsAcceptor;

use crate::auth::Keys;
use crate::config::{BackendConfig, Config};
use crate::serving::Served;

/// The shared parts of a running gateway.
pub struct House {
    /// Which run of which gateway this is.
    pub(crate) id: u64,
    /// What pipelines share.
    pub shared: Arc<Shared>,
    pub(crate) settings: ArcSwap<Settings>,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) leaving: AtomicBool,
    /// What backends say of the models that they were found to serve, by their names.
    pub(crate) cards: ArcSwap<HashMap<String, Card>>,
    /// What metrics are told of the fleet.
    pub(crate) served: Served,
}

/// What a new configuration replaces as a whole.
pub(crate) struct Settings {
    pub(crate) config: Config,
    /// The backends of the configuration, each that stands for several in their place.
    pub(crate) backends: Vec<BackendConfig>,
    pub(crate) keys: Keys,
    pub(crate) engines: Engines,
}

/// How to reach each backend, by its name and identity.
#[derive(Default, Clone)]
pub(crate) struct Engines {
    pub(crate) openai: HashMap<(String, String), Arc<openai::Backend>>,
    pub(crate) grpc: HashMap<(String, String), Arc<grpc::Backend>>,
    pub(crate) stepped: HashMap<(String, String), Stepped>,
    pub(crate) simulated: HashMap<(String, String), simulated::Simulated>,
}

impl Engines {
    /// Lets go of the engines of backends that are not in `fleet`.
    pub(crate) fn keep_those_of(&mut self, fleet: &Fleet) {
        let key = |backend: &Backend| (backend.spec.name.clone(), backend.spec.identity.clone());
        let kept: HashSet<(String, String)> = fleet.backends.iter().map(|backend| key(backend)).collect();
        self.openai.retain(|key, _| kept.contains(key));
        self.grpc.retain(|key, _| kept.contains(key));
        self.stepped.retain(|key, _| kept.contains(key));
        self.simulated.retain(|key, _| kept.contains(key));
    }
}

impl House {
    /// Tells whoever asks for readiness to send callers elsewhere; those that come are still served.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Relaxed);
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Relaxed)
    }

    /// Whether this gateway can take requests: it is not leaving, and some backend that has models can be reached. That one is
    /// limited upstream is told per backend, and is no outage here.
    ///
    /// # Errors
    ///
    /// Why it cannot.
    pub(crate) fn readiness(&self) -> Result<(), &'static str> {
        if self.is_leaving() {
            return Err("draining");
        }
        let now = self.clock.now();
        let serves = |backend: &Backend| {
            !backend.spec.models.is_empty()
                && backend.outlier.service(now) != Service::Ejected
                && !backend.is_drained()
        };
        let is_ready = self.shared.snapshot().fleet.backends.iter().any(|backend| serves(backend));
        if is_ready { Ok(()) } else { Err("no backend in service") }
    }

    pub(crate) fn settings(&self) -> arc_swap::Guard<Arc<Settings>> {
        self.settings.load()
    }
}
