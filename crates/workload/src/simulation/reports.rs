use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_pipeline::Shared;
use plimsoll_types::{Clock, Instant};

use super::clock::Face;
use super::station::Station;

/// Tells one gateway every so often how loaded each backend is, in a report that was on its way for one way.
pub(super) async fn tell(
    shared: Arc<Shared>,
    stations: Vec<Rc<Station>>,
    gateway: usize,
    (every, clock): (Duration, Face),
) {
    for round in 1.. {
        clock.sleep_until(Instant::ORIGIN + every * round).await;
        for (slot, station) in stations.iter().enumerate() {
            let (shared, station, clock) = (Arc::clone(&shared), Rc::clone(station), clock.clone());
            tokio::task::spawn_local(async move {
                let Some(report) = station.report() else { return };
                let at = clock.now() + station.way(gateway);
                clock.sleep_until(at).await;
                shared.snapshot().fleet.backends[slot].reported(clock.now(), &report);
            });
        }
    }
}
