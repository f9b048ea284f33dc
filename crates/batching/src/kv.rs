//! Keeps account of the pages of a GPU's memory for keys and values, and of what they hold.
//!
//! ```text
//!   free ── take ──▶ held by one ── share ──▶ held by several
//!    ▲                  │   ▲                      │
//!    │       give back, │   │ share                │ give back
//!    │        not ready │   │                      ▼
//!    ├──────────────────┴── idle: held by none, ready to be shared ── take, the longest idle first ──▶ held
//! ```
//!
//! Hot path: no allocation once made, no lock; each call costs the same however many blocks there are.

const NONE: u32 = u32::MAX;

/// The number of a block, from zero.
pub type Block = u32;

/// The blocks of one GPU: who holds how many, and which can be used again instead of being computed again.
///
/// A block with a name can be found by those whose tokens begin alike. The name is a hash of all tokens up to the end
/// of the block, so that equal names mean equal prefixes; it is 64 bits that the caller chose well.
#[derive(Debug)]
pub struct Kv {
    capacity: u32,
    /// Blocks that were ever taken: memory is touched as it is needed.
    entries: Vec<Entry>,
    /// The first of the free ones among them.
    vacant: u32,
    /// The block held by none for longest, and the one for the shortest time.
    oldest: u32,
    newest: u32,
    /// For each bucket of names the complement of its first block: empty ones are zero, and zeroes that nobody has
    /// written to take no memory.
    buckets: Vec<u32>,
    held: u32,
    idle: u32,
    shared: u32,
}

#[derive(Debug)]
struct Entry {
    name: u64,
    holders: u32,
    /// Neighbours among the idle; `newer` also joins the free.
    older: u32,
    newer: u32,
    /// The next block of the same bucket.
    next: u32,
    state: State,
    /// Held by several at once, at some time since it was last held by none.
    shared: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody else can find it.
    Private,
    /// Its contents are being computed.
    Announced,
    /// Whoever knows its name may share it.
    Ready,
}

/// How much of a prefix is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Prefix {
    /// Blocks from the beginning that can be shared.
    pub blocks: u32,
    /// How many of them nobody holds: sharing them takes them off the free ones.
    pub idle: u32,
    /// How many of them one holder has for itself so far.
    pub single: u32,
    /// Whether the next block is being computed just now.
    pub soon: bool,
}

