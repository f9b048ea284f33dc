//! The configuration: one file with a section for each crate, and what is checked across sections.

mod api_key;
mod backends;
mod check;
mod embedded;
mod executing;
mod grpc;
mod listed;
mod listeners;
mod overrides;
mod peers;
mod reference;
mod requests;
mod secret;
#[cfg(test)]
mod tests;
mod tls;

pub use api_key::ApiKey;
pub use backends::BackendConfig;
pub(crate) use backends::{Addresses, Targets};
pub use embedded::Embedded;
pub use grpc::Grpc;
pub(crate) use listed::read_listed;
pub use overrides::Overrides;
pub use peers::Peers;
pub(crate) use peers::host as peer_host;
pub use plimsoll_yaml::Problem;
pub use reference::reference;
pub use requests::Requests;
pub use tls::Tls;

use std::time::Duration;

use plimsoll_types::{Key, Keys, Section, Tenant};

use crate::salts::Salts;
use listeners::{address, is_loopback};
use secret::Secret;

/// Whose prompts may share what is cached.
const SHARING: &[&str] = &["all", "tenant"];

/// All that can be configured. The default serves: the embedded fleet, on loopback.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where callers are served.
    pub listen: String,
    /// Where operators are served.
    pub admin: String,
    /// Whether operators beyond loopback are served.
    pub allow_remote_admin: bool,
    /// Cores to use; 0 means all.
    pub threads: u64,
    /// Whether callers beyond loopback may come without keys.
    pub allow_anyone: bool,
    /// The certificate to show to callers, with its key.
    pub tls: Tls,
    /// Who may enter.
    pub keys: Vec<ApiKey>,
    /// Whose prompts may share what is cached: one of `SHARING`.
    pub prefix_sharing: &'static str,
    /// What nobody can guess in the salts of tenants.
    prefix_secret: Secret,
    /// Tenants who may ask which backend answers, and why.
    pub explain_to: Vec<String>,
    /// What requests may be.
    pub requests: Requests,
    /// How callers over gRPC are served.
    pub grpc: Grpc,
    /// How long readiness is off before the listeners close.
    pub drain_delay: Duration,
    /// How long streams may go on after that.
    pub drain_timeout: Duration,
    /// The backends; none means the embedded fleet.
    pub backends: Vec<BackendConfig>,
    /// A file with more of them; empty where there is none.
    pub backends_file: String,
    /// How the embedded fleet is.
    pub embedded: Embedded,
    /// How backends are chosen.
    pub routing: plimsoll_routing::Config,
    /// How backends are watched.
    pub fleet: plimsoll_fleet::Config,
    /// Other gateways before the same backends.
    pub peers: Peers,
    /// The life of a request.
    pub pipeline: plimsoll_pipeline::Config,
    /// What was said on the command line.
    pub overrides: Overrides,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".into(),
            admin: "127.0.0.1:9464".into(),
            allow_remote_admin: false,
            threads: 0,
            allow_anyone: false,
            tls: Tls::default(),
            keys: Vec::new(),
            prefix_sharing: SHARING[0],
            prefix_secret: Secret::default(),
            explain_to: Vec::new(),
            requests: Requests::default(),
            grpc: Grpc::default(),
            drain_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(300),
            backends: Vec::new(),
            backends_file: String::new(),
            embedded: Embedded::default(),
            routing: plimsoll_routing::Config::default(),
            fleet: plimsoll_fleet::Config::default(),
            peers: Peers::default(),
            pipeline: plimsoll_pipeline::Config::default(),
            overrides: Overrides::default(),
        }
    }
}

