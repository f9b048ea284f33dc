//! Places that fail, fill up and are taken out as one: a cloud, a region in it, a zone, a rack.
//!
//! ```text
//!   aws ── aws/us-east-1 ── aws/us-east-1/a ── aws/us-east-1/a/r7        the domains of one backend, the widest first
//! ```

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use plimsoll_types::{Key, Keys, Locality, Section};

use crate::metrics::DomainMetrics;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

/// What the configuration says of one domain.
#[derive(Debug, Clone, PartialEq)]
pub struct DomainConfig {
    /// Which one: `cloud`, `cloud/region`, and so on.
    pub at: String,
    /// How much it is wanted, above 0 and up to 1.
    pub weight: f64,
    /// Requests that it may have at a time; 0 means any number.
    pub max_in_flight: u64,
    /// Whether it gets nothing new.
    pub drained: bool,
}

impl Default for DomainConfig {
    fn default() -> Self {
        Self { at: String::new(), weight: 1.0, max_in_flight: 0, drained: false }
    }
}

impl Section for DomainConfig {
    fn keys(&mut self, keys: &mut dyn Keys) {
        let key = Key::new(
            "at",
            "Which cloud, region, zone or rack: `aws`, `aws/us-east-1`, `aws/us-east-1/a`, `aws/us-east-1/a/r7`.",
        );
        keys.text(key, &mut self.at);
        let key = Key::new(
            "weight",
            "How much it is wanted: with 0.5 what a request costs there counts twice, and its backends are full at half \
             their line.",
        );
        keys.decimal(key, 0.01..=1.0, &mut self.weight);
        let key = Key::new(
            "max_in_flight",
            "Requests that all its backends together get at a time, such as a quota of the provider; 0 means any number.",
        );
        keys.number(key, 0..=10_000_000, &mut self.max_in_flight);
        keys.flag(
            Key::new("drained", "Whether it gets nothing new; what runs there ends."),
            &mut self.drained,
        );
        if self.at.is_empty() {
            keys.wrong("at", "is missing".into());
        }
    }
}

/// One of them.
#[derive(Debug)]
pub struct Domain {
    /// Its name, such as `aws/us-east-1`.
    pub name: String,
    /// Taken out by the configuration.
    drained: AtomicBool,
    /// Taken out by an operator, until he takes it in again.
    taken_out: AtomicBool,
    /// As the bits of an `f32`.
    weight: AtomicU32,
    /// Requests that it may have; `u64::MAX` means any number.
    most: AtomicU64,
    in_flight: InFlight,
    pub(crate) metrics: DomainMetrics,
}

/// On a line of its own: every request there writes it, where there is a limit.
#[derive(Debug, Default)]
#[repr(align(128))]
struct InFlight(AtomicU64);

impl Domain {
    fn new(name: String) -> Arc<Self> {
        Arc::new(Self {
            metrics: DomainMetrics::new(&name),
            name,
            drained: AtomicBool::new(false),
            taken_out: AtomicBool::new(false),
            weight: AtomicU32::new(1.0_f32.to_bits()),
            most: AtomicU64::new(u64::MAX),
            in_flight: InFlight::default(),
        })
    }

    fn configure(&self, config: &DomainConfig) {
        self.drained.store(config.drained, Relaxed);
        self.weight.store((config.weight as f32).to_bits(), Relaxed);
        let most = if config.max_in_flight == 0 { u64::MAX } else { config.max_in_flight };
        self.most.store(most, Relaxed);
    }

    /// Takes it out, or in again; its backends must be told.
    pub(crate) fn take_out(&self, out: bool) {
        self.taken_out.store(out, Relaxed);
    }

    /// Whether it gets nothing new.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.drained.load(Relaxed) || self.taken_out.load(Relaxed)
    }

    /// How much it is wanted.
    #[must_use]
    pub fn weight(&self) -> f32 {
        f32::from_bits(self.weight.load(Relaxed))
    }

    /// Whether the number of its requests is limited.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.most.load(Relaxed) != u64::MAX
    }

    /// Requests there, where their number is limited.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight.0.load(Relaxed)
    }

    /// Whether one more request may go there.
    pub(crate) fn has_room(&self) -> bool {
        self.in_flight.0.load(Relaxed) < self.most.load(Relaxed)
    }
}

/// How a domain does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DomainState {
    /// Backends that it has.
    pub backends: u32,
    /// Those of them that are in service.
    pub in_service: u32,
    /// Requests at them.
    pub in_flight: u64,
}

/// Counts a request in those of its backend's domains that have a limit. Gives which these are, as bits: the limits may
/// change while it runs.
pub(crate) fn enter(domains: &[Arc<Domain>]) -> u8 {
    let mut counted = 0;
    for (at, domain) in domains.iter().enumerate().filter(|(_, domain)| domain.is_limited()) {
        domain.in_flight.0.fetch_add(1, Relaxed);
        counted |= 1 << at;
    }
    counted
}

/// Gives back what [`enter`] counted.
pub(crate) fn leave(domains: &[Arc<Domain>], counted: u8) {
    for (_, domain) in domains.iter().enumerate().filter(|(at, _)| counted & (1 << at) != 0) {
        domain.in_flight.0.fetch_sub(1, Relaxed);
    }
}

/// The domains of a fleet, by name.
#[derive(Debug, Default)]
pub(crate) struct Domains(BTreeMap<String, Arc<Domain>>);

impl Domains {
    /// The domains that `before` had, under another configuration.
    pub(crate) fn after(before: Option<&Self>, configs: &[DomainConfig]) -> Self {
        let mut domains = Self(before.map_or_else(BTreeMap::new, |before| before.0.clone()));
        for domain in domains.0.values() {
            domain.configure(&DomainConfig::default());
        }
        for config in configs {
            domains.named(&config.at).configure(config);
        }
        domains
    }

    /// Those that a place is in, the widest first.
    pub(crate) fn of(&mut self, at: &Locality) -> Arc<[Arc<Domain>]> {
        domain_names(at).map(|name| self.named(&name)).collect()
    }

    /// Lets go of those that have no backend, of which the configuration does not speak, and of which there is nothing to
    /// remember: no operator has taken them out, and no request of a backend that has left counts there.
    pub(crate) fn keep<'a>(
        &mut self,
        of_backends: impl Iterator<Item = &'a Arc<Domain>>,
        configs: &[DomainConfig],
    ) {
        let of_backends = of_backends.map(|domain| domain.name.as_str());
        let used: HashSet<&str> =
            of_backends.chain(configs.iter().map(|config| config.at.as_str())).collect();
        self.0.retain(|name, domain| {
            used.contains(name.as_str()) || domain.taken_out.load(Relaxed) || domain.in_flight() > 0
        });
    }

    fn named(&mut self, name: &str) -> Arc<Domain> {
        let domain = self.0.entry(name.to_owned()).or_insert_with(|| Domain::new(name.to_owned()));
        Arc::clone(domain)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Domain>> {
        self.0.get(name)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Domain>> {
        self.0.values()
    }
}

/// The names of the domains that a place is in, the widest first. What is not said is left out.
pub fn domain_names(at: &Locality) -> impl Iterator<Item = String> {
    let parts = [&at.cloud, &at.region, &at.zone, &at.rack];
    let mut name = String::new();
    parts.into_iter().filter(|part| !part.is_empty()).map(move |part| {
        if !name.is_empty() {
            name.push('/');
        }
        name.push_str(part);
        name.clone()
    })
}

#[cfg(test)]
mod tests;
