use plimsoll_engines::kv_events::Change;
use plimsoll_routing::affinity::Cache;

/// Lets the emulated cache of a backend follow what the backend told of its own.
///
/// Which blocks go is not known here, only how many of all: the share decides, and the oldest are taken.
pub(crate) fn follow(cache: &Cache, change: Change) {
    match change {
        Change::Evicted { tokens, of } => cache.evict((tokens as f64 / of as f64) as f32),
        Change::Cleared => cache.clear(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_engines::kv_events::{Heard, Tracker};
    use plimsoll_routing::affinity::Index;
    use plimsoll_types::Instant;

    /// A batch with one event, as arrays of MessagePack.
    fn batch(at: u8, event: &[&[u8]]) -> Vec<u8> {
        [[0x92, at, 0x91, 0x90 | event.len() as u8].as_slice(), &event.concat()].concat()
    }

    fn stored(at: u8, tokens: u8) -> Vec<u8> {
        let hashes: &[u8] = &[0x9a, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
        batch(at, &[b"\xabBlockStored", hashes, &[0xc0], &[0x90], &[tokens], &[0xc0], b"\xa3GPU"])
    }

    #[test]
    fn an_emulated_cache_loses_what_the_engine_lost() {
        let index = Index::new(1_000);
        let cache = index.join(0, 1_000).expect("there is a seat");
        let prompt: Vec<u64> = (1..=40_u64).map(|block| block << 40).collect();
        cache.insert(&prompt, Instant::ORIGIN);
        let mut tracker = Tracker::new(0);
        let mut say = |sequence: u64, payload: &[u8]| {
            let heard = tracker.hear(sequence, payload, &mut |change| follow(&cache, change));
            assert_eq!(heard, Ok(Heard::Taken));
            let mut depth = 0;
            index.matched(&prompt, Instant::ORIGIN, |_, deep| depth = deep);
            depth
        };
        assert_eq!(say(0, &stored(1, 16)), 40);
        let half = batch(2, &[b"\xacBlockRemoved", &[0x95, 1, 2, 3, 4, 5], b"\xa3GPU"]);
        assert_eq!(
            say(1, &half),
            20,
            "five of ten blocks are half of all, and the end of the prompt goes first"
        );
        assert_eq!(say(2, &batch(3, &[b"\xb0AllBlocksCleared"])), 0);
    }
}
