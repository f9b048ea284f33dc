//! The requests of one tenant that are equally urgent: deadlines first, then the short ones, and nobody too late.
//!
//! ```text
//!   oldest ── ─ ── ─ ── │ ── ── ─ ── newest        in the order of arrival
//!   would have left in  │  would still
//!   that order: passed  │  be waiting
//! ```
//!
//! Short ones overtake, and how late that makes others is measured: as tokens leave, a mark moves along the order of
//! arrival by as many, and whom it passes would have left by now. The oldest of those goes first once it is late by
//! `Limits::aging`. What still stands before it then is as much as overtook within that time, so that it takes as long
//! again at the most: at a steady rate nobody leaves later than twice the aging after his turn in the order of arrival.

use std::time::Duration;

use plimsoll_types::Instant;

use super::heap::Heap;
use super::nodes::{NONE, Node, Nodes};
use super::sizes::Sizes;

/// A request whose deadline leaves it less than this to begin goes before shorter ones.
const URGENT: Duration = Duration::from_secs(1);

/// The requests of one tenant in one band that may go to the same backends.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) of: Owner,
    pub(super) weight: u32,
    /// Tokens of its tenant in its band that were served so far, for a weight of one: the virtual token counter, which all
    /// flows of the tenant there have in common.
    pub(super) counter: u64,
    /// Those of them that were its own, by which its tenant's share is divided.
    pub(super) own: u64,
    pub(super) sizes: Sizes,
    shorts: Heap,
    /// By the last moment at which they can begin.
    urgent: Heap,
    oldest: u32,
    /// Since when the oldest is late, if it is.
    late: Instant,
    newest: u32,
    /// The oldest that would still be waiting.
    next: u32,
    /// Tokens that came and that left since somebody waits.
    came: u64,
    left: i64,
}

/// Whose a flow is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Owner {
    pub(super) band: usize,
    pub(super) reach: usize,
    pub(super) tenant: u64,
}

impl Flow {
    pub(super) fn new(of: Owner) -> Self {
        Self {
            of,
            weight: 1,
            counter: 0,
            own: 0,
            sizes: Sizes::default(),
            shorts: Heap::default(),
            urgent: Heap::default(),
            oldest: NONE,
            late: Instant::NEVER,
            newest: NONE,
            next: NONE,
            came: 0,
            left: 0,
        }
    }

    /// It becomes another's, and keeps its memory.
    pub(super) fn reuse(&mut self, of: Owner) {
        (self.of, self.counter, self.own) = (of, 0, 0);
    }

    /// Whether nobody waits here.
    pub(super) fn is_idle(&self) -> bool {
        self.oldest == NONE
    }

    /// One comes, who can begin until `latest`.
    pub(super) fn enter(&mut self, number: u32, latest: Instant, nodes: &mut Nodes) {
        let (older, tokens) = (self.newest, nodes[number].tokens);
        self.came += u64::from(tokens);
        let node = &mut nodes[number];
        (node.older, node.mark) = (older, self.came);
        // Equals in the order of arrival, as far as 32 bits tell it.
        let key = u64::from(tokens) << 32 | self.came & 0xffff_ffff;
        match older {
            NONE => self.oldest = number,
            older => nodes[older].newer = number,
        }
        self.newest = number;
        if self.next == NONE {
            self.next = number;
        }
        self.sizes.add(tokens);
        self.shorts.push((key, number), |number, place| nodes[number].short = place);
        if latest < Instant::NEVER {
            self.urgent.push((latest.as_nanos(), number), |number, place| nodes[number].urgent = place);
        }
    }

    /// One comes back that had its turn, and goes first.
    pub(super) fn enter_again(&mut self, number: u32, nodes: &mut Nodes) {
        let (newer, tokens) = (self.oldest, nodes[number].tokens);
        let node = &mut nodes[number];
        // It would have left long ago, which makes it late whatever the aging is.
        (node.newer, node.again, node.passed) = (newer, true, Instant::ORIGIN);
        match newer {
            NONE => self.newest = number,
            newer => nodes[newer].older = number,
        }
        (self.oldest, self.late) = (number, Instant::ORIGIN);
        // All that wait have as much more before them.
        self.left -= i64::from(tokens);
        self.sizes.add(tokens);
        let key = u64::from(tokens) << 32;
        self.shorts.push((key, number), |number, place| nodes[number].short = place);
    }

    /// Who goes first at `now`. There must be somebody.
    pub(super) fn first(&mut self, now: Instant, aging: Duration, nodes: &mut Nodes) -> u32 {
        if self.late + aging <= now {
            return self.oldest;
        }
        while let Some((latest, number)) = self.urgent.first() {
            if latest >= now.as_nanos() {
                if latest <= (now + URGENT).as_nanos() {
                    return number;
                }
                break;
            }
            // What cannot be kept anyway is no reason to hurry.
            self.forget_deadline(number, nodes);
        }
        self.shorts.first().map_or(self.oldest, |(_, number)| number)
    }

    /// Who came first. There must be somebody.
    pub(super) fn oldest(&self) -> u32 {
        self.oldest
    }

    /// One is served.
    pub(super) fn serve(&mut self, number: u32, now: Instant, nodes: &mut Nodes) {
        self.left += i64::from(nodes[number].tokens);
        self.take_out(number, nodes);
        self.pass(now, nodes);
    }

    /// One goes without having been served, at what is known to be no earlier than `now`.
    pub(super) fn cancel(&mut self, number: u32, now: Instant, nodes: &mut Nodes) {
        // Those behind him move up. So do those before him, which errs on the side of being early; and one who would
        // have been served already has made room for nobody.
        if nodes[number].passed == Instant::NEVER || nodes[number].again {
            self.left += i64::from(nodes[number].tokens);
        }
        self.take_out(number, nodes);
        self.pass(now, nodes);
    }

    fn take_out(&mut self, number: u32, nodes: &mut Nodes) {
        let Node { older, newer, tokens, short, urgent, .. } = nodes[number];
        match older {
            NONE => {
                self.oldest = newer;
                self.late = if newer == NONE { Instant::NEVER } else { nodes[newer].passed };
            }
            older => nodes[older].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => nodes[newer].older = older,
        }
        if self.next == number {
            self.next = newer;
        }
        self.sizes.remove(tokens);
        self.shorts.remove(short, |number, place| nodes[number].short = place);
        if urgent != NONE {
            self.forget_deadline(number, nodes);
        }
        if self.is_idle() {
            (self.came, self.left) = (0, 0);
        }
    }

    fn forget_deadline(&mut self, number: u32, nodes: &mut Nodes) {
        let place = std::mem::replace(&mut nodes[number].urgent, NONE);
        self.urgent.remove(place, |number, place| nodes[number].urgent = place);
    }

    /// Moves the mark.
    fn pass(&mut self, now: Instant, nodes: &mut Nodes) {
        while self.next != NONE && nodes[self.next].mark as i64 <= self.left {
            nodes[self.next].passed = now;
            if self.next == self.oldest {
                self.late = now;
            }
            self.next = nodes[self.next].newer;
        }
    }
}
