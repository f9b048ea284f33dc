//! Listens to what an engine tells of its KV cache, for as long as it tells.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use plimsoll_engines::kv_events::{Heard, Peer, Tracker};
use plimsoll_routing::Backend;
use plimsoll_routing::affinity::Cache;
use plimsoll_types::Clock;
use rand::rngs::SmallRng;
use tokio::net::TcpStream;

use crate::follow::follow;
use crate::metrics::Events;
use crate::watch::{jittered, within};

/// Who publishes what happens to the cache of a backend: `host:port` each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publisher {
    /// Where events are published.
    pub events: String,
    /// Where those that were missed are said again, if anywhere.
    pub replay: Option<String>,
}

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(3);
/// How long those that were missed may take to be said again.
const REPLAY: Duration = Duration::from_secs(5);
/// The pause before another attempt to connect.
const PAUSE: Duration = Duration::from_secs(2);
/// How often a silent publisher is looked at: one that is gone may never close its connection.
const LOOK: Duration = Duration::from_secs(2);

/// Listens to one backend for as long as it is polled.
pub(crate) struct Listener {
    pub(crate) backend: Arc<Backend>,
    pub(crate) publisher: Publisher,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Listener {
    pub(crate) async fn run(self, mut rng: SmallRng) {
        let name = &self.backend.spec.name;
        let Some(cache) = self.backend.cache() else { return };
        let mut ear = Ear {
            tracker: Tracker::new(u64::from(self.backend.spec.kv_tokens.unwrap_or(0))),
            cache,
            metrics: Events::new(name),
        };
        loop {
            // A backend that is out is asked for its life first.
            if !self.backend.outlier.is_dead(self.clock.now())
                && let Some(Ok(peer)) = within(&*self.clock, CONNECT, subscribe(&self.publisher.events)).await
            {
                tracing::info!(backend = %name, "the backend tells of its cache");
                let why = self.listen(peer, &mut ear).await;
                tracing::info!(backend = %name, %why, "the backend no longer tells of its cache");
            }
            self.clock.sleep_until(self.clock.now() + jittered(PAUSE, &mut rng)).await;
        }
    }

    /// Takes what is published until the publisher is gone.
    async fn listen(&self, mut peer: Peer<TcpStream>, ear: &mut Ear<'_>) -> io::Error {
        loop {
            match within(&*self.clock, LOOK, peer.next()).await {
                Some(Ok(Some((sequence, payload)))) => {
                    if let Some(missed) = ear.hear(sequence, &payload) {
                        self.catch_up(missed, ear).await;
                        ear.begin_anew(sequence, &payload);
                    }
                }
                Some(Ok(None)) => return io::Error::other("it said that it has come to its end"),
                Some(Err(error)) => return error,
                None if self.backend.outlier.is_dead(self.clock.now()) => {
                    return io::Error::other("a probe found it dead");
                }
                None => {}
            }
        }
    }

    /// Asks for what was missed from this number on, and takes it as far as it can be had.
    async fn catch_up(&self, missed: u64, ear: &mut Ear<'_>) {
        let Some(address) = &self.publisher.replay else { return };
        let replay = async {
            let mut peer = Peer::replay(TcpStream::connect(address).await?, missed).await?;
            while let Some((sequence, payload)) = peer.next().await? {
                ear.hear(sequence, &payload);
            }
            Ok::<(), io::Error>(())
        };
        // What could not be had is found missing by the next message.
        let _ = within(&*self.clock, REPLAY, replay).await;
    }
}

async fn subscribe(address: &str) -> io::Result<Peer<TcpStream>> {
    Peer::subscribe(TcpStream::connect(address).await?).await
}

/// What has been heard, and what follows it.
struct Ear<'a> {
    tracker: Tracker,
    cache: &'a Cache,
    metrics: Events,
}

impl Ear<'_> {
    /// Takes a message; gives the number of the first one that was missed before it, if some were.
    fn hear(&mut self, sequence: u64, payload: &Bytes) -> Option<u64> {
        match self.tracker.hear(sequence, payload, &mut |change| follow(self.cache, change)) {
            Ok(Heard::Taken) => self.metrics.taken.increment(1),
            Ok(Heard::Again) => {}
            Ok(Heard::Missed(first)) => return Some(first),
            Err(_) => self.metrics.malformed.increment(1),
        }
        None
    }

    /// Takes a message again; if something before it is still missing, nothing is known any more.
    fn begin_anew(&mut self, sequence: u64, payload: &Bytes) {
        if self.hear(sequence, payload).is_some() {
            self.metrics.lost.increment(1);
            self.tracker.lose(&mut |change| follow(self.cache, change));
            self.hear(sequence, payload);
        }
    }
}
