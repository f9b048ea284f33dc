use std::collections::{BTreeMap, HashMap};

/// The prompt blocks whose keys and values a GPU still holds: the least recently used go first.
///
/// Blocks are numbers that depend on all text before them, so a block is worth something only where all blocks
/// before it are there too; of one prompt the last block is given up first.
#[derive(Debug)]
pub(super) struct Cache {
    room: usize,
    /// When each block was used last, and the same the other way round.
    used: HashMap<u64, u64>,
    order: BTreeMap<u64, u64>,
    uses: u64,
}

impl Cache {
    /// An empty cache with room for so many blocks.
    pub(super) fn new(room: usize) -> Self {
        Self { room, used: HashMap::new(), order: BTreeMap::new(), uses: 0 }
    }

    /// How many of the first `blocks` are there. Afterwards all of them are, as far as there is room.
    pub(super) fn admit(&mut self, blocks: &[u64]) -> usize {
        let cached = blocks.iter().take_while(|block| self.used.contains_key(block)).count();
        for &block in blocks.iter().rev() {
            self.uses += 1;
            if let Some(before) = self.used.insert(block, self.uses) {
                self.order.remove(&before);
            }
            self.order.insert(self.uses, block);
        }
        while self.used.len() > self.room
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.used.remove(&oldest);
        }
        cached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_run_of_blocks_from_the_beginning_counts() {
        let mut cache = Cache::new(100);
        assert_eq!(cache.admit(&[1, 2, 3]), 0);
        assert_eq!(cache.admit(&[1, 2, 3, 4]), 3);
        assert_eq!(cache.admit(&[9, 2, 3]), 0);
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room_and_the_end_of_a_prompt_before_its_beginning() {
        let mut cache = Cache::new(4);
        cache.admit(&[1, 2, 3]);
        cache.admit(&[7, 8]);
        assert_eq!(cache.admit(&[1, 2]), 2);
        assert_eq!((cache.used.len(), cache.order.len()), (4, 4));
        cache.admit(&[5, 6]);
        assert_eq!(cache.admit(&[7]), 0);
    }
}
