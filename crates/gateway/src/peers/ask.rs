use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_engines::{openai, orca};
use plimsoll_fleet::source::{Dns, Source, System};
use plimsoll_proto::plimsoll::v1 as wire;
use plimsoll_telemetry::{Counter, Serving, catalog};
use plimsoll_types::Instant;
use prost::Message;
use tokio::task::{AbortHandle, spawn_local};

use super::Ledger;
use crate::config;
use crate::house::House;

/// How often it is looked who is to be asked, and how often hosts are looked up: as often as those of backends.
const LOOK: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_secs(5);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest pause between questions to a gateway that does not answer, and to one that is this one.
const LONGEST: Duration = Duration::from_secs(5);
const SELDOM: Duration = Duration::from_secs(60);
/// Bytes that an answer may have: a full journal.
const LIMIT: usize = 8 << 20;

/// Asks all gateways of the configuration in force, for as long as this one runs.
pub(crate) async fn start(house: Arc<House>) {
    let mut peers = Peers { house, ledger: Rc::default(), hosts: HashMap::new(), asked: HashMap::new() };
    loop {
        peers.look().await;
        peers.house.clock.sleep_until(peers.house.clock.now() + LOOK).await;
    }
}

/// A gateway: its address as it was said, and that of its host's which is meant.
type Name = (String, IpAddr);

struct Peers {
    house: Arc<House>,
    ledger: Rc<RefCell<Ledger>>,
    hosts: HashMap<String, (Dns<System>, Instant)>,
    asked: HashMap<Name, Task>,
}

/// Ends with its owner.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Peers {
    /// Begins and ends with asking, as gateways come and go.
    async fn look(&mut self) {
        let wanted = self.house.settings.load_full().config.peers.clone();
        let mut names: Vec<Name> = Vec::new();
        self.hosts.retain(|url, _| wanted.gateways.contains(url));
        for url in &wanted.gateways {
            let Some(host) = config::peer_host(url) else { continue };
            let clock = &self.house.clock;
            let new = || (Dns::new(&host, System, clock), clock.now());
            let (dns, due) = self.hosts.entry(url.clone()).or_insert_with(new);
            if clock.now() >= *due {
                dns.look().await;
                *due = clock.now() + EVERY;
            }
            names.extend(dns.addresses().into_iter().map(|address| (url.clone(), address)));
        }
        self.asked.retain(|name, _| names.contains(name));
        for name in names {
            if !self.asked.contains_key(&name)
                && let Some(peer) = self.peer(&name)
            {
                tracing::info!(gateway = %peer.label, "another gateway is asked what it has sent");
                self.asked.insert(name, Task(spawn_local(peer.ask()).abort_handle()));
            }
        }
    }

    fn peer(&self, (url, address): &Name) -> Option<Peer> {
        let label = match url.parse::<http::Uri>().ok()?.port_u16() {
            Some(port) => std::net::SocketAddr::new(*address, port).to_string(),
            None => address.to_string(),
        };
        let config = openai::Config {
            name: label.clone(),
            url: url.clone(),
            connect_to: Some(*address),
            headers: Vec::new(),
            authorize: None,
            http2: false,
            ca_file: None,
            connect_timeout: PATIENCE,
            ask_usage: false,
            cache_salt: false,
            ask_load: orca::Asked::None,
        };
        let wrong = |wrong| tracing::error!(gateway = %url, %wrong, "it cannot be asked");
        let way = openai::Backend::new(&config).map_err(wrong).ok()?;
        let names = ["backend", "gateway"].map(|name| (name, label.clone()));
        let counter = |outcome| catalog::PEER_POLLS.counter(&[&label, outcome]);
        Some(Peer {
            engine: way.engine(&self.house.clock),
            house: Arc::clone(&self.house),
            ledger: Rc::clone(&self.ledger),
            outcomes: ["ok", "self", "failed"].map(counter),
            prompts: catalog::PEER_PROMPTS.counter(&[&label]),
            _serving: self.house.served.exporter().map(|exporter| exporter.serve(names)),
            label,
        })
    }
}

/// One gateway that is asked.
struct Peer {
    label: String,
    engine: Rc<openai::OpenAi>,
    house: Arc<House>,
    ledger: Rc<RefCell<Ledger>>,
    outcomes: [Counter; 3],
    prompts: Counter,
    /// Its connections count as those of a backend of that name.
    _serving: Option<Serving>,
}

impl Peer {
    async fn ask(self) {
        let [ok, myself, failed] = &self.outcomes;
        let mut from = String::new();
        let (mut wait, mut answers) = (Duration::ZERO, true);
        loop {
            let every = self.house.settings.load_full().config.peers.every;
            self.house.clock.sleep_until(self.house.clock.now() + wait).await;
            match self.sent(&format!("/sent{from}")).await {
                Ok(sent) if sent.gateway == self.house.id => {
                    myself.increment(1);
                    wait = SELDOM;
                }
                Ok(sent) => {
                    ok.increment(1);
                    self.prompts.increment(sent.prompts.len() as u64);
                    let snapshot = self.house.shared.snapshot();
                    let now = self.house.clock.now();
                    self.ledger.borrow_mut().heard(&self.label, &sent, (&snapshot.fleet, now));
                    from = format!("?gateway={}&since={}", sent.gateway, sent.next);
                    (wait, answers) = (every, true);
                }
                Err(why) => {
                    failed.increment(1);
                    if std::mem::take(&mut answers) {
                        tracing::warn!(gateway = %self.label, why, "another gateway does not say what it has sent");
                    }
                    wait = (wait * 2).clamp(every, LONGEST.max(every));
                }
            }
        }
    }

    async fn sent(&self, path: &str) -> Result<wire::Sent, &'static str> {
        let late = self.house.clock.sleep_until(self.house.clock.now() + PATIENCE);
        let answer = tokio::select! {
            answer = self.engine.ask(path, LIMIT) => answer.map_err(|_| "it cannot be reached")?,
            () = late => return Err("it does not answer"),
        };
        match answer.status {
            200 => wire::Sent::decode(answer.body).map_err(|_| "what it says is not understood"),
            _ => Err("it refuses"),
        }
    }
}
