//! The configuration: one file with a section for each crate, and what is checked across sections.

mod api_key;
mod backends;
mod embedded;
mod executing;
mod grpc;
mod listed;
mod overrides;
mod peers;
mod reference;
mod requests;
mod secret;

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

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use plimsoll_routing::domain_names;
use plimsoll_types::{Key, Keys, Section, Tenant};

use crate::salts::Salts;
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

/// The certificate of the gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// A file with the chain, in PEM.
    pub certificate: String,
    /// A file with the private key, in PEM.
    pub key: String,
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

impl Section for Tls {
    fn keys(&mut self, keys: &mut dyn Keys) {
        keys.text(Key::new("certificate", "A PEM file with the certificate chain."), &mut self.certificate);
        keys.text(Key::new("key", "A PEM file with the private key."), &mut self.key);
        if self.certificate.is_empty() != self.key.is_empty() {
            keys.wrong("certificate", "certificate and key go together".into());
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
    /// What no key can check by itself.
    fn check(&self, keys: &mut dyn Keys) {
        match address(&self.listen) {
            Err(why) => keys.wrong("listen", why),
            Ok(address) if !is_loopback(address) && self.keys.is_empty() && !self.allow_anyone => keys.wrong(
                "listen",
                format!("{address} is reachable from elsewhere and there are no keys; add `keys`, or say `allow_anyone: true`"),
            ),
            Ok(_) => {}
        }
        match address(&self.admin) {
            Err(why) => keys.wrong("admin", why),
            Ok(admin) if self.admin == self.listen && admin.port() != 0 => {
                keys.wrong("admin", "is the same address as listen".into());
            }
            Ok(admin) if !is_loopback(admin) && !self.allow_remote_admin => {
                keys.wrong(
                    "admin",
                    format!("{admin} is reachable from elsewhere; say `allow_remote_admin: true`"),
                );
            }
            Ok(_) => {}
        }
        for tenant in &self.explain_to {
            if !self.keys.iter().any(|key| key.tenant == *tenant) {
                keys.wrong("explain_to", format!("no key is of the tenant {tenant:?}"));
            }
        }
        if self.prefix_sharing != SHARING[0] && self.keys.is_empty() {
            let why = "is by tenant, and without `keys` nobody knows whose a request is";
            keys.wrong("prefix_sharing", why.into());
        }
        check_names(&self.backends, keys);
        for backend in self.backends.iter().filter(|backend| !backend.commitment.is_empty()) {
            if !self.routing.commitments.iter().any(|known| known.name == backend.commitment) {
                let (name, commitment) = (&backend.name, &backend.commitment);
                keys.wrong(
                    "backends",
                    format!("{name:?} is paid by {commitment:?}, which routing.commitments lacks"),
                );
            }
        }
        self.check_domains(keys);
    }

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

    /// A domain that no backend is in is a slip of the pen, and what is said of it would be said of nobody.
    fn check_domains(&self, keys: &mut dyn Keys) {
        // Who is in the other file is not known yet.
        if self.backends.is_empty() || !self.backends_file.is_empty() {
            return;
        }
        let names = |backend: &BackendConfig| domain_names(&backend.locality).collect::<Vec<_>>();
        let known: BTreeSet<String> = self.backends.iter().flat_map(names).collect();
        for (index, domain) in self.routing.domains.iter().enumerate() {
            if !domain.at.is_empty() && !known.contains(&domain.at) {
                let known = known.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                let known =
                    if known.is_empty() { "backends say neither cloud nor region".into() } else { known };
                keys.wrong(
                    "routing",
                    format!("domains: no backend is in {:?}; there are {known}", domain.at),
                );
            }
            if self.routing.domains[..index].iter().any(|other| other.at == domain.at) {
                keys.wrong("routing", format!("domains: {:?} is there twice", domain.at));
            }
        }
    }

    /// Whether `tenant` may ask which backend answers, and why.
    pub(crate) fn may_ask_why(&self, tenant: Option<&Tenant>) -> bool {
        match tenant {
            Some(tenant) => self.explain_to.contains(&tenant.name),
            None => self.keys.is_empty() && address(&self.listen).is_ok_and(is_loopback),
        }
    }

    /// Where callers are served.
    ///
    /// # Errors
    ///
    /// Where that is not an address.
    pub fn listen_address(&self) -> Result<SocketAddr, String> {
        address(&self.listen)
    }

    /// Where operators are served.
    ///
    /// # Errors
    ///
    /// Where that is not an address.
    pub fn admin_address(&self) -> Result<SocketAddr, String> {
        address(&self.admin)
    }
}

fn check_names(backends: &[BackendConfig], keys: &mut dyn Keys) {
    for (index, backend) in backends.iter().enumerate() {
        if backends[..index].iter().any(|other| other.name == backend.name) {
            keys.wrong("backends", format!("two backends are named {:?}", backend.name));
        }
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let text =
        text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse().map_err(|_| format!("{text:?} is not an address and port, such as 127.0.0.1:8080"))
}

fn is_loopback(address: SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn problems(text: &str) -> Vec<String> {
        read("local.yaml", text, &Overrides::default())
            .err()
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn an_empty_file_serves() {
        assert!(read("local.yaml", "", &Overrides::default()).unwrap().backends.is_empty());
        assert!(read("local.yaml", "# nothing\n", &Overrides::default()).is_ok());
    }

    #[test]
    fn the_minimal_file_of_the_readme_is_understood() {
        let text = "listen: 127.0.0.1:8080\nadmin: 127.0.0.1:9464\nbackends:\n  - {name: a, url: \"http://127.0.0.1:9001\", models: [mock]}\n";
        let config = read("local.yaml", text, &Overrides::default()).unwrap();
        assert_eq!(
            (config.backends[0].name.as_str(), config.backends[0].models.as_slice()),
            ("a", &["mock".to_owned()][..])
        );
    }

    #[test]
    fn tenants_cannot_be_kept_apart_where_nobody_is_known() {
        assert_eq!(
            problems("threads: 1\nprefix_sharing: tenant\n"),
            [
                "local.yaml:2: prefix_sharing: is by tenant, and without `keys` nobody knows whose a request is"
            ]
        );
        assert!(!format!("{:?}", read("f", "prefix_secret: hush\n", &Overrides::default())).contains("hush"));
    }

    #[test]
    fn a_commitment_has_a_size_and_backends_that_have_prices() {
        let of = |commitments: &str, backend: &str| {
            let routing = format!("routing: {{commitments: [{commitments}]}}\n");
            problems(&format!("{routing}backends: [{{name: a, url: \"http://h\", {backend}}}]\n")).join("\n")
        };
        let priced = "commitment: ptu, million_answer_dollars: 4";
        assert_eq!(of("{name: ptu, tokens: 5, until: 2026-12-31}", priced), "");
        for (commitments, backend, why) in [
            ("{name: ptu}", priced, "dollars: is how much it is: give dollars or tokens, one of them"),
            ("{name: ptu, dollars: 1, until: 31.12.2026}", priced, "is not a day, such as 2026-12-31"),
            ("{name: ptu, dollars: 1, from: 2026-12-31, until: 2026-01-01}", priced, "until: is before from"),
            ("{name: ptu, dollars: 1}, {name: ptu, dollars: 1}", priced, "two are named \"ptu\""),
            (
                "{name: other, dollars: 1}",
                priced,
                "\"a\" is paid by \"ptu\", which routing.commitments lacks",
            ),
            ("{name: ptu, dollars: 1}", "commitment: ptu", "commitment: needs prices"),
        ] {
            assert!(of(commitments, backend).contains(why), "{}", of(commitments, backend));
        }
    }

    #[test]
    fn a_value_out_of_range_names_file_line_and_key() {
        assert_eq!(
            problems("pipeline:\n  # two days\n  ttft_limit_ms: 172800000\n"),
            ["local.yaml:3: pipeline.ttft_limit_ms: 172800000 is not between 10 and 3600000"]
        );
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_known_one() {
        assert_eq!(
            problems("pipeline:\n  ttft_limits_ms: 100\n"),
            ["local.yaml:2: pipeline.ttft_limits_ms: is not a key; did you mean ttft_limit_ms?"]
        );
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let found = problems(
            "threads: many\nbackends:\n  - {name: a, url: \"ftp://x\"}\n  - {name: a, url: \"http://x\", max_in_flight: 0}\n",
        );
        assert_eq!(
            found,
            [
                "local.yaml:1: threads: \"many\" is not a whole number",
                "local.yaml:3: backends[0].url: must begin with http:// or https://",
                "local.yaml:3: backends: two backends are named \"a\"",
                "local.yaml:4: backends[1].max_in_flight: 0 is not between 1 and 1000000",
            ]
        );
    }

    #[test]
    fn who_may_ask_why_has_a_key_or_is_on_this_machine() {
        let may = |text: &str, tenant: Option<&str>| {
            let tenant = tenant.map(|name| Tenant { name: name.into(), ..Tenant::default() });
            read("local.yaml", text, &Overrides::default()).unwrap().may_ask_why(tenant.as_ref())
        };
        assert!(may("", None) && !may("listen: 0.0.0.0:8080\nallow_anyone: true\n", None));
        let keys = "keys: [{tenant: a, key: sk-0123456789abcdef}, {tenant: b, key: sk-1123456789abcdef}]\n";
        let text = format!("{keys}explain_to: [a]\n");
        assert!(may(&text, Some("a")) && !may(&text, Some("b")) && !may(keys, Some("a")));
        assert_eq!(
            problems("explain_to: [a]\n"),
            ["local.yaml:1: explain_to: no key is of the tenant \"a\""]
        );
    }

    #[test]
    fn the_address_of_an_executor_is_a_socket_or_a_host_and_a_port() {
        let wrong =
            |backend: &str| problems(&format!("backends:\n  - {{name: a, models: [m], {backend}}}\n"));
        assert!(wrong("url: \"engine+unix:///run/x.sock\"").is_empty());
        assert_eq!(
            wrong("url: \"engine+tcp://127.0.0.1\""),
            ["local.yaml:2: backends[0].url: must be a host and a port, as in engine+tcp://127.0.0.1:7000"]
        );
        assert_eq!(
            wrong("url: \"engine+tcp://h:1\", resolve: true"),
            [
                "local.yaml:2: backends[0].resolve: is of no use to an executor, which computes for one gateway; list each"
            ]
        );
    }

    #[test]
    fn a_listener_beyond_loopback_needs_keys_or_a_word() {
        assert!(problems("listen: 0.0.0.0:8080\n")[0].contains("no keys"));
        assert!(problems("listen: 0.0.0.0:8080\nallow_anyone: true\n").is_empty());
        assert!(problems("admin: 0.0.0.0:9464\n")[0].contains("allow_remote_admin"));
        assert!(problems("listen: 0.0.0.0:8080\nkeys: [{tenant: a, key: sk-0123456789abcdef}]\n").is_empty());
    }

    #[test]
    fn what_the_command_line_says_counts_before_the_file() {
        let said = Overrides { listen: Some("0.0.0.0:1".into()), allow_anyone: true, ..Overrides::default() };
        let config = read("local.yaml", "listen: 127.0.0.1:2\n", &said).unwrap();
        assert_eq!(config.listen, "0.0.0.0:1");
        let said = Overrides { backends: vec!["http://h".into(), "ftp://h".into()], ..Overrides::default() };
        let why = read("local.yaml", "", &said).unwrap_err()[0].to_string();
        assert!(why.ends_with("backends: --backend ftp://h: must begin with http:// or https://"), "{why}");
    }

    #[test]
    fn a_domain_that_no_backend_is_in_is_refused_with_those_that_there_are() {
        let backends =
            "backends: [{name: a, url: \"http://h\", models: [m], cloud: aws, region: eu-west-1}]\n";
        let with = |domains: &str| problems(&format!("{backends}routing: {{domains: [{domains}]}}\n"));
        assert!(with("{at: aws/eu-west-1, weight: 0.5}").is_empty());
        assert_eq!(
            with("{at: aws/eu-west-2}"),
            [
                "local.yaml:2: routing: domains: no backend is in \"aws/eu-west-2\"; there are aws, aws/eu-west-1"
            ]
        );
        assert!(with("{at: aws}, {at: aws}")[0].contains("twice"));
        assert!(with("{weight: 0.5}")[0].contains("at: is missing"));
    }

    #[test]
    fn yaml_that_is_broken_is_one_line_too() {
        assert!(problems("a: [1\nb: 2\n")[0].starts_with("local.yaml:"));
        assert_eq!(problems("- 1\n"), ["local.yaml:1: the file must hold keys and values"]);
    }
}
