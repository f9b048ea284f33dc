//! Those who wait, by age and by length. Every move is O(1): the lists run through the slots. Hot path: no allocation
//! once there are slots, no lock.

use crate::budget::Size;
use plimsoll_types::Instant;

/// Four buckets for each doubling of the length.
const BUCKETS: usize = 128;
const NONE: u32 = u32::MAX;

/// A place among those who wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    slot: u32,
    generation: u32,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct List {
    first: u32,
    last: u32,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    before: u32,
    after: u32,
}

const EMPTY: List = List { first: NONE, last: NONE };
const LOOSE: Link = Link { before: NONE, after: NONE };

#[derive(Debug)]
struct Slot<T> {
    held: Option<T>,
    size: Size,
    since: Instant,
    generation: u32,
    /// In the list of all, by age; and in that of the bucket.
    links: [Link; 2],
}

const AGE: usize = 0;
const LENGTH: usize = 1;

#[derive(Debug)]
pub(super) struct Waiting<T> {
    slots: Vec<Slot<T>>,
    vacant: Vec<u32>,
    age: List,
    buckets: [List; BUCKETS],
    /// A bit for each bucket that holds somebody.
    occupied: u128,
    pub(super) requests: u32,
    pub(super) items: u32,
    pub(super) tokens: u64,
}

impl<T> Waiting<T> {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            vacant: Vec::new(),
            age: EMPTY,
            buckets: [EMPTY; BUCKETS],
            occupied: 0,
            requests: 0,
            items: 0,
            tokens: 0,
        }
    }

    pub(super) fn push(&mut self, held: T, size: Size, since: Instant) -> Ticket {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Slot { held: None, size, since, generation: 0, links: [LOOSE; 2] });
            // So that leaving never allocates.
            self.vacant.reserve(self.slots.len() - self.vacant.len());
            self.slots.len() as u32 - 1
        });
        let one = &mut self.slots[slot as usize];
        (one.held, one.size, one.since) = (Some(held), size, since);
        let ticket = Ticket { slot, generation: one.generation };
        let bucket = bucket(size.longest);
        append(&mut self.slots, &mut self.age, (slot, AGE));
        append(&mut self.slots, &mut self.buckets[bucket], (slot, LENGTH));
        self.occupied |= 1 << bucket;
        self.requests += 1;
        self.items = self.items.saturating_add(size.items);
        self.tokens += u64::from(size.tokens);
        ticket
    }

    /// Takes one out; `None` if it is not there any more.
    pub(super) fn cancel(&mut self, ticket: Ticket) -> Option<T> {
        let slot = self.slots.get(ticket.slot as usize)?;
        if slot.generation != ticket.generation {
            return None;
        }
        self.remove(ticket.slot)
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<T> {
        let one = &mut self.slots[slot as usize];
        let held = one.held.take()?;
        one.generation = one.generation.wrapping_add(1);
        let size = one.size;
        let bucket = bucket(size.longest);
        unlink(&mut self.slots, &mut self.age, (slot, AGE));
        unlink(&mut self.slots, &mut self.buckets[bucket], (slot, LENGTH));
        if self.buckets[bucket].first == NONE {
            self.occupied &= !(1 << bucket);
        }
        self.vacant.push(slot);
        self.requests -= 1;
        self.items = self.items.saturating_sub(size.items);
        self.tokens -= u64::from(size.tokens);
        Some(held)
    }

    /// Who has waited longest.
    pub(super) fn oldest(&self) -> Option<(u32, &T, Instant)> {
        let slot = self.slots.get(self.age.first as usize)?;
        Some((self.age.first, slot.held.as_ref()?, slot.since))
    }

    pub(super) fn size(&self, slot: u32) -> Size {
        self.slots[slot as usize].size
    }

    /// The first of the bucket.
    pub(super) fn first_of(&self, bucket: usize) -> Option<u32> {
        Some(self.buckets[bucket].first).filter(|slot| *slot != NONE)
    }

    /// The next one of the same bucket.
    pub(super) fn next_of(&self, slot: u32) -> Option<u32> {
        Some(self.slots[slot as usize].links[LENGTH].after).filter(|slot| *slot != NONE)
    }

    /// The buckets that hold somebody, the nearest to that of `longest` first; of two as near, the shorter, which adds
    /// no padding.
    pub(super) fn nearest(&self, longest: u32) -> Nearest {
        let bucket = bucket(longest) as u32;
        // Two shifts, since one by all the bits is not allowed.
        let above = (self.occupied >> bucket >> 1) << bucket << 1;
        Nearest { bucket, below: self.occupied & !above, above }
    }
}