impl Section for Config {
    fn keys(&mut self, keys: &mut dyn Keys) {
        keys.text(
            Key::new("listen", "Where callers are served: HTTP/1.1, HTTP/2 and gRPC on one port."),
            &mut self.listen,
        );
        let key = Key::new("admin", "Where operators are served: metrics, health, the fleet, reload, drain.");
        keys.text(key, &mut self.admin);
        let key = Key::new(
            "allow_remote_admin",
            "Whether `admin` may be an address beyond loopback. Whoever reaches it can read metrics and drain the \
             gateway: let only your own network in.",
        );
        keys.flag(key, &mut self.allow_remote_admin);
        keys.number(Key::new("threads", "Cores to use; 0 means all."), 0..=1_024, &mut self.threads);
        let key = Key::new("allow_anyone", "Whether callers beyond loopback may come without a key.");
        keys.flag(key, &mut self.allow_anyone);
        keys.section(Key::new("tls", "TLS towards callers; without it, plain text."), &mut self.tls);
        keys.list(Key::new("keys", "Who may enter; none means whoever can connect."), &mut self.keys);
        let key = Key::new(
            "prefix_sharing",
            "Whose prompts may share what is cached of their beginnings: all, or only those of one tenant, so that nobody can \
             find out by time or by `cached_tokens` what others have asked. Backends are told of it where they have \
             `cache_salt: true`.",
        );
        keys.choice(key, SHARING, &mut self.prefix_sharing);
        let key = Key::new(
            "prefix_secret",
            "Goes into what keeps tenants apart, so that whoever reaches a backend by another way cannot guess it; the same for \
             all gateways before the same backends.",
        );
        keys.secret(key, &mut self.prefix_secret.0);
        let key = Key::new(
            "explain_to",
            "Tenants who may ask with `x-plimsoll-explain` which backend answers and what it was expected to cost there and \
             elsewhere. Without `keys`, whoever is on this machine may ask, as long as `listen` is on loopback.",
        );
        keys.texts(key, &mut self.explain_to);
        keys.section(Key::new("requests", "What requests may be."), &mut self.requests);
        keys.section(Key::new("grpc", "How callers over gRPC are served."), &mut self.grpc);
        let key = Key::new("drain_delay_ms", "How long readiness is off before the listeners close.");
        keys.millis(key, 0..=600_000, &mut self.drain_delay);
        let key =
            Key::new("drain_timeout_ms", "How long running streams may go on once the listeners are closed.");
        keys.millis(key, 0..=86_400_000, &mut self.drain_timeout);
        let key = Key::new("backends", "The backends; none means the embedded fleet of simulated GPUs.");
        keys.list(key, &mut self.backends);
        let key = Key::new(
            "backends_file",
            "A file with more `backends`, in the same form and with no other key. It is looked at every second: a backend that \
             comes is asked for its models and serves, one that goes gets nothing new and ends what it has. A file that \
             cannot stand changes nothing.",
        );
        keys.text(key, &mut self.backends_file);
        keys.section(Key::new("embedded", "The embedded fleet, where it serves."), &mut self.embedded);
        keys.section(Key::new("routing", "How backends are chosen."), &mut self.routing);
        keys.section(Key::new("fleet", "How backends are watched: probes and load."), &mut self.fleet);
        keys.section(Key::new("peers", "Other gateways before the same backends."), &mut self.peers);
        keys.section(Key::new("pipeline", "Limits on the life of a request."), &mut self.pipeline);
        let key = Key::new("batching", "Requests of different callers that go to a backend as one call.");
        keys.section(key, &mut self.pipeline.batching);
        self.override_keys(keys);
        self.check(keys);
    }
}

/// Reads the configuration in `text`, which came from `file`, under what was said on the command line.
///
/// # Errors
///
/// All that is wrong, in the order of the file.
pub fn read(file: &str, text: &str, overrides: &Overrides) -> Result<Config, Vec<Problem>> {
    let mut config = Config { overrides: overrides.clone(), ..Config::default() };
    plimsoll_yaml::read(file, text, &mut config).map(|()| config)
}

impl Config {
    /// What keeps tenants apart in caches.
    pub(crate) fn salts(&self) -> Salts {
        if self.prefix_sharing == SHARING[0] {
            Salts::Shared
        } else {
            Salts::by_tenant(&self.prefix_secret.0)
        }
    }

    /// Whether the embedded fleet serves.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        self.backends.is_empty() && self.backends_file.is_empty()
    }

    /// Whether `tenant` may ask which backend answers, and why.
    pub(crate) fn may_ask_why(&self, tenant: Option<&Tenant>) -> bool {
        match tenant {
            Some(tenant) => self.explain_to.contains(&tenant.name),
            None => self.keys.is_empty() && address(&self.listen).is_ok_and(is_loopback),
        }
    }
}
