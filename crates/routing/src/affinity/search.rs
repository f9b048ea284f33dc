//! How deep each owner's blocks go. Hot path: no allocation, no lock, no await.

use super::owners::Owners;

/// Says to `each` how many of `blocks` blocks, from the first on, a seat has; gives how many are everywhere. `probe`
/// knows who has the block that ends at a depth from 1 on.
///
/// The depth is doubled until nobody is left; between two depths that differ in who has them, the one in the middle is
/// looked at. That takes about two looks for each doubling, for every different depth.
pub(super) fn search(blocks: usize, probe: impl Fn(usize) -> Owners, each: impl FnMut(u16, usize)) -> usize {
    if blocks == 0 {
        return 0;
    }
    let mut search = Search { probe, each, everywhere: 0 };
    let (mut depth, mut owners) = (1, (search.probe)(1));
    while depth < blocks && !owners.is_empty() {
        let deeper = (2 * depth).min(blocks);
        let left = (search.probe)(deeper).within(owners);
        search.split(depth, owners, deeper, left);
        (depth, owners) = (deeper, left);
    }
    search.lost(owners, Owners::default(), depth);
    search.everywhere
}

struct Search<P, E> {
    probe: P,
    each: E,
    everywhere: usize,
}

impl<P: Fn(usize) -> Owners, E: FnMut(u16, usize)> Search<P, E> {
    /// Finds the depth of those who have `low` blocks and not `high`.
    fn split(&mut self, low: usize, at_low: Owners, high: usize, at_high: Owners) {
        if at_high.is_many() || (!at_low.is_many() && at_low.seats().all(|seat| at_high.has(seat))) {
            return;
        }
        if high - low == 1 {
            self.lost(at_low, at_high, low);
            return;
        }
        let middle = low.midpoint(high);
        // An emulation may have lost a block in the middle; who has a later one counts as having it.
        let at_middle = (self.probe)(middle).within(at_low).with(at_high);
        self.split(low, at_low, middle, at_middle);
        self.split(middle, at_middle, high, at_high);
    }

    /// Those who are `before` and not `after` have `depth` blocks.
    fn lost(&mut self, before: Owners, after: Owners, depth: usize) {
        if before.is_many() {
            self.everywhere = depth;
            return;
        }
        for seat in before.seats().filter(|seat| !after.has(*seat)) {
            (self.each)(seat, depth);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn jumps_find_what_steps_find(
            blocks in 1_usize..2_048,
            depths in proptest::collection::vec(0_usize..2_100, 0..8),
            everywhere in 0_usize..2_048,
        ) {
            let everywhere = everywhere.saturating_sub(1_024_usize);
            let (probes, mut found) = (Cell::new(0), BTreeMap::new());
            let probe = |depth: usize| {
                probes.set(probes.get() + 1);
                let mut owners = Owners::default();
                if depth <= everywhere {
                    return Owners::everywhere(0);
                }
                for (seat, _) in (0..).zip(&depths).filter(|(_, deep)| **deep >= depth) {
                    owners.add(seat, 0);
                }
                owners
            };
            let shared = search(blocks, probe, |seat, depth| {
                assert!(found.insert(seat, depth).is_none(), "once for each");
            });
            prop_assert_eq!(shared, everywhere.min(blocks));
            let expected: BTreeMap<u16, usize> = (0..)
                .zip(depths.iter().map(|depth| *depth.min(&blocks)))
                .filter(|(_, depth)| *depth > shared)
                .collect();
            prop_assert_eq!(found, expected);
            let differ = depths.len() + 2;
            prop_assert!(probes.get() <= 12 + 11 * differ, "{} looks", probes.get());
        }

        #[test]
        fn whatever_is_in_the_index_it_ends_and_says_each_owner_once(
            having in proptest::collection::vec(0_u16..512, 1..300),
        ) {
            let probe = |depth: usize| {
                let mut owners = Owners::default();
                (0..9).filter(|seat| having[depth - 1] >> seat & 1 == 1).for_each(|seat| {
                    owners.add(seat, 0);
                });
                owners
            };
            let mut said = BTreeMap::new();
            search(having.len(), probe, |seat, depth| {
                assert!(said.insert(seat, depth).is_none());
            });
        }
    }
}