/// See [`Waiting::nearest`].
pub(super) struct Nearest {
    bucket: u32,
    below: u128,
    above: u128,
}

impl Iterator for Nearest {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let below = self.below.checked_ilog2();
        let above = (self.above != 0).then(|| self.above.trailing_zeros());
        let nearer = match (below, above) {
            (Some(below), Some(above)) if above - self.bucket < self.bucket - below => above,
            (Some(below), _) => below,
            (None, above) => above?,
        };
        self.below &= !(1 << nearer);
        self.above &= !(1 << nearer);
        Some(nearer as usize)
    }
}

fn bucket(length: u32) -> usize {
    match length.checked_ilog2() {
        None | Some(0 | 1) => length as usize,
        Some(octave) => (octave * 4 + (length >> (octave - 2) & 3)) as usize,
    }
}

fn append<T>(slots: &mut [Slot<T>], list: &mut List, (slot, which): (u32, usize)) {
    slots[slot as usize].links[which] = Link { before: list.last, after: NONE };
    match slots.get_mut(list.last as usize) {
        Some(last) => last.links[which].after = slot,
        None => list.first = slot,
    }
    list.last = slot;
}

fn unlink<T>(slots: &mut [Slot<T>], list: &mut List, (slot, which): (u32, usize)) {
    let Link { before, after } = std::mem::replace(&mut slots[slot as usize].links[which], LOOSE);
    match slots.get_mut(before as usize) {
        Some(one) => one.links[which].after = after,
        None => list.first = after,
    }
    match slots.get_mut(after as usize) {
        Some(one) => one.links[which].before = before,
        None => list.last = before,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(longest: u32) -> Size {
        Size { items: 1, tokens: longest, longest }
    }

    #[test]
    fn buckets_rise_with_the_length_and_there_are_enough() {
        let lengths = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 511, 512, 640, u32::MAX];
        let buckets: Vec<usize> = lengths.iter().map(|length| bucket(*length)).collect();
        assert!(buckets.is_sorted(), "{buckets:?}");
        assert!(buckets.iter().all(|bucket| *bucket < BUCKETS), "{buckets:?}");
    }

    #[test]
    fn the_nearest_lengths_come_first_and_the_shorter_of_two() {
        let mut waiting = Waiting::new();
        for length in [10, 100, 80, 120, 5_000, u32::MAX] {
            waiting.push((), of(length), Instant::ORIGIN);
        }
        let order: Vec<usize> = waiting.nearest(100).collect();
        assert_eq!(order, [100, 80, 120, 10, 5_000, u32::MAX].map(bucket));
        assert_eq!(waiting.nearest(u32::MAX).next(), Some(bucket(u32::MAX)));
    }

    #[test]
    fn a_ticket_is_good_once() {
        let mut waiting = Waiting::new();
        let first = waiting.push('a', of(1), Instant::ORIGIN);
        assert_eq!(waiting.cancel(first), Some('a'));
        let second = waiting.push('b', of(1), Instant::ORIGIN);
        assert_eq!(waiting.cancel(first), None, "its slot is another's now");
        assert_eq!(waiting.oldest().map(|(_, held, _)| *held), Some('b'));
        assert_eq!(waiting.cancel(second), Some('b'));
        assert_eq!((waiting.requests, waiting.items, waiting.tokens), (0, 0, 0));
    }
}
