//! A world to simulate, as a file describes it: who calls, through which gateways, which backends there are, what goes
//! wrong, and what the policies to compare are.
//!
//! The keys are those of [`Scenario`] and of the sections below it; what is wrong is told with file, line and key.

mod backends;
mod faults;
mod gateways;
mod published;
mod reality;
mod shipped;
mod tenants;
mod variants;

pub use backends::Group;
pub use faults::{Fault, What};
pub use gateways::{Gateway, RoundTrip};
pub use published::{Published, Row};
pub use reality::Reality;
pub use shipped::{SHIPPED, Shipped};
pub use tenants::Tenant;
pub use variants::Variant;

use std::time::Duration;

use plimsoll_types::{Key, Keys, Section};

use crate::report::Slo;
use crate::trace;

/// All that a scenario says.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name: that of its file.
    pub name: String,
    /// One line on what it shows.
    pub about: String,
    /// The requests.
    pub trace: trace::Source,
    /// What a request must keep to.
    pub slo: Slo,
    /// What gateways know of who sends the requests; of whom nothing is said has a share like everybody's.
    pub tenants: Vec<Tenant>,
    /// The gateways; none means one, at no distance from its callers.
    pub gateways: Vec<Gateway>,
    /// How far regions are from each other.
    pub round_trips: Vec<RoundTrip>,
    /// The backends; none means the embedded fleet.
    pub backends: Vec<Group>,
    /// What goes wrong, and when.
    pub faults: Vec<Fault>,
    /// How often backends tell gateways how loaded they are; never if zero.
    pub reports: Duration,
    /// Whether they also tell what they have read since.
    pub tell_caches: bool,
    /// How far reality is from what gateways are told.
    pub reality: Reality,
    /// Variants of the world to compare; none means the world as it is.
    pub variants: Vec<Variant>,
    /// The policies to compare; none means that of `routing`.
    pub policies: Vec<String>,
    /// With how many seeds each is run.
    pub seeds: u64,
    /// The first seed.
    pub seed: u64,
    /// How gateways choose backends: the section of their configuration.
    pub routing: plimsoll_routing::Config,
    /// The life of a request: the section of the gateways' configuration.
    pub pipeline: plimsoll_pipeline::Config,
    /// What others have published of the same experiment.
    pub published: Published,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            name: String::new(),
            about: String::new(),
            trace: trace::Source::default(),
            slo: Slo { ttft_seconds: 1.0, tpot_seconds: 0.05 },
            tenants: Vec::new(),
            gateways: Vec::new(),
            round_trips: Vec::new(),
            backends: Vec::new(),
            faults: Vec::new(),
            reports: Duration::ZERO,
            tell_caches: false,
            reality: Reality::default(),
            variants: Vec::new(),
            policies: Vec::new(),
            seeds: 1,
            seed: 1,
            routing: plimsoll_routing::Config::default(),
            pipeline: plimsoll_pipeline::Config::default(),
            published: Published::default(),
        }
    }
}

/// The reference of all keys of a scenario with their defaults, as it stands in docs/scenarios.md.
#[must_use]
pub fn reference() -> String {
    let tables = plimsoll_yaml::reference(&mut Scenario::default());
    format!(
        "# Scenarios\n\nA world to simulate is one YAML file; `plimsoll simulate FILE` runs it, and says all that is wrong with \
         it. Every key may be left out. [simulate.md](simulate.md) shows how to use one, [traces.md](traces.md) where \
         requests come from. Written from the code by `make docs`.\n{tables}"
    )
}

impl Scenario {
    /// Reads the scenario in `text`, which came from `file`.
    ///
    /// # Errors
    ///
    /// All that is wrong, in the order of the file.
    pub fn read(file: &str, text: &str) -> Result<Self, Vec<plimsoll_yaml::Problem>> {
        let stem = std::path::Path::new(file).file_stem().unwrap_or_default();
        let mut scenario = Self { name: stem.to_string_lossy().into_owned(), ..Self::default() };
        plimsoll_yaml::read(file, text, &mut scenario).map(|()| scenario)
    }

