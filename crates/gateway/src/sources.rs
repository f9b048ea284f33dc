//! Looks up hosts that stand for several backends, and puts what has changed in force.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_fleet::source::{Change, Dns, Source, System};
use plimsoll_types::Instant;

use crate::assemble;
use crate::discovery::Found;
use crate::house::House;

/// How often it is looked for hosts that a reload has brought.
const TICK: Duration = Duration::from_secs(1);
/// How often each is looked up: the system's resolver does not say how long an answer is good for, and services whose
/// members come and go say five seconds as a rule.
const EVERY: Duration = Duration::from_secs(5);

/// Hosts that stand for several backends, and when each is looked up next.
pub(crate) struct Hosts {
    house: Arc<House>,
    found: Found,
    hosts: HashMap<String, (Dns<System>, Instant)>,
}

impl Hosts {
    pub(crate) fn new(house: &Arc<House>, found: &Found) -> Self {
        Self { house: Arc::clone(house), found: Found::clone(found), hosts: HashMap::new() }
    }

    /// Looks up those that are due.
    pub(crate) async fn look(&mut self) {
        let (clock, settings) = (&self.house.clock, self.house.settings.load_full());
        let wanted = settings.config.backends.iter().filter(|backend| backend.resolve);
        let wanted: Vec<String> = wanted.filter_map(|backend| backend.host()).collect();
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
        // Another configuration may have come meanwhile: what is in force now is what is published again.
        let config = self.house.settings.load_full().config.clone();
        if news && let Err(why) = assemble::publish(&self.house, config, &self.found.borrow()) {
            tracing::error!(why, "backends that came or left could not be put in force");
        }
    }

    /// Goes on looking for as long as the gateway runs.
    pub(crate) async fn keep_looking(mut self) {
        loop {
            self.house.clock.sleep_until(self.house.clock.now() + TICK).await;
            self.look().await;
        }
    }
}
