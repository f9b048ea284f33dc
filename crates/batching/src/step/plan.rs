use plimsoll_types::{Chunked, StepTime};

use super::SequenceId;

/// What is to be computed in one step.
#[derive(Debug, Default)]
pub struct Plan {
    pub(super) decodes: Vec<SequenceId>,
    pub(super) context: u64,
    pub(super) prefills: Vec<SequenceId>,
    pub(super) chunks: Vec<Chunked>,
    pub(super) admitted: Vec<Admitted>,
    pub(super) preempted: Vec<SequenceId>,
}

/// A sequence that was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// Which one.
    pub id: SequenceId,
    /// Its first tokens, so many, need not be computed.
    pub cached: u32,
}

impl Plan {
    /// Room for so many sequences.
    pub(super) fn new(sequences: usize) -> Self {
        Self {
            decodes: Vec::with_capacity(sequences),
            context: 0,
            prefills: Vec::with_capacity(sequences),
            chunks: Vec::with_capacity(sequences),
            admitted: Vec::with_capacity(sequences),
            preempted: Vec::with_capacity(sequences),
        }
    }

    /// Those that decode one token.
    #[must_use]
    pub fn decodes(&self) -> &[SequenceId] {
        &self.decodes
    }

    /// Tokens of context that they decode over in all, the new ones among them.
    #[must_use]
    pub fn context(&self) -> u64 {
        self.context
    }

    /// Those of which a piece is read; the pieces are [`chunks`](Self::chunks), in the same order.
    #[must_use]
    pub fn prefills(&self) -> &[SequenceId] {
        &self.prefills
    }

    /// The pieces that are read.
    #[must_use]
    pub fn chunks(&self) -> &[Chunked] {
        &self.chunks
    }

    /// Those let in for this step.
    #[must_use]
    pub fn admitted(&self) -> &[Admitted] {
        &self.admitted
    }

    /// Those that lost their memory before this step and wait again.
    #[must_use]
    pub fn preempted(&self) -> &[SequenceId] {
        &self.preempted
    }

    /// Tokens of the step.
    #[must_use]
    pub fn tokens(&self) -> u32 {
        self.decodes.len() as u32 + self.chunks.iter().map(|chunk| chunk.tokens).sum::<u32>()
    }

    /// Whether there is nothing to compute.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.decodes.is_empty() && self.chunks.is_empty()
    }

    /// Milliseconds that the step takes on a GPU with these constants.
    #[must_use]
    pub fn millis(&self, time: &StepTime) -> f64 {
        time.millis(&self.chunks, self.decodes.len() as u32, self.context)
    }

    pub(super) fn clear(&mut self) {
        self.decodes.clear();
        self.context = 0;
        self.prefills.clear();
        self.chunks.clear();
        self.admitted.clear();
        self.preempted.clear();
    }
}
