//! What serves, for the exporter: series of anything else end.

use std::sync::{Mutex, PoisonError};

use plimsoll_routing::Fleet;
use plimsoll_telemetry::{Exporter, Serving};

/// The names of the fleet in force.
pub(crate) struct Served {
    exporter: Option<Exporter>,
    fleet: Mutex<Option<Serving>>,
}

impl Served {
    /// What `exporter`, if there is one, is to say of `fleet`.
    pub(crate) fn new(exporter: Option<Exporter>, fleet: &Fleet) -> Self {
        let served = Self { exporter, fleet: Mutex::default() };
        served.change(fleet);
        served
    }

    /// The metrics of this process.
    pub(crate) fn exporter(&self) -> Option<&Exporter> {
        self.exporter.as_ref()
    }

    /// From now on `fleet` serves. A name that it shares with the one before does not end in between.
    pub(crate) fn change(&self, fleet: &Fleet) {
        self.replace(self.exporter.as_ref().map(|exporter| exporter.serve(names(fleet))));
    }

    /// Nothing serves any more.
    pub(crate) fn end(&self) {
        self.replace(None);
    }

    fn replace(&self, serving: Option<Serving>) {
        let mut current = self.fleet.lock().unwrap_or_else(PoisonError::into_inner);
        *current = serving;
    }
}

/// All that labels say of `fleet`.
fn names(fleet: &Fleet) -> impl Iterator<Item = (&'static str, String)> {
    let backends = fleet.backends.iter().flat_map(|backend| {
        let at = &backend.spec.locality;
        [("backend", &backend.spec.name), ("cloud", &at.cloud), ("region", &at.region)]
    });
    backends
        .chain(fleet.pools().map(|pool| ("model", &pool.model)))
        .chain(fleet.domains().map(|domain| ("domain", &domain.name)))
        .chain(fleet.commitments().map(|commitment| ("commitment", &commitment.name)))
        .map(|(label, name)| (label, name.clone()))
        .chain([("policy", fleet.config.policy.to_owned())])
}
