//! Puts the values of a prompt into the order in which a template writes them, and hashes them where they stand.
//!
//! ```text
//!   body in any order ── pieces: strings, numbers, words ── template's order ──▶ Chain ──▶ Blocks
//!   {"messages":[{"content":"b","role":"a"}],"tools":[…]}       tools, a, b
//! ```
//!
//! White space and the order of keys make no difference, apart from what templates write as it stands: the schemas of
//! tools, and what a message has besides its role and its content. A text and a list with that one text are the same;
//! `type` and `cache_control` are left out, the latter because clients move it on from turn to turn. What is hashed is
//! JSON text: two ways of escaping one text count as two, which costs a hit and never an answer. Every codec that turns
//! into such a body shares this. Hot path: no lock, no await; allocates only what grows once and is kept, and the
//! hashes.

use std::ops::Range;

use plimsoll_types::blocks::{self, BLOCK_BYTES, Chain};
use plimsoll_types::{Blocks, Text};

/// Pieces of one prompt that are looked at, by which the space for them is bounded: a megabyte. Token ids are a piece
/// each.
const MAX_PIECES: usize = 1 << 16;

/// Between two pieces: no byte of a JSON string.
const BORDER: &[u8] = b"\x1f";

/// A part of a prompt, in the order of templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// What may be called.
    Tools,
    /// What stands before the conversation.
    System,
    /// The conversation, or the text to go on with.
    Turns,
}

impl Part {
    /// The part that a member of the body is.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "tools" => Some(Self::Tools),
            "system" | "instructions" => Some(Self::System),
            "messages" | "prompt" | "input" => Some(Self::Turns),
            _ => None,
        }
    }
}

/// A value, or a key that a template writes.
#[derive(Debug, Clone, Copy)]
struct Piece {
    /// Part, turn and member, the highest bits first.
    place: u64,
    from: u32,
    to: u32,
}

/// The prompt of one body after another: gathered while the body is walked over, then hashed.
#[derive(Debug, Default)]
pub(crate) struct Prompt {
    pieces: Vec<Piece>,
    /// Bytes that are there at most.
    bytes: usize,
    /// Whether the pieces came in the order of the template, as they mostly do.
    sorted: bool,
    part: u64,
    tools: bool,
    turn: u64,
    member: u64,
    /// The depth of a key whose value is left out.
    left_out: Option<u32>,
    hashes: Vec<u64>,
    /// The salt of the tenant whose prompt it is; empty where all share theirs.
    salt: Text,
}

/// The member of a message that stands after role and content.
const OTHER: u64 = 2;

impl Prompt {
    /// A new body begins.
    pub(crate) fn clear(&mut self) {
        self.pieces.clear();
        (self.bytes, self.sorted) = (0, true);
    }

    /// Whose prompts may share the blocks of those that are read from now on.
    pub(crate) fn share_by(&mut self, salt: Text) {
        self.salt = salt;
    }

    /// The value of a part begins.
    pub(crate) fn enter(&mut self, part: Part) {
        (self.part, self.tools) = (part as u64, part == Part::Tools);
        (self.turn, self.member, self.left_out) = (0, OTHER, None);
    }

    /// A key inside the part: what it says in JSON, and where.
    pub(crate) fn key(&mut self, key: &[u8], at: Range<usize>, depth: u32) {
        if self.left_out.is_some_and(|out| depth > out) {
            return;
        }
        self.left_out = (key == b"cache_control" || (key == b"type" && !self.tools)).then_some(depth);
        if self.tools {
            if self.left_out.is_none() {
                self.push(at);
            }
        } else if depth == 2 {
            self.member = match key {
                b"role" => 0,
                b"content" => 1,
                _ => OTHER,
            };
        }
    }

    /// An object or a list begins inside the part.
    pub(crate) fn open(&mut self, depth: u32) {
        self.left_out = self.left_out.filter(|out| depth > *out);
        if depth == 2 {
            (self.turn, self.member) = (self.turn + 1, OTHER);
        }
    }

    /// A value of the part, which stands `at`, quotes included.
    pub(crate) fn scalar(&mut self, at: Range<usize>, depth: u32) {
        self.left_out = self.left_out.filter(|out| depth >= *out);
        if depth == 1 {
            (self.turn, self.member) = (self.turn + 1, OTHER);
        }
        if self.left_out.is_none() {
            self.push(at);
        }
    }

    fn push(&mut self, at: Range<usize>) {
        if self.pieces.len() == MAX_PIECES {
            return;
        }
        let place = self.part << 60 | self.turn << 8 | self.member;
        self.sorted &= self.pieces.last().is_none_or(|last| last.place <= place);
        self.bytes += at.len() + BORDER.len();
        self.pieces.push(Piece { place, from: at.start as u32, to: at.end as u32 });
    }

    /// The blocks of what was gathered from `body`, for those who share `salts`.
    pub(crate) fn blocks(&mut self, body: &[u8], salts: &[&[u8]]) -> Blocks {
        let text = |piece: &Piece| unquoted(&body[piece.from as usize..piece.to as usize]);
        if self.bytes < BLOCK_BYTES {
            let bytes = self.pieces.iter().map(|piece| text(piece).len() + BORDER.len()).sum::<usize>();
            return Blocks::new(&[], bytes as u32);
        }
        if !self.sorted {
            self.pieces.sort_unstable_by_key(|piece| (piece.place, piece.from));
        }
        let mut seed = blocks::seed(salts);
        if !self.salt.is_empty() {
            seed = blocks::seed(&[&seed.to_le_bytes(), self.salt.as_bytes()]);
        }
        let mut chain = Chain::new(seed, &mut self.hashes);
        for piece in &self.pieces {
            chain.add(text(piece));
            chain.add(BORDER);
        }
        let bytes = chain.bytes();
        Blocks::new(&self.hashes, bytes)
    }
}

fn unquoted(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text)
}

#[cfg(test)]
mod tests;