impl Kv {
    /// So many blocks, all free.
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        // Half empty, so that a bucket seldom has more than one block.
        let buckets = (capacity as usize * 2).next_power_of_two().max(2);
        Self {
            capacity,
            entries: Vec::with_capacity(capacity as usize),
            vacant: NONE,
            oldest: NONE,
            newest: NONE,
            buckets: vec![!NONE; buckets],
            held: 0,
            idle: 0,
            shared: 0,
        }
    }

    /// Blocks in all.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Blocks that can be taken: those held by none, whether they can be found or not.
    #[must_use]
    pub fn free(&self) -> u32 {
        self.capacity - self.held
    }

    /// Blocks held by none that can still be found.
    #[must_use]
    pub fn idle(&self) -> u32 {
        self.idle
    }

    /// Blocks held that several have shared.
    #[must_use]
    pub fn shared(&self) -> u32 {
        self.shared
    }

    /// How much of the prefix with these names is there.
    #[must_use]
    pub fn prefix(&self, names: &[u64]) -> Prefix {
        let mut prefix = Prefix::default();
        for &name in names {
            let Some(entry) = self.find(name).map(|block| &self.entries[block as usize]) else { break };
            if entry.state != State::Ready {
                prefix.soon = true;
                break;
            }
            prefix.blocks += 1;
            prefix.idle += u32::from(entry.holders == 0);
            prefix.single += u32::from(entry.holders > 0 && !entry.shared);
        }
        prefix
    }

    /// Holds the block of this name; `None` where it is not there or not ready.
    pub fn share(&mut self, name: u64) -> Option<Block> {
        let block = self.find(name)?;
        let entry = &mut self.entries[block as usize];
        if entry.state != State::Ready {
            return None;
        }
        entry.holders += 1;
        if entry.holders == 1 {
            self.held += 1;
            self.leave_idle(block);
        } else if !entry.shared {
            entry.shared = true;
            self.shared += 1;
        }
        Some(block)
    }

    /// Holds a block with nothing in it. If all others are held or idle, the longest idle one is forgotten.
    pub fn take(&mut self) -> Option<Block> {
        let block = if self.vacant != NONE {
            let block = self.vacant;
            self.vacant = self.entries[block as usize].newer;
            block
        } else if (self.entries.len() as u32) < self.capacity {
            let block = self.entries.len() as u32;
            self.entries.push(Entry::new());
            block
        } else if self.oldest != NONE {
            let block = self.oldest;
            self.leave_idle(block);
            self.forget(block);
            block
        } else {
            return None;
        };
        self.entries[block as usize].holders = 1;
        self.held += 1;
        Some(block)
    }

    /// Names a block that is held and about to be computed. A name that another block has stays with that.
    pub fn announce(&mut self, block: Block, name: u64) {
        if self.entries[block as usize].state != State::Private || self.find(name).is_some() {
            return;
        }
        let bucket = self.bucket(name);
        let entry = &mut self.entries[block as usize];
        (entry.name, entry.state, entry.next) = (name, State::Announced, !self.buckets[bucket]);
        self.buckets[bucket] = !block;
    }

    /// An announced block has been computed: from now on it can be shared.
    pub fn publish(&mut self, block: Block) {
        let entry = &mut self.entries[block as usize];
        if entry.state == State::Announced {
            entry.state = State::Ready;
        }
    }

    /// One holder of a block gives it back. Of a prefix the last block should be given back first, since it is of no
    /// use without those before it.
    pub fn give_back(&mut self, block: Block) {
        let entry = &mut self.entries[block as usize];
        debug_assert!(entry.holders > 0, "only what is held can be given back");
        entry.holders -= 1;
        if entry.holders > 0 {
            return;
        }
        self.held -= 1;
        self.shared -= u32::from(std::mem::take(&mut entry.shared));
        match entry.state {
            State::Ready => self.become_idle(block),
            State::Announced => {
                self.forget(block);
                self.vacate(block);
            }
            State::Private => self.vacate(block),
        }
    }

    fn find(&self, name: u64) -> Option<Block> {
        let mut block = !self.buckets[self.bucket(name)];
        while block != NONE {
            let entry = &self.entries[block as usize];
            if entry.name == name {
                return Some(block);
            }
            block = entry.next;
        }
        None
    }

    fn bucket(&self, name: u64) -> usize {
        // Fibonacci hashing: names need not be spread well over the low bits.
        let bits = self.buckets.len().trailing_zeros();
        (name.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - bits)) as usize
    }

    /// Takes a block's name from it.
    fn forget(&mut self, block: Block) {
        let (name, next) = (self.entries[block as usize].name, self.entries[block as usize].next);
        let bucket = self.bucket(name);
        if self.buckets[bucket] == !block {
            self.buckets[bucket] = !next;
        } else {
            let mut before = !self.buckets[bucket] as usize;
            while self.entries[before].next != block {
                before = self.entries[before].next as usize;
            }
            self.entries[before].next = next;
        }
        self.entries[block as usize].state = State::Private;
    }

    fn vacate(&mut self, block: Block) {
        self.entries[block as usize].newer = self.vacant;
        self.vacant = block;
    }

    fn become_idle(&mut self, block: Block) {
        let entry = &mut self.entries[block as usize];
        (entry.older, entry.newer) = (self.newest, NONE);
        match self.newest {
            NONE => self.oldest = block,
            newest => self.entries[newest as usize].newer = block,
        }
        self.newest = block;
        self.idle += 1;
    }

    fn leave_idle(&mut self, block: Block) {
        let Entry { older, newer, .. } = self.entries[block as usize];
        match older {
            NONE => self.oldest = newer,
            older => self.entries[older as usize].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.entries[newer as usize].older = older,
        }
        self.idle -= 1;
    }
}

impl Entry {
    fn new() -> Self {
        Self {
            name: 0,
            holders: 0,
            older: NONE,
            newer: NONE,
            next: NONE,
            state: State::Private,
            shared: false,
        }
    }
}

#[cfg(test)]
mod tests;
