use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use plimsoll_types::{Key, Keys, Section};

use crate::load::Signal;

/// How backends are watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How often each is asked how loaded it is; zero means never.
    pub poll: Duration,
    /// How often each is asked whether it is well; zero means never.
    pub probe: Duration,
    /// How long an answer to either may take.
    pub timeout: Duration,
    /// Probes that must fail in a row before a backend is taken for dead.
    pub failures: u64,
    /// Names of load signals that the table does not have.
    pub names: Names,
    /// DNS servers that are asked for services; none means those of the system.
    pub name_servers: Vec<String>,
}

/// Names of metrics that say how loaded an engine is, for engines that nobody knows; empty where the table will do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Requests that wait.
    pub waiting: String,
    /// Requests that run.
    pub running: String,
    /// The share of memory for keys and values that is in use.
    pub kv_used: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(1),
            probe: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            failures: 3,
            names: Names::default(),
            name_servers: Vec::new(),
        }
    }
}

impl Config {
    /// Where DNS servers are, in the order in which they are asked; none means those of the system.
    #[must_use]
    pub fn servers(&self) -> Vec<SocketAddr> {
        self.name_servers.iter().filter_map(|text| server(text)).collect()
    }
}

fn server(text: &str) -> Option<SocketAddr> {
    let address = || text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, 53));
    text.parse().ok().or_else(address)
}

impl Section for Config {
    fn keys(&mut self, keys: &mut dyn Keys) {
        let key = Key::new(
            "poll_ms",
            "How often a backend is asked for its metrics, to see how loaded others make it; 0 means never. One that has \
             none is asked once a minute.",
        );
        keys.millis(key, 0..=600_000, &mut self.poll);
        let key = Key::new(
            "probe_ms",
            "How often a backend is probed: a fresh connection and `GET` of its `health`; 0 means never. A refused \
             connection takes it out of service at once, and a probe that is answered brings it back.",
        );
        keys.millis(key, 0..=600_000, &mut self.probe);
        let key = Key::new("timeout_ms", "How long an answer to a probe or a question for metrics may take.");
        keys.millis(key, 10..=60_000, &mut self.timeout);
        let key = Key::new(
            "probe_failures",
            "Probes in a row that must find no answer, a broken one or a status of 500 and more before a backend is taken \
             for dead. Those during which tokens came from it do not count.",
        );
        keys.number(key, 1..=100, &mut self.failures);
        let key = Key::new(
            "names",
            "Names of load signals, for engines other than vLLM, SGLang, TensorRT-LLM, Triton, TGI, llama.cpp and Plimsoll.",
        );
        keys.section(key, &mut self.names);
        let key = Key::new(
            "name_servers",
            "DNS servers that are asked for the SRV records of backends with `resolve`, as ADDRESS or ADDRESS:PORT, such as \
             127.0.0.1:8600 for Consul; none means those of /etc/resolv.conf.",
        );
        keys.texts(key, &mut self.name_servers);
        if let Some(wrong) = self.name_servers.iter().find(|text| server(text).is_none()) {
            keys.wrong("name_servers", format!("{wrong:?} is not an IP address, with or without a port"));
        }
    }
}

impl Section for Names {
    fn keys(&mut self, keys: &mut dyn Keys) {
        const FORM: &str = "is not NAME, NAME{LABEL=VALUE,…} or NAME/NAME";
        let key =
            Key::new("waiting", "The metric that counts requests which wait, such as `queue{kind=prompt}`.");
        keys.text(key, &mut self.waiting);
        keys.text(Key::new("running", "The metric that counts requests which run."), &mut self.running);
        let key = Key::new(
            "kv_used",
            "The metric of the share of memory for keys and values that is in use, from 0 to 1, or `USED/SIZE`.",
        );
        keys.text(key, &mut self.kv_used);
        for (name, text) in
            [("waiting", &self.waiting), ("running", &self.running), ("kv_used", &self.kv_used)]
        {
            if !text.is_empty() && Signal::parse(text).is_none() {
                keys.wrong(name, FORM.into());
            }
        }
    }
}
