//! What one backend has cached, as far as it can be known from here.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use plimsoll_types::Instant;
use smallvec::SmallVec;

use super::owners::Added;
use super::{Index, NOBODY, locked, seconds};

/// Used blocks that the hand passes for each that it takes; then it takes them all the same, so that an insertion has an end.
const CHANCES: usize = 16;

/// Blocks that change hands under one lock: the ring is everybody's who sends there.
type Batch = SmallVec<[u64; BATCH]>;
const BATCH: usize = 32;

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
        let hashes = VecDeque::with_capacity(blocks + BATCH);
        let ring = Ring { hashes, room: blocks, owed: 0.0 };
        Self { index, seat, ring: Mutex::new(ring), full: AtomicBool::new(false) }
    }

    /// A prompt that begins with `blocks` was sent there. Gives how many of them were there before.
    pub fn insert(&self, blocks: &[u64], now: Instant) -> usize {
        let room = locked(&self.ring).room;
        let blocks = &blocks[..blocks.len().min(room)];
        let (now, mut known) = (seconds(now), blocks.len());
        let mut new = Batch::default();
        // The deepest first, so that it also goes first, as engines have it.
        for (depth, hash) in blocks.iter().enumerate().rev() {
            let added = self.index.shard(*hash).add(*hash, self.seat, now);
            match added {
                Added::New => {
                    new.push(*hash);
                    if new.len() == BATCH {
                        self.keep(&mut new);
                    }
                    known = depth;
                }
                Added::Full => {
                    self.index.refused.fetch_add(1, Relaxed);
                    known = depth;
                }
                Added::Known | Added::Everywhere => {}
            }
        }
        self.keep(&mut new);
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
        let hashes = std::mem::replace(&mut ring.hashes, VecDeque::with_capacity(room + BATCH));
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
        self.evict_blocks(blocks);
    }

    /// So many go, the oldest first that were not used since the hand last passed.
    fn evict_blocks(&self, blocks: usize) {
        let (mut left, mut chances) = (blocks, CHANCES * blocks);
        while left > 0 {
            let mut ring = locked(&self.ring);
            let some = left.min(BATCH).min(ring.hashes.len());
            let mut oldest: Batch = ring.hashes.drain(..some).collect();
            drop(ring);
            if oldest.is_empty() {
                return;
            }
            left -= oldest.len();
            oldest.retain(|hash| {
                let mut shard = self.index.shard(*hash);
                if chances == 0 {
                    shard.remove(*hash, self.seat);
                    return false;
                }
                let stays = shard.pass(*hash, self.seat);
                chances -= usize::from(stays);
                stays
            });
            left += oldest.len();
            if !oldest.is_empty() {
                locked(&self.ring).hashes.extend(oldest);
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

    /// These have come, and what has no more room goes.
    fn keep(&self, new: &mut Batch) {
        if new.is_empty() {
            return;
        }
        let mut ring = locked(&self.ring);
        ring.hashes.extend(new.drain(..));
        let surplus = ring.hashes.len().saturating_sub(ring.room);
        drop(ring);
        if surplus > 0 {
            self.full.store(true, Relaxed);
            self.evict_blocks(surplus);
        }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.clear();
        self.index.slots[usize::from(self.seat)].store(NOBODY, Relaxed);
    }
}
