use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_pipeline::Shared;
use plimsoll_types::{Clock, Instant};

use super::clock::Face;
use super::requests::Requests;
use super::station::Station;

/// A gateway that backends tell how loaded they are.
#[derive(Clone)]
pub(super) struct Told {
    pub(super) shared: Arc<Shared>,
    pub(super) gateway: usize,
    /// The requests of the world, where it is also told of those that came from others.
    pub(super) caches: Option<Rc<Requests>>,
}

impl Told {
    /// Tells it every so often how loaded each backend is, in a report that was on its way for one way.
    pub(super) async fn tell(self, stations: Vec<Rc<Station>>, (every, clock): (Duration, Face)) {
        for round in 1.. {
            clock.sleep_until(Instant::ORIGIN + every * round).await;
            for (slot, station) in stations.iter().enumerate() {
                let told = (self.clone(), Rc::clone(station), clock.clone());
                tokio::task::spawn_local(async move {
                    let (told, station, clock) = told;
                    let news = station.news(told.gateway);
                    let Some(report) = station.report() else { return };
                    clock.sleep_until(clock.now() + station.way(told.gateway)).await;
                    told.hear(slot, clock.now(), (&report, &news));
                });
            }
        }
    }

    fn hear(&self, slot: usize, now: Instant, (report, news): (&plimsoll_routing::Report, &[usize])) {
        let snapshot = self.shared.snapshot();
        let backend = &snapshot.fleet.backends[slot];
        backend.reported(now, report);
        for request in self.caches.iter().flat_map(|requests| news.iter().map(move |news| (requests, *news)))
        {
            let (requests, index) = request;
            backend.holds(requests.blocks(requests.arrival(index)).hashes(), now);
        }
    }
}
