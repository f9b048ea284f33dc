//! What one backend has cached, as far as it can be known from here.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use plimsoll_types::Instant;

use super::owners::Added;
use super::{Index, NOBODY, locked, seconds};

/// Used blocks that the hand passes before it takes one all the same, so that an insertion has an end.
const CHANCES: usize = 16;

/// The emulated cache of one backend. Dropping it takes all its blocks out of the index.
pub struct Cache {
    index: Arc<Index>,
    seat: u16,
    ring: Mutex<Ring>,
    /// Whether what comes takes the place of something else.
    full: AtomicBool,
}

/// Blocks in the order in which they came, the oldest in front: the face of the clock.
struct Ring {
    hashes: VecDeque<u64>,
    /// Blocks that the backend has room for.
    room: usize,
    /// What was evicted there and is no whole block yet.
    owed: f32,
}

impl Cache {
    pub(super) fn new(index: Arc<Index>, seat: u16, blocks: usize) -> Self {
        let ring = Ring { hashes: VecDeque::with_capacity(blocks), room: blocks, owed: 0.0 };
        Self { index, seat, ring: Mutex::new(ring), full: AtomicBool::new(false) }
    }

    /// A prompt that begins with `blocks` was sent there. Gives how many of them were there before.
    pub fn insert(&self, blocks: &[u64], now: Instant) -> usize {
        let room = locked(&self.ring).room;
        let blocks = &blocks[..blocks.len().min(room)];
        let (now, mut known) = (seconds(now), blocks.len());
        // The deepest first, so that it also goes first, as engines have it.
        for (depth, hash) in blocks.iter().enumerate().rev() {
            let added = self.index.shard(*hash).add(*hash, self.seat, now);
            match added {
                Added::New => {
                    self.keep(*hash);
                    known = depth;
                }
                Added::Full => {
                    self.index.refused.fetch_add(1, Relaxed);
                    known = depth;
                }
                Added::Known | Added::Everywhere => {}
            }
        }
        known
    }

    /// `blocks` are not there after all. What is everywhere stays so.
    pub fn remove(&self, blocks: &[u64]) {
        // The ring finds out when it comes to them.
        blocks.iter().for_each(|hash| self.index.shard(*hash).remove(*hash, self.seat));
    }

    /// Nothing is there any more: the backend has begun anew.
    pub fn clear(&self) {
        let mut ring = locked(&self.ring);
        let room = ring.room;
        self.full.store(false, Relaxed);
        let hashes = std::mem::replace(&mut ring.hashes, VecDeque::with_capacity(room));
        drop(ring);
        self.remove(hashes.as_slices().0);
        self.remove(hashes.as_slices().1);
    }

    /// A share of all that was there was evicted there, from 0 to 1: the oldest blocks go, as soon as it makes whole
    /// ones.
    pub fn evict(&self, share: f32) {
        let mut ring = locked(&self.ring);
        ring.owed += share.clamp(0.0, 1.0) * ring.hashes.len() as f32;
        let blocks = ring.owed as usize;
        ring.owed -= blocks as f32;
        drop(ring);
        for _ in 0..blocks {
            if !self.evict_one(&mut locked(&self.ring)) {
                break;
            }
        }
    }

    /// Whether what comes takes the place of something else.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full.load(Relaxed)
    }

    /// Blocks that it is thought to have, and blocks that it has room for.
    #[must_use]
    pub fn held(&self) -> (usize, usize) {
        let ring = locked(&self.ring);
        (ring.hashes.len(), ring.room)
    }

    fn keep(&self, hash: u64) {
        let mut ring = locked(&self.ring);
        if ring.hashes.len() >= ring.room {
            self.evict_one(&mut ring);
            self.full.store(true, Relaxed);
        }
        ring.hashes.push_back(hash);
    }

    /// Makes room for one; false if nothing was there.
    fn evict_one(&self, ring: &mut Ring) -> bool {
        for _ in 0..CHANCES {
            let Some(oldest) = ring.hashes.pop_front() else { return false };
            if !self.index.shard(oldest).pass(oldest, self.seat) {
                return true;
            }
            ring.hashes.push_back(oldest);
        }
        let oldest = ring.hashes.pop_front();
        oldest.inspect(|hash| self.index.shard(*hash).remove(*hash, self.seat)).is_some()
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.clear();
        self.index.slots[usize::from(self.seat)].store(NOBODY, Relaxed);
    }
}
