//! Looks where backends come and go, and puts what has changed in force.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_fleet::source::{Change, Dns, File, Source, System};
use plimsoll_types::Instant;

use crate::assemble;
use crate::config::{BackendConfig, read_listed};
use crate::discovery::Found;
use crate::house::House;

/// How often it is looked for changes in the file, and for hosts that a reload has brought.
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
    /// Hosts that stand for several backends, and when each is looked up next.
    hosts: HashMap<String, (Dns<System>, Instant)>,
}

impl Sources {
    pub(crate) fn new(house: &Arc<House>, found: &Found) -> Self {
        Self { house: Arc::clone(house), found: Found::clone(found), file: None, hosts: HashMap::new() }
    }

    /// Looks at those that are due.
    pub(crate) async fn look(&mut self) {
        // Hosts may stand in the file.
        let listed = self.look_at_file().await;
        let resolved = self.look_up_hosts().await;
        // Another configuration may have come meanwhile: what is in force now is what is published again.
        let config = self.house.settings.load_full().config.clone();
        if (listed || resolved)
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
            let read = move |file: &str, text: &str| {
                let settings = house.settings();
                let taken = settings.config.backends.iter().map(|backend| backend.name.clone());
                read_listed(file, text, &taken.collect::<Vec<_>>())
            };
            self.file = (!path.is_empty()).then(|| File::new(&path, Box::new(read), &self.house.clock));
        }
        let Some(file) = &mut self.file else {
            return !std::mem::take(&mut self.found.borrow_mut().listed).is_empty();
        };
        let changes = file.look().await;
        for change in &changes {
            match change {
                Change::Added(backend) => tracing::info!(path, backend = %backend.name, "a backend came"),
                Change::Removed(backend) => tracing::info!(path, backend = %backend.name, "a backend left"),
            }
        }
        if !changes.is_empty() {
            self.found.borrow_mut().listed = file.members().to_vec();
        }
        !changes.is_empty()
    }

    /// True if some have other addresses than before.
    async fn look_up_hosts(&mut self) -> bool {
        let (clock, settings) = (&self.house.clock, self.house.settings.load_full());
        let wanted: Vec<String> = {
            let found = self.found.borrow();
            let all = found.all_of(&settings.config).filter(|backend| backend.resolve);
            all.filter_map(BackendConfig::host).collect()
        };
        self.hosts.retain(|host, _| wanted.contains(host));
        let mut news = false;
        for host in wanted {
            let new = || (Dns::new(&host, System, clock), clock.now());
            let (dns, due) = self.hosts.entry(host.clone()).or_insert_with(new);
            if clock.now() < *due {
                continue;
            }
            for change in dns.look().await {
                news = true;
                match change {
                    Change::Added(address) => tracing::info!(%host, %address, "a backend came"),
                    Change::Removed(address) => tracing::info!(%host, %address, "a backend left"),
                }
            }
            *due = clock.now() + EVERY;
            self.found.borrow_mut().addresses.insert(host, dns.addresses());
        }
        news
    }

    /// Goes on looking for as long as the gateway runs.
    pub(crate) async fn keep_looking(mut self) {
        loop {
            self.house.clock.sleep_until(self.house.clock.now() + TICK).await;
            self.look().await;
        }
    }
}
