use std::ops::Index;
use std::sync::Arc;

use plimsoll_types::Instant;

use crate::Backend;

/// What a policy needs to know of a request.
#[derive(Debug, Clone, Copy)]
pub struct RequestShape {
    /// Prompt tokens, estimated.
    pub prompt_tokens: u32,
    /// The time of the pick.
    pub now: Instant,
}

/// Backends that may serve a request, at least one. Cheap to copy.
#[derive(Debug, Clone, Copy)]
pub struct Candidates<'a> {
    members: &'a [Arc<Backend>],
    /// Indices into `members`; `None` means all of them.
    chosen: Option<&'a [u32]>,
    prior: f32,
}

impl<'a> Candidates<'a> {
    /// The members at `chosen`, or all; `None` if that is nobody. `prior` is the pool's seconds per token.
    #[must_use]
    pub fn new(members: &'a [Arc<Backend>], chosen: Option<&'a [u32]>, prior: f32) -> Option<Self> {
        let any = chosen.map_or(members.len(), <[u32]>::len) > 0;
        any.then_some(Self { members, chosen, prior })
    }

    /// How many there are: at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.chosen.map_or(self.members.len(), <[u32]>::len)
    }

    /// Expected seconds to the first token if `request` went to candidate `index`.
    #[must_use]
    pub fn expected_ttft(&self, index: usize, request: &RequestShape) -> f32 {
        self[index].expected_ttft(request, self.prior)
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
