//! Looks where backends come and go, and puts what has changed in force.

use std::collections::HashMap;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_fleet::source::{Change, Dns, File, Servers, Source, Srv, System, Target, in_use};
use plimsoll_routing::Service;
use plimsoll_types::Instant;

use crate::assemble;
use crate::config::{BackendConfig, read_listed};
use crate::discovery::Found;
use crate::house::House;

/// How often it is looked for changes in the file, for hosts that a reload has brought, and for who is due.
const TICK: Duration = Duration::from_secs(1);
/// How often each host is looked up: the system's resolver does not say how long an answer is good for, and services whose
/// members come and go say five seconds as a rule.
const EVERY: Duration = Duration::from_secs(5);

/// All sources of the configuration in force.
pub(crate) struct Sources {
    house: Arc<House>,
    found: Found,
    /// The file with more backends.
    file: Option<File<BackendConfig>>,
    /// Names that the configuration had when the file was last looked at.
    taken: Vec<String>,
    /// Hosts that stand for several backends, and when each is looked up next.
    hosts: HashMap<String, (Dns<System>, Instant)>,
    /// Services that do, and the servers that are asked for them.
    services: HashMap<String, (Srv<Servers>, Instant)>,
    servers: Vec<SocketAddr>,
}

impl Sources {
    pub(crate) fn new(house: &Arc<House>, found: &Found) -> Self {
        Self {
            house: Arc::clone(house),
            found: Found::clone(found),
            file: None,
            taken: Vec::new(),
            hosts: HashMap::new(),
            services: HashMap::new(),
            servers: Vec::new(),
        }
    }

    /// Looks at those that are due.
    pub(crate) async fn look(&mut self) {
        // Hosts may stand in the file.
        let listed = self.look_at_file().await;
        let resolved = self.look_up_hosts().await;
        let served = self.look_up_services().await;
        // Another configuration may have come meanwhile: what is in force now is what is published again.
        let config = self.house.settings.load_full().config.clone();
        if (listed || resolved || served)
            && let Err(why) = assemble::publish(&self.house, config, &self.found.borrow())
        {
            tracing::error!(why, "backends that came or left could not be put in force");
        }
    }

    /// True if it lists something else than before.
    async fn look_at_file(&mut self) -> bool {
        let path = self.house.settings.load_full().config.backends_file.clone();
        if self.file.as_ref().is_none_or(|file| file.path() != Path::new(&path)) {
            let house = Arc::clone(&self.house);
            let read = move |file: &str, text: &str| read_listed(file, text, &taken(&house));
            self.file = (!path.is_empty()).then(|| File::new(&path, Box::new(read), &self.house.clock));
        }
        let Some(file) = &mut self.file else {
            return !std::mem::take(&mut self.found.borrow_mut().listed).is_empty();
        };
        let names = taken(&self.house);
        if names != self.taken {
            self.taken = names;
            file.reconsider();
        }
        let changes = file.look().await;
        tell(&path, changes.iter().map(|change| change.map(|backend| &backend.name)));
        if !changes.is_empty() {
            self.found.borrow_mut().listed = file.members().to_vec();
        }
        !changes.is_empty()
    }

    /// What `of` says of each backend of the configuration and its file that stands for several.
    fn wanted(&self, of: impl Fn(&BackendConfig) -> Option<String>) -> Vec<String> {
        let (found, settings) = (self.found.borrow(), self.house.settings.load_full());
        found.all_of(&settings.config).filter(|backend| backend.resolve).filter_map(of).collect()
    }

    /// True if some have other addresses than before.
    async fn look_up_hosts(&mut self) -> bool {
        let clock = &self.house.clock;
        let wanted = self.wanted(|backend| backend.host().filter(|_| backend.service().is_none()));
        self.hosts.retain(|host, _| wanted.contains(host));
        let mut news = false;
        for host in wanted {
            let new = || (Dns::new(&host, System, clock), clock.now());
            let (dns, due) = self.hosts.entry(host.clone()).or_insert_with(new);
            if clock.now() < *due {
                continue;
            }
            let changes = dns.look().await;
            news |= !changes.is_empty();
            tell(&host, changes);
            *due = clock.now() + EVERY;
            self.found.borrow_mut().addresses.insert(host, dns.addresses());
        }
        news
    }

    /// True if some have other records in use than before.
    async fn look_up_services(&mut self) -> bool {
        let servers = self.house.settings.load_full().config.fleet.servers();
        if servers != self.servers {
            (self.servers, self.services) = (servers, HashMap::new());
        }
        let clock = &self.house.clock;
        let wanted = self.wanted(BackendConfig::service);
        self.services.retain(|name, _| wanted.contains(name));
        let mut news = false;
        for name in wanted {
            let asked = || Servers { addresses: self.servers.clone(), clock: Arc::clone(clock) };
            let new = || (Srv::new(&name, asked()), clock.now());
            let (srv, due) = self.services.entry(name.clone()).or_insert_with(new);
            if clock.now() >= *due {
                tell(&name, srv.look().await);
                *due = srv.due_after(clock.now());
            }
            // Whoever is well may be another though nothing was looked up.
            let targets = srv.targets();
            let used = in_use(&targets, |target| is_well(&self.house, target));
            news |= self.use_of(&name, used);
        }
        news
    }

    /// Uses these records of a service. True if that is news; without any, those that were used stay.
    fn use_of(&self, name: &str, used: &[Target]) -> bool {
        let mut found = self.found.borrow_mut();
        let before = found.targets.get(name).map(Vec::as_slice).unwrap_or_default();
        let Some(last) = used.last().filter(|_| before != used) else { return false };
        if before.last().is_some_and(|before| before.priority != last.priority) {
            tracing::warn!(
                service = name,
                priority = last.priority,
                "records up to this priority are in use"
            );
        }
        found.targets.insert(name.to_owned(), used.to_vec());
        true
    }

    /// Goes on looking for as long as the gateway runs.
    pub(crate) async fn keep_looking(mut self) {
        loop {
            self.house.clock.sleep_until(self.house.clock.now() + TICK).await;
            self.look().await;
        }
    }
}

/// The names of the backends of the configuration.
fn taken(house: &House) -> Vec<String> {
    house.settings().config.backends.iter().map(|backend| backend.name.clone()).collect()
}

/// Whether the backend at `target` may be used, as far as anybody knows: of one that is not in the fleet yet nobody does.
fn is_well(house: &House, target: &Target) -> bool {
    let place = format!("/{}:{}", target.host, target.port);
    let (snapshot, now) = (house.shared.snapshot(), house.clock.now());
    let mut there =
        snapshot.fleet.backends.iter().filter(|backend| backend.spec.name.ends_with(&place)).peekable();
    there.peek().is_none() || there.any(|backend| backend.service(now) != Service::Ejected)
}

fn tell<M: Debug>(source: &str, changes: impl IntoIterator<Item = Change<M>>) {
    for change in changes {
        match change {
            Change::Added(backend) => tracing::info!(source, ?backend, "a backend came"),
            Change::Removed(backend) => tracing::info!(source, ?backend, "a backend left"),
        }
    }
}
