//! The places of those that wait: numbers that are used again, and what stands there.

use plimsoll_types::Instant;

/// No number and no place.
pub(super) const NONE: u32 = u32::MAX;

/// A place in the queue. It is of no use once its request has left: the number may be another's by then, which is why
/// it knows whose turn it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    pub(super) number: u32,
    turn: u32,
}

impl Ticket {
    /// A small number that no other has at the same time.
    #[must_use]
    pub const fn number(self) -> usize {
        self.number as usize
    }
}

/// One that waits.
#[derive(Debug)]
pub(super) struct Node {
    turn: u32,
    pub(super) flow: u32,
    pub(super) tokens: u32,
    /// Neighbours in the order of arrival; `newer` also joins the vacant.
    pub(super) older: u32,
    pub(super) newer: u32,
    /// Where it stands among the short and among the urgent.
    pub(super) short: u32,
    pub(super) urgent: u32,
    pub(super) bytes: u64,
    /// Tokens that had come before it and its own: once so many have left, it would have, in the order of arrival.
    pub(super) mark: u64,
    /// When it would have.
    pub(super) passed: Instant,
    /// Whether it had its turn before.
    pub(super) again: bool,
}

/// All of them; what was given back is given out again, so that no memory is asked for while their number does not grow.
#[derive(Debug)]
pub(super) struct Nodes {
    nodes: Vec<Node>,
    vacant: u32,
    turns: u32,
}

impl Default for Nodes {
    fn default() -> Self {
        Self { nodes: Vec::new(), vacant: NONE, turns: 0 }
    }
}

impl Nodes {
    pub(super) fn add(&mut self, flow: u32, (tokens, bytes): (u32, u64)) -> u32 {
        self.turns = self.turns.wrapping_add(1);
        let node = Node {
            turn: self.turns,
            flow,
            tokens,
            older: NONE,
            newer: NONE,
            short: NONE,
            urgent: NONE,
            bytes,
            mark: 0,
            passed: Instant::NEVER,
            again: false,
        };
        match self.vacant {
            NONE => {
                self.nodes.push(node);
                self.nodes.len() as u32 - 1
            }
            number => {
                self.vacant = self[number].newer;
                self[number] = node;
                number
            }
        }
    }

    /// Gives a number back, whose ticket is void from now on.
    pub(super) fn free(&mut self, number: u32) {
        let vacant = std::mem::replace(&mut self.vacant, number);
        let node = &mut self[number];
        node.newer = vacant;
        node.flow = NONE;
    }

    pub(super) fn ticket(&self, number: u32) -> Ticket {
        Ticket { number, turn: self[number].turn }
    }

    /// How many have come since this one did.
    pub(super) fn since(&self, number: u32) -> u32 {
        self.turns.wrapping_sub(self[number].turn)
    }

    /// Whether whoever got this ticket still waits.
    pub(super) fn holds(&self, ticket: Ticket) -> bool {
        let node = self.nodes.get(ticket.number());
        node.is_some_and(|node| node.turn == ticket.turn && node.flow != NONE)
    }
}

impl std::ops::Index<u32> for Nodes {
    type Output = Node;
    fn index(&self, number: u32) -> &Node {
        &self.nodes[number as usize]
    }
}

impl std::ops::IndexMut<u32> for Nodes {
    fn index_mut(&mut self, number: u32) -> &mut Node {
        &mut self.nodes[number as usize]
    }
}
