use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use plimsoll_telemetry::{Counter, catalog};
use plimsoll_types::{BackendSpec, Instant};

use crate::pace::UNKNOWN;
use crate::policy::{self, Policy};
use crate::{Backend, Config, Pace};

/// Backends that can stand in for each other: those that serve one model.
pub struct Pool {
    /// The model.
    pub model: String,
    /// Its backends, at least one.
    pub members: Vec<Arc<Backend>>,
    /// The seconds per token of the pool, where a backend's own are not known.
    pub pace: Arc<Pace>,
    pub(crate) policy: Box<dyn Policy>,
    /// Picks of each member, in their order.
    pub(crate) picks: Vec<Counter>,
}

impl Pool {
    /// The pool of `model`, whose backends are chosen by `policy`.
    #[must_use]
    pub fn new(model: &str, policy: &str, members: Vec<Arc<Backend>>) -> Self {
        let picks = members.iter().map(|member| {
            let at = &member.spec.locality;
            catalog::PICKS.counter(&[model, policy, &at.cloud, &at.region, &member.spec.name])
        });
        Self {
            model: model.to_owned(),
            picks: picks.collect(),
            members,
            pace: Arc::default(),
            policy: policy::named(policy),
        }
    }

    pub(crate) fn prior(&self, now: Instant) -> f32 {
        self.pace.read(now, UNKNOWN)
    }
}

/// The fleet frozen at one instant: swapped as a whole, never changed.
pub struct Fleet {
    /// Every backend.
    pub backends: Vec<Arc<Backend>>,
    pools: HashMap<String, Arc<Pool>>,
    known: String,
    /// How the router is to behave.
    pub config: Config,
    next_slot: usize,
}

impl Fleet {
    /// The fleet of `specs`. A backend that `before` had under the same name with the same spec stays the one it was,
    /// with all that is in flight there and all that was learned.
    #[must_use]
    pub fn new(specs: Vec<BackendSpec>, config: Config, before: Option<&Self>) -> Self {
        let mut next_slot = before.map_or(0, |fleet| fleet.next_slot);
        let backends: Vec<Arc<Backend>> = specs
            .into_iter()
            .map(|spec| {
                let same =
                    before.and_then(|fleet| fleet.backends.iter().find(|backend| backend.spec == spec));
                same.cloned().unwrap_or_else(|| {
                    next_slot += 1;
                    Arc::new(Backend::new(next_slot - 1, spec))
                })
            })
            .collect();
        let mut members: BTreeMap<String, Vec<Arc<Backend>>> = BTreeMap::new();
        for backend in &backends {
            for model in &backend.spec.models {
                members.entry(model.name.clone()).or_default().push(Arc::clone(backend));
            }
        }
        let known = members.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let pools = members.into_iter().map(|(model, members)| {
            let mut pool = Pool::new(&model, config.policy, members);
            if let Some(same) = before.and_then(|fleet| fleet.pool(&model)) {
                pool.pace = Arc::clone(&same.pace);
            }
            (model, Arc::new(pool))
        });
        Self { backends, pools: pools.collect(), known, config, next_slot }
    }

    /// The pool of `model`.
    #[must_use]
    pub fn pool(&self, model: &str) -> Option<&Arc<Pool>> {
        self.pools.get(model)
    }

    /// All pools, in no order.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.pools.values()
    }

    /// The models that exist, in order, with commas between.
    #[must_use]
    pub fn known_models(&self) -> &str {
        if self.known.is_empty() { "none yet" } else { &self.known }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::RequestShape;
    use plimsoll_types::ServedModel;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    pub(crate) fn spec(name: &str) -> BackendSpec {
        BackendSpec {
            name: name.into(),
            models: vec![ServedModel::plain("m")],
            max_in_flight: 1_000,
            ..BackendSpec::default()
        }
    }

    pub(crate) fn members(count: usize) -> Vec<Arc<Backend>> {
        (0..count).map(|slot| Arc::new(Backend::new(slot, spec(&format!("b{slot}"))))).collect()
    }

    pub(crate) fn rng() -> SmallRng {
        SmallRng::seed_from_u64(1)
    }

    pub(crate) fn shape(prompt_tokens: u32) -> RequestShape {
        RequestShape { prompt_tokens, now: Instant::ORIGIN }
    }

    #[test]
    fn a_backend_that_stays_keeps_what_is_in_flight() {
        let first = Fleet::new(vec![spec("a"), spec("b")], Config::default(), None);
        first.backends[0].load.enter(7);
        first.pool("m").unwrap().pace.measured(Instant::ORIGIN, 1, 3.0);
        let second = Fleet::new(vec![spec("c"), spec("a")], Config::default(), Some(&first));
        assert_eq!(second.backends[1].load.in_flight(), 1);
        assert_eq!(second.backends[0].slot, 2, "slots are never used again");
        assert_eq!(second.known_models(), "m");
        assert!(second.pool("m").unwrap().pace.is_known(), "what a pool has learned stays too");
    }
}