    /// The policies to run: those to compare, or the one of `routing`.
    #[must_use]
    pub fn policies(&self) -> Vec<&'static str> {
        let known =
            |name: &String| plimsoll_routing::policy::NAMES.iter().find(|known| *known == name).copied();
        let mut policies: Vec<&str> = self.policies.iter().filter_map(known).collect();
        if policies.is_empty() {
            policies.push(self.routing.policy);
        }
        policies
    }

    /// Compares these policies in the place of those of the file.
    ///
    /// # Errors
    ///
    /// Where there is no policy of such a name.
    pub fn set_policies(&mut self, policies: &[String]) -> Result<(), String> {
        let names = plimsoll_routing::policy::NAMES;
        match policies.iter().find(|policy| !names.contains(&policy.as_str())) {
            Some(policy) => Err(format!("{policy:?} is not one of {}", names.join(", "))),
            None => {
                self.policies = policies.to_vec();
                Ok(())
            }
        }
    }

    /// The variants to run: those to compare, or the world as it is.
    #[must_use]
    pub fn variants(&self) -> Vec<Variant> {
        if self.variants.is_empty() { vec![Variant::default()] } else { self.variants.clone() }
    }

    fn check(&self, keys: &mut dyn Keys) {
        let names = plimsoll_routing::policy::NAMES;
        for policy in self.policies.iter().filter(|policy| !names.contains(&policy.as_str())) {
            keys.wrong("policies", format!("{policy:?} is not one of {}", names.join(", ")));
        }
        for (index, group) in self.backends.iter().enumerate() {
            if self.backends[..index].iter().any(|other| other.name == group.name) {
                keys.wrong("backends", format!("two groups are named {:?}", group.name));
            }
        }
        for fault in &self.faults {
            if !self.backends.is_empty() && !self.backends.iter().any(|group| fault.strikes(group)) {
                keys.wrong("faults", format!("no group of backends is or is in {:?}", fault.at));
            }
        }
    }
}

impl Section for Scenario {
    fn keys(&mut self, keys: &mut dyn Keys) {
        keys.text(Key::new("about", "One line on what the scenario shows."), &mut self.about);
        keys.section(Key::new("trace", "The requests."), &mut self.trace);
        keys.section(Key::new("slo", "What a request must keep to, to count as good."), &mut self.slo);
        let key = Key::new(
            "tenants",
            "What gateways know of who sends the requests, beside their names in `trace`; nothing need be said.",
        );
        keys.list(key, &mut self.tenants);
        let key = Key::new("gateways", "The gateways; none means one, at no distance from its callers.");
        keys.list(key, &mut self.gateways);
        keys.list(Key::new("round_trips", "How far regions are from each other."), &mut self.round_trips);
        keys.list(Key::new("backends", "The backends; none means the embedded fleet."), &mut self.backends);
        keys.list(Key::new("faults", "What goes wrong, and when."), &mut self.faults);
        let key =
            Key::new("reports_ms", "How often backends tell gateways how loaded they are; 0 means never.");
        keys.millis(key, 0..=3_600_000, &mut self.reports);
        let key = Key::new(
            "tell_caches",
            "Whether they then also tell which prompts they got from other gateways: what these know that tell each other \
             (`peers` of their configuration).",
        );
        keys.flag(key, &mut self.tell_caches);
        keys.section(
            Key::new("reality", "How far reality is from what gateways are told."),
            &mut self.reality,
        );
        let key = Key::new("variants", "Variants of the world to compare; none means the world as it is.");
        keys.list(key, &mut self.variants);
        let key = Key::new("policies", "The policies to compare; none means that of `routing`.");
        keys.texts(key, &mut self.policies);
        let key = Key::new("seeds", "With how many seeds each policy is run, for confidence intervals.");
        keys.number(key, 1..=1_000, &mut self.seeds);
        keys.number(Key::new("seed", "The first seed."), 0..=u64::from(u32::MAX), &mut self.seed);
        let key = Key::new("routing", "How gateways choose backends: the section of their configuration.");
        keys.section(key, &mut self.routing);
        let key = Key::new("pipeline", "The life of a request: the section of the gateways' configuration.");
        keys.section(key, &mut self.pipeline);
        let key = Key::new("published", "What others have published of the same experiment.");
        keys.section(key, &mut self.published);
        self.check(keys);
    }
}

impl Section for Slo {
    fn keys(&mut self, keys: &mut dyn Keys) {
        for (key, seconds) in [
            (Key::new("ttft_ms", "Time to the first token, at most."), &mut self.ttft_seconds),
            (
                Key::new(
                    "tpot_ms",
                    "Time for each token after the first, in the mean of the request, at most.",
                ),
                &mut self.tpot_seconds,
            ),
        ] {
            let mut millis = *seconds * 1_000.0;
            keys.decimal(key, 0.001..=3.6e6, &mut millis);
            *seconds = millis / 1_000.0;
        }
    }
}
