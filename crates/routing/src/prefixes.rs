//! Where a prompt is cached and where it is at home, for one pick. Hot path: no allocation, no await, no lock for more than
//! O(1).
//!
//! What was sent from here is known (`affinity`). What other gateways sent is not, but it can be met: a prompt that nobody
//! is known to have goes home, to a backend that its hash names on every gateway, if that costs no more than what is to be
//! found there. How much that is, is learned from what backends say that they had cached.

use crate::candidates::Cached;
use crate::dispatched::Found;
use crate::{Pool, RequestShape};

/// What is known of a prompt. The space is that of one core, used again for each pick.
#[derive(Debug, Default)]
pub(crate) struct Prefixes {
    /// Tokens that backends have cached, by slot; zero between picks.
    cached: Vec<u32>,
    /// The slots that may be not zero there.
    owners: Vec<u32>,
    /// Members at which it is at home, the first of them first.
    homes: Vec<u32>,
    /// Tokens that all have of whom nothing else is known, and that those have who have the most.
    everywhere: u32,
    most: u32,
    /// Tokens that are known to be cached at the first home, where more is presumed.
    known_at_home: Option<u32>,
}

/// Members that are taken to be a prompt's homes in the most, one after the other.
const HOMES: usize = 8;
/// Places of the ring that are passed to find them.
const PASSED: usize = 64;

impl Prefixes {
    /// Looks up who has how much of the prompt of `request` cached, and at which of the members that are `usable` it is at
    /// home.
    pub(crate) fn look_up(
        &mut self,
        pool: &Pool,
        request: &RequestShape<'_>,
        usable: impl Fn(usize) -> bool,
    ) {
        let (mut deepest, mut holders) = (0, 0);
        if let Some(index) = &pool.index
            && !request.blocks.hashes().is_empty()
        {
            let everywhere = index.matched(request.blocks.hashes(), request.now, |slot, depth| {
                self.note(slot, tokens(request, depth));
                if depth > deepest {
                    (deepest, holders) = (depth, 0);
                }
                holders += usize::from(depth == deepest);
            });
            if everywhere >= deepest {
                (deepest, holders) = (everywhere, pool.members.len());
            }
            (self.everywhere, self.most) = (tokens(request, everywhere), tokens(request, deepest));
        }
        // Where somebody has more of it than most have, it is with that one and has no other home.
        if holders == 0 || holders * 2 > pool.members.len() {
            self.find_homes((pool, deepest), request, usable);
            self.presume(pool, request);
        }
    }

    /// Tokens by backend, for candidates.
    pub(crate) fn cached(&self) -> Cached<'_> {
        Cached { everywhere: self.everywhere, by_slot: &self.cached }
    }

    /// The slots of those who have some of it, or where it is at home.
    pub(crate) fn owners(&self) -> &[u32] {
        &self.owners
    }

    /// The members at which it is at home.
    pub(crate) fn homes(&self) -> &[u32] {
        &self.homes
    }

    /// Tokens that those are known to have who have the most.
    pub(crate) fn most(&self) -> u32 {
        self.most
    }

    /// What is expected to be cached at `member`, that is `expected` tokens.
    pub(crate) fn found(&self, member: usize, expected: u32) -> Found {
        let is_home = self.homes.first() == Some(&(member as u32));
        Found { expected, known_at_home: self.known_at_home.filter(|_| is_home) }
    }

    /// Makes room for the next.
    pub(crate) fn forget(&mut self) {
        self.owners.drain(..).for_each(|slot| self.cached[slot as usize] = 0);
        self.homes.clear();
        (self.everywhere, self.most, self.known_at_home) = (0, 0, None);
    }

    /// Notes that the backend in `slot` has so many tokens.
    fn note(&mut self, slot: usize, tokens: u32) {
        if self.cached.len() <= slot {
            self.cached.resize(slot + 1, 0);
        }
        self.cached[slot] = self.cached[slot].max(tokens);
        self.owners.push(slot as u32);
    }

    /// Finds the homes by the first block that nobody is known to have: what is before it, a system prompt perhaps, may be
    /// half the world's.
    fn find_homes(
        &mut self,
        (pool, known): (&Pool, usize),
        request: &RequestShape<'_>,
        usable: impl Fn(usize) -> bool,
    ) {
        let (Some(ring), Some(key)) = (&pool.ring, request.blocks.hashes().get(known)) else { return };
        let wanted = if pool.index.is_some() { 1 } else { HOMES };
        for home in ring.from(*key).take(PASSED) {
            let member = &pool.members[home as usize];
            if usable(home as usize) && !self.homes.contains(&home) {
                self.homes.push(home);
                self.note(member.slot, 0);
                if self.homes.len() == wanted {
                    return;
                }
            }
        }
    }

    /// Takes into account that other gateways send what begins like this prompt to its home too: some of what nobody is
    /// known to have is there.
    fn presume(&mut self, pool: &Pool, request: &RequestShape<'_>) {
        let (Some(_), Some(home)) = (&pool.index, self.homes.first()) else { return };
        let slot = pool.members[*home as usize].slot;
        let known = self.cached[slot].max(self.everywhere);
        let unknown = request.prompt_tokens.saturating_sub(known);
        self.cached[slot] = known + (unknown as f32 * pool.learned.worth_of_home(request.now)) as u32;
        self.known_at_home = Some(known);
    }
}

/// Tokens of a prompt that so many blocks are.
fn tokens(request: &RequestShape<'_>, blocks: usize) -> u32 {
    // The last token is always read.
    let share = request.blocks.share(blocks).min(1.0);
    ((request.prompt_tokens as f32 * share) as u32).min(request.prompt_tokens.saturating_sub(1))
}
