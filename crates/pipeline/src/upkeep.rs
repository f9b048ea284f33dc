use std::sync::Arc;
use std::time::Duration;

use plimsoll_routing::Fleet;
use plimsoll_types::{Clock, Instant};

use crate::{Shared, Snapshot};

/// How often the fleet is looked at: the pace of a backend is a mean over about ten seconds, and what is paid for is a
/// matter of days.
const EVERY: Duration = Duration::from_secs(5);

/// Looks in the background which backends have become slow beside their peers and what is left of commitments, for as long
/// as this is polled. One such look serves all cores. The clock began so long after 1970.
pub async fn keep_up(shared: Arc<Shared>, clock: Arc<dyn Clock>, epoch: Duration) {
    loop {
        let (snapshot, now) = (shared.snapshot(), clock.now());
        snapshot.fleet.look_at_commitments(epoch + (now - Instant::ORIGIN));
        look_for_slow(&snapshot.fleet, now);
        look_for_doubts(&snapshot);
        clock.sleep_until(now + EVERY).await;
    }
}

fn look_for_doubts(snapshot: &Snapshot) {
    for lane in snapshot.lanes() {
        let (pool, (wait_error, waits_doubted)) = (&lane.pool, lane.room.forecast());
        lane.metrics.observe(pool.prediction_error(), wait_error);
        if waits_doubted {
            tracing::warn!(
                model = %pool.model,
                "the last dozen waits in the queue took more than three times as long as predicted, or less than a third: until \
                 predictions are right again, requests are refused by how long others were observed to wait"
            );
        }
        if !pool.is_doubted() {
            continue;
        }
        tracing::warn!(
            model = %pool.model,
            "the last dozen answers took more than three times as long as predicted, or less than a third: until predictions \
             are right again, deadlines are judged by how long answers were observed to take"
        );
    }
}

fn look_for_slow(fleet: &Fleet, now: Instant) {
    for found in fleet.look_for_slow(now) {
        let (backend, beside) = (&found.backend.spec.name, found.beside);
        if found.slow {
            tracing::warn!(%backend, ttft = ?beside.ttft, itl = ?beside.itl, "the backend is slow beside its peers: one request in a while");
        } else {
            tracing::info!(%backend, ttft = ?beside.ttft, itl = ?beside.itl, "the backend is slow no longer");
        }
    }
}
