use std::ops::Index;
use std::sync::Arc;

use plimsoll_types::{Blocks, Instant};

use crate::{Allowed, Backend, Conditions, Cost};

/// What comes back, and so what can be observed of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Answer {
    /// A stream: its first token says when the prompt was read.
    #[default]
    Stream,
    /// Text as a whole: nothing says when the prompt was read.
    Whole,
    /// Nothing is written: embeddings, rerank, score, classify. All of its time is reading.
    Pooled,
}

impl Answer {
    /// Whether a prompt of this kind is read for writing, or for pooling: engines take different times for the two.
    pub(crate) fn is_pooled(self) -> bool {
        self == Self::Pooled
    }
}

/// What a policy needs to know of a request.
#[derive(Debug, Clone, Copy)]
pub struct RequestShape<'a> {
    /// Prompt tokens, estimated.
    pub prompt_tokens: u32,
    /// Tokens that the answer is expected to have.
    pub expected_output: u32,
    /// What the prompt begins with.
    pub blocks: &'a Blocks,
    /// Where it may be served.
    pub allowed: Allowed,
    /// What comes back.
    pub answer: Answer,
    /// The time of the pick.
    pub now: Instant,
    /// Whether somebody asks why it goes where it goes.
    pub explain: bool,
}

impl RequestShape<'_> {
    /// A request that is neither long nor short, to ask what would happen to it.
    #[must_use]
    pub fn typical(now: Instant) -> Self {
        Self {
            prompt_tokens: 1_000,
            expected_output: 200,
            blocks: Blocks::none(),
            allowed: Allowed::EVERYWHERE,
            answer: Answer::Stream,
            now,
            explain: false,
        }
    }
}

/// Backends that may serve a request, at least one. Cheap to copy.
#[derive(Debug, Clone, Copy)]
pub struct Candidates<'a> {
    members: &'a [Arc<Backend>],
    /// Indices into `members`; `None` means all of them.
    chosen: Option<&'a [u32]>,
    conditions: Conditions,
    cached: Cached<'a>,
    /// Members at which the prompt is at home, the first of them first.
    homes: &'a [u32],
}

/// Tokens of a prompt that backends have cached.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cached<'a> {
    /// What all have of whom nothing else is said.
    pub(crate) everywhere: u32,
    /// By slot; zero where nothing is said.
    pub(crate) by_slot: &'a [u32],
}

impl Cached<'_> {
    pub(crate) fn of(&self, slot: usize) -> u32 {
        self.by_slot.get(slot).copied().unwrap_or(0).max(self.everywhere)
    }
}

impl<'a> Candidates<'a> {
    /// The members at `chosen`, or all; `None` if that is nobody. `conditions` are the pool's.
    #[must_use]
    pub fn new(
        members: &'a [Arc<Backend>],
        chosen: Option<&'a [u32]>,
        conditions: Conditions,
    ) -> Option<Self> {
        let any = chosen.map_or(members.len(), <[u32]>::len) > 0;
        any.then_some(Self { members, chosen, conditions, cached: Cached::default(), homes: &[] })
    }

    /// The same backends, of which is known what they have cached of the prompt.
    #[must_use]
    pub(crate) fn knowing(self, cached: Cached<'a>) -> Self {
        Self { cached, ..self }
    }

    /// The same backends, of which the members in `homes` are those at which the prompt is at home.
    #[must_use]
    pub(crate) fn at_home(self, homes: &'a [u32]) -> Self {
        Self { homes, ..self }
    }

    /// The candidates at which the prompt is at home, in an order that all gateways agree on; none if it is too short.
    pub fn homes(&self) -> impl Iterator<Item = usize> {
        self.homes.iter().filter_map(|home| match self.chosen {
            Some(chosen) => chosen.iter().position(|member| member == home),
            None => Some(*home as usize),
        })
    }

    /// Tokens of the prompt that candidate `index` has cached.
    #[must_use]
    pub fn cached(&self, index: usize) -> u32 {
        self.cached.of(self[index].slot)
    }

    /// How many there are: at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.chosen.map_or(self.members.len(), <[u32]>::len)
    }

    /// Expected seconds to the first token if `request` went to candidate `index`.
    #[must_use]
    pub fn expected_ttft(&self, index: usize, request: &RequestShape<'_>) -> f32 {
        self[index].expected_ttft(request, &self.conditions)
    }

    /// What `request` would cost at candidate `index`.
    #[inline(always)]
    #[must_use]
    pub fn cost(&self, index: usize, request: &RequestShape<'_>) -> Cost {
        Cost::of(&self[index], request, self.cached(index), &self.conditions)
    }

    pub(crate) fn member(&self, index: usize) -> &'a Arc<Backend> {
        match self.chosen {
            Some(chosen) => &self.members[chosen[index] as usize],
            None => &self.members[index],
        }
    }
}

impl Index<usize> for Candidates<'_> {
    type Output = Backend;
    fn index(&self, index: usize) -> &Backend {
        self.member(index)
    }
}
