//! Which backend has the beginning of a prompt cached. Hot path: no allocation, no await, no lock for more than O(1).
//!
//! ```text
//!   dispatch ── Cache::insert ──▶ shards: block ─▶ owners ◀── Index::matched ── a pick
//!                   │                         ▲
//!                   └─ ring: oldest first ────┘ evicts what the backend must have evicted
//! ```
//!
//! Each backend has a [`Cache`]: the emulation of its own, as large as its own, learned from what was sent there. A
//! block that comes when it is full takes the place of the oldest that was not used since the hand of the clock last
//! passed it. Where a backend tells of its cache, what it says paces the emulation: [`Cache::evict`] and [`Cache::clear`].
//!
//! Up to eight owners of a block are known by name. What more have is taken to be everywhere: it earns nobody a bonus,
//! so that a system prompt which all share draws nobody to where it was seen first. If it is hardly asked for any
//! more, it belongs to nobody and is learned anew.
//!
//! A block's hash stands for all before it, so who has a block has those before it, and the depth of each owner is
//! found by jumps instead of steps (`search.rs`). Memory is bounded twice: by the capacity of each cache, and by the
//! blocks that the index may hold.

mod cache;
mod owners;
mod search;
mod table;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plimsoll_types::Instant;

use table::Table;

pub use cache::Cache;

/// Blocks of a shard on the average, when the index is full: so few that a shard which grows is copied in microseconds.
const SHARD_BLOCKS: usize = 1_024;
/// Caches that can be told apart at a time.
const SEATS: u16 = 8_192;
/// A seat that nobody has.
const NOBODY: u32 = u32::MAX;

#[derive(Default)]
#[repr(align(64))]
struct Shard(Mutex<Table>);

/// Blocks of prompts, and who has them. Shared by all cores.
pub struct Index {
    shards: Box<[Shard]>,
    /// The slot of the backend that has a seat.
    slots: Box<[AtomicU32]>,
    refused: AtomicU64,
}

impl Index {
    /// An index of so many blocks at most, whoever has them. What it does not hold takes no memory.
    #[must_use]
    pub fn new(max_blocks: usize) -> Arc<Self> {
        let shards = max_blocks.div_ceil(SHARD_BLOCKS).next_power_of_two();
        Arc::new(Self {
            shards: (0..shards).map(|_| Shard::default()).collect(),
            slots: (0..SEATS).map(|_| AtomicU32::new(NOBODY)).collect(),
            refused: AtomicU64::new(0),
        })
    }

    /// The cache of the backend in `slot`, which holds so many blocks. `None` where too many backends have one.
    #[must_use]
    pub fn join(self: &Arc<Self>, slot: usize, blocks: usize) -> Option<Cache> {
        let slot = u32::try_from(slot).ok().filter(|slot| *slot != NOBODY)?;
        let taken = |seat: &AtomicU32| seat.compare_exchange(NOBODY, slot, Relaxed, Relaxed).is_ok();
        let seat = self.slots.iter().position(taken)?;
        Some(Cache::new(Arc::clone(self), seat as u16, blocks))
    }

    /// Says for each backend that is known to have the first of `blocks` how many of them it has, from the first on:
    /// its slot and the depth, once for each. Gives how many are taken to be everywhere: what those have of whom
    /// nothing is said, and the least for the others.
    pub fn matched(&self, blocks: &[u64], now: Instant, mut each: impl FnMut(usize, usize)) -> usize {
        let now = seconds(now);
        let probe = |depth: usize| self.shard(blocks[depth - 1]).owners(blocks[depth - 1], now);
        search::search(blocks.len(), probe, |seat, depth| {
            let slot = self.slots[usize::from(seat)].load(Relaxed);
            if slot != NOBODY {
                each(slot as usize, depth);
            }
        })
    }

    /// Blocks that it holds.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.shards.iter().map(|shard| locked(&shard.0).len()).sum()
    }

    /// Blocks that it did not take because it was full. If this grows, it is too small for the fleet.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Table> {
        locked(&self.shards[hash as usize & (self.shards.len() - 1)].0)
    }
}

/// Nothing between two locks leaves a half-done change, so a panic elsewhere does no harm here.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn seconds(now: Instant) -> u32 {
    (now.as_nanos() / 1_000_000_000) as u32
}
