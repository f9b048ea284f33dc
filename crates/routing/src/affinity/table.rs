//! One shard: blocks by their hash, 24 bytes each, in one piece of memory with open addressing. Hot path: no await, no
//! lock of its own; allocates only to grow, by a quarter.

use super::SHARD_BLOCKS;
use super::owners::{Added, Owners};

/// Blocks that a shard may hold: hashes spread evenly, and eight standard deviations more than the average are enough.
const MOST: usize = SHARD_BLOCKS + SHARD_BLOCKS / 4;

#[derive(Clone, Copy, Default)]
struct Entry {
    /// Zero where nothing stands.
    hash: u64,
    owners: Owners,
}

#[derive(Default)]
pub(super) struct Table {
    entries: Vec<Entry>,
    len: usize,
    /// Where the next look for what is everywhere no longer goes.
    hand: usize,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Who has `hash`.
    pub(super) fn owners(&self, hash: u64, now: u32) -> Owners {
        let found = self.find(key(hash)).map(|at| self.entries[at].owners);
        found.filter(|owners| !owners.is_over(now)).unwrap_or_default()
    }

    /// `seat` has `hash` from now on.
    pub(super) fn add(&mut self, hash: u64, seat: u16, now: u32) -> Added {
        let hash = key(hash);
        if let Some(at) = self.find(hash) {
            return self.entries[at].owners.add(seat, now);
        }
        self.look_for_room(now);
        if self.len == MOST {
            return Added::Full;
        }
        if (self.len + 1) * 4 > self.entries.len() * 3 {
            self.grow();
        }
        let at = self.free(hash);
        self.entries[at] = Entry { hash, owners: Owners::default() };
        self.len += 1;
        self.entries[at].owners.add(seat, now)
    }

    /// `seat` has `hash` no longer.
    pub(super) fn remove(&mut self, hash: u64, seat: u16) {
        let Some(at) = self.find(key(hash)) else { return };
        self.entries[at].owners.remove(seat);
        if self.entries[at].owners.is_empty() {
            self.take_out(at);
        }
    }

    /// The hand of `seat`'s clock passes `hash`, which goes unless it was used. Whether it is still there.
    pub(super) fn pass(&mut self, hash: u64, seat: u16) -> bool {
        let Some(at) = self.find(key(hash)) else { return false };
        match self.entries[at].owners.pass(seat) {
            Some(true) => true,
            Some(false) => {
                self.remove(hash, seat);
                false
            }
            None => false,
        }
    }

    fn find(&self, hash: u64) -> Option<usize> {
        if self.entries.is_empty() {
            return None;
        }
        let mut at = self.home(hash);
        loop {
            match self.entries[at].hash {
                0 => return None,
                here if here == hash => return Some(at),
                _ => at = self.after(at),
            }
        }
    }

    fn free(&self, hash: u64) -> usize {
        let mut at = self.home(hash);
        while self.entries[at].hash != 0 {
            at = self.after(at);
        }
        at
    }

    /// Where a hash would stand if it were alone: the high bits, since the low ones have chosen the shard.
    fn home(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.entries.len() as u128) >> 64) as usize
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.entries.len() { 0 } else { at + 1 }
    }

    fn grow(&mut self) {
        let size = self.entries.len() + self.entries.len() / 4 + 8;
        let old = std::mem::replace(&mut self.entries, vec![Entry::default(); size]);
        for entry in old.into_iter().filter(|entry| entry.hash != 0) {
            let at = self.free(entry.hash);
            self.entries[at] = entry;
        }
    }

    /// Empties a place and moves up those behind it that would not be found any more.
    fn take_out(&mut self, mut hole: usize) {
        let mut at = self.after(hole);
        while self.entries[at].hash != 0 {
            let home = self.home(self.entries[at].hash);
            let stays = if hole <= at { hole < home && home <= at } else { hole < home || home <= at };
            if !stays {
                self.entries[hole] = self.entries[at];
                hole = at;
            }
            at = self.after(at);
        }
        self.entries[hole] = Entry::default();
        self.len -= 1;
    }

    /// What is everywhere is in nobody's ring, so that nobody takes it out: each new block looks at one place.
    fn look_for_room(&mut self, now: u32) {
        self.hand = if self.hand + 1 < self.entries.len() { self.hand + 1 } else { 0 };
        if self.entries.get(self.hand).is_some_and(|entry| entry.owners.is_over(now)) {
            self.take_out(self.hand);
        }
    }
}

fn key(hash: u64) -> u64 {
    hash.max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    /// Hashes of which many want the same place.
    fn hash(of: u64) -> u64 {
        (of % 3) << 62 | (of % 7) << 40 | of
    }

    proptest! {
        #[test]
        fn it_does_what_a_map_of_sets_does(
            steps in proptest::collection::vec((0_u64..60, 0_u16..6, 0_u8..4), 0..600),
        ) {
            let (mut table, mut model) = (Table::default(), BTreeMap::<u64, BTreeSet<u16>>::new());
            for (block, seat, what) in steps {
                if what == 0 {
                    table.remove(hash(block), seat);
                    if let Some(owners) = model.get_mut(&block) {
                        owners.remove(&seat);
                    }
                } else {
                    let new = model.entry(block).or_default().insert(seat);
                    let expected = if new { Added::New } else { Added::Known };
                    prop_assert_eq!(table.add(hash(block), seat, 0), expected);
                }
                model.retain(|_, owners| !owners.is_empty());
                prop_assert_eq!(table.len(), model.len());
            }
            for block in 0..60 {
                let owners: BTreeSet<u16> = table.owners(hash(block), 0).seats().collect();
                prop_assert_eq!(owners, model.get(&block).cloned().unwrap_or_default());
            }
        }
    }

    #[test]
    fn a_full_shard_takes_no_more_until_something_is_over() {
        let mut table = Table::default();
        let of = |block: u64| block.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for block in 1..=MOST as u64 {
            (0..9).for_each(|seat| {
                table.add(of(block), seat, 0);
            });
        }
        assert_eq!((table.len(), table.add(of(9_999), 0, 1)), (MOST, Added::Full));
        let taken = (0..4 * MOST as u64).filter(|block| table.add(of(10_000 + block), 0, 500) == Added::New);
        assert!(taken.count() > MOST / 2, "what nobody asks for makes room");
    }
}
