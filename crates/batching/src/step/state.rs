use super::peak::Demand;
use super::{Sequence, SequenceId};
use crate::kv::{Block, Kv};

/// Tokens that few answers exceed.
const USUAL_OUTPUT: u32 = 2_048;

/// All that is known of one sequence. Its lists stay with the slot when it ends, for the next one.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) generation: u32,
    pub(super) phase: Phase,
    /// Its place in every order: the smaller goes first.
    pub(super) key: u64,
    pub(super) prompt: u32,
    pub(super) max_output: u32,
    pub(super) output: u32,
    /// Tokens from the beginning whose keys and values are there.
    pub(super) computed: u32,
    pub(super) blocks: Vec<Block>,
    expected: u32,
    hashes: Vec<u64>,
    /// How many of its blocks others held before it.
    shared: u32,
}

/// Where a sequence is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its slot is vacant.
    #[default]
    Gone,
    /// In the queue.
    Waiting,
    /// In the batch.
    Running,
}

impl State {
    /// A new sequence takes this slot.
    pub(super) fn begin(&mut self, sequence: &Sequence<'_>, key: u64, block_tokens: u32) {
        let (prompt, max_output) = (sequence.prompt_tokens, sequence.max_output);
        self.phase = Phase::Waiting;
        (self.key, self.prompt, self.max_output, self.output) = (key, prompt, max_output, 0);
        self.expected = sequence.expected_output.unwrap_or(max_output).min(max_output);
        (self.computed, self.shared) = (0, 0);
        self.hashes.clear();
        // A block that ends beyond the prompt has no name: nobody knows yet what will stand there.
        self.hashes.extend(sequence.hashes.iter().take((prompt / block_tokens) as usize));
        self.blocks.clear();
        // Room for a usual answer now, so that hardly a step has to make some.
        self.blocks.reserve((prompt + self.expected.min(USUAL_OUTPUT)).div_ceil(block_tokens) as usize);
    }

    /// Its name, if it stands in this slot.
    pub(super) fn id(&self, slot: u32) -> SequenceId {
        SequenceId { slot, generation: self.generation }
    }

    /// Tokens that have been given or written.
    pub(super) fn total(&self) -> u32 {
        self.prompt + self.output
    }

    /// Tokens that are to be computed before it writes.
    pub(super) fn pending(&self) -> u32 {
        self.total() - self.computed
    }

    /// Whether it writes its next token in one step of one token.
    pub(super) fn is_decoding(&self) -> bool {
        self.output > 0 && self.pending() == 1
    }

    /// The names of the blocks that it may share. The last token is always computed: what follows it is the question.
    pub(super) fn names(&self, block_tokens: u32) -> &[u64] {
        let most = ((self.total() - 1) / block_tokens) as usize;
        &self.hashes[..most.min(self.hashes.len())]
    }

    /// Blocks that it lacks to compute `tokens` more.
    pub(super) fn lacks(&self, tokens: u32, block_tokens: u32) -> u32 {
        (self.computed + tokens).div_ceil(block_tokens) - self.blocks.len() as u32
    }

    /// What it asks of memory, if `shared` of its blocks are other people's.
    pub(super) fn demand_beside(&self, shared: u32, block_tokens: u32) -> Demand {
        // Who writes more than was expected of him is expected to fill another block.
        let left = self.expected.saturating_sub(self.output).max(block_tokens);
        let left = left.min(self.max_output - self.output);
        // Of its last block it may use one token only.
        let held = self.total() + (block_tokens - 1) - shared * block_tokens;
        // The last token that it writes is not kept.
        Demand { growth: left.saturating_sub(1), held }
    }

    /// What it asks of memory.
    pub(super) fn demand(&self, block_tokens: u32) -> Demand {
        self.demand_beside(self.shared, block_tokens)
    }

    /// Shares the first blocks, `blocks` of them, which are there.
    pub(super) fn share(&mut self, kv: &mut Kv, blocks: u32, held: u32, block_tokens: u32) {
        self.blocks.extend(self.hashes[..blocks as usize].iter().map_while(|name| kv.share(*name)));
        self.computed = self.blocks.len() as u32 * block_tokens;
        self.shared = held;
    }

    /// Takes blocks for `tokens` more, which there must be, and announces those that will be full.
    pub(super) fn grow(&mut self, kv: &mut Kv, tokens: u32, block_tokens: u32) {
        let lacks = self.lacks(tokens, block_tokens);
        self.blocks.extend((0..lacks).map_while(|_| kv.take()));
        for index in self.filled(tokens, block_tokens) {
            kv.announce(self.blocks[index], self.hashes[index]);
        }
    }

    /// `tokens` more have been computed.
    pub(super) fn computed(&mut self, kv: &mut Kv, tokens: u32, block_tokens: u32) {
        for index in self.filled(tokens, block_tokens) {
            kv.publish(self.blocks[index]);
        }
        self.computed += tokens;
    }

    /// Gives all memory back.
    pub(super) fn release(&mut self, kv: &mut Kv) {
        self.blocks.drain(..).rev().for_each(|block| kv.give_back(block));
        (self.computed, self.shared) = (0, 0);
    }

    /// The named blocks that the next `tokens` fill.
    fn filled(&self, tokens: u32, block_tokens: u32) -> std::ops::Range<usize> {
        let end = ((self.computed + tokens) / block_tokens) as usize;
        let start = (self.computed / block_tokens) as usize;
        start..end.min(self.hashes.len()).max(start)
    }
}
