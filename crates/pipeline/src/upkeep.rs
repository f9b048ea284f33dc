use std::sync::Arc;
use std::time::Duration;

use plimsoll_types::Clock;

use crate::Shared;

/// How often it is looked who is slow: the pace of a backend is a mean over about ten seconds.
const EVERY: Duration = Duration::from_secs(5);

/// Looks in the background which backends have become slow beside their peers, for as long as this is polled. One such
/// look serves all cores.
pub async fn look_for_slow(shared: Arc<Shared>, clock: Arc<dyn Clock>) {
    loop {
        clock.sleep_until(clock.now() + EVERY).await;
        for found in shared.snapshot().fleet.look_for_slow(clock.now()) {
            let (backend, beside) = (&found.backend.spec.name, found.beside);
            if found.slow {
                tracing::warn!(%backend, ttft = ?beside.ttft, itl = ?beside.itl, "the backend is slow beside its peers: one request in a while");
            } else {
                tracing::info!(%backend, ttft = ?beside.ttft, itl = ?beside.itl, "the backend is slow no longer");
            }
        }
    }
}
