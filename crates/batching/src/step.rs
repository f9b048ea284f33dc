//! Plans the steps of a GPU: who writes a token in the next one, and which pieces of prompts are read beside that.
//!
//! A step has a budget of tokens. Those who decode come first, so that nobody's stream stalls; what is left of the
//! budget reads prompts in chunks (Sarathi-Serve). A sequence holds blocks of memory for what has been computed and
//! no more; blocks whose contents are known are shared. Who waits is let in by priority, then by arrival, and
//! when memory runs out nevertheless the latest of the lowest priority waits again and is computed anew later: what
//! it has written stays written.
//!
//! ```text
//!   loop { plan ──▶ execute, or ask StepTime how long it would take ──▶ done }      add, cancel: at any time
//! ```
//!
//! Hot path: a plan costs time in proportion to who runs and to the prompts that it lets in, and allocates nothing
//! once as many sequences as ever run together have run.

mod peak;
mod plan;
mod scheduler;
mod state;

pub use plan::{Admitted, Plan};
pub use scheduler::Scheduler;

/// What a GPU can do at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Tokens of one step.
    pub step_tokens: u32,
    /// Tokens of one prompt in one step.
    pub chunk_tokens: u32,
    /// Sequences that run together, and no more than a step has tokens.
    pub sequences: u32,
    /// Blocks of memory for keys and values.
    pub kv_blocks: u32,
    /// Tokens of a block.
    pub block_tokens: u32,
    /// Who is let in.
    pub admission: Admission,
}

impl Default for Limits {
    /// As vLLM V1 has them on a large GPU, but for the admission; 256k tokens of memory.
    fn default() -> Self {
        Self {
            step_tokens: 8_192,
            chunk_tokens: u32::MAX,
            sequences: 256,
            kv_blocks: 16_384,
            block_tokens: 16,
            admission: Admission::FuturePeak,
        }
    }
}

/// When a waiting sequence is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// When memory will suffice at the worst moment to come, if all write as much as is expected of them (LightLLM).
    FuturePeak,
    /// When memory suffices for its first chunk, as vLLM V1 does it: who lets in too many preempts them later.
    WhileItFits,
}

/// A prompt to be read and an answer to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequence<'a> {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// For each full block of the prompt a hash of all tokens up to its end; fewer of them mean that fewer are shared.
    pub hashes: &'a [u64],
    /// Tokens that it may write at most. With none it is over when its prompt has been read.
    pub max_output: u32,
    /// Tokens that it is expected to write, if anything is known of that.
    pub expected_output: Option<u32>,
    /// The higher goes first.
    pub priority: u8,
}

/// The name of a sequence in its scheduler, which no other ever bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SequenceId {
    slot: u32,
    generation: u32,
}

impl SequenceId {
    /// A small number that no other sequence bears at the same time, for tables beside the scheduler.
    #[must_use]
    pub fn slot(self) -> usize {
        self.slot as usize
    }
}

/// Why a sequence is refused: it would never be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is nothing to read.
    #[error("the prompt has no tokens")]
    Empty,
    /// Not even alone would it fit.
    #[error("prompt and answer may need memory for {tokens} tokens, and there is room for {room}")]
    TooLong {
        /// Tokens of prompt and answer that must be kept together at the end.
        tokens: u64,
        /// Tokens that can be kept.
        room: u64,
    },
}

/// A sequence has come to the end of what was to be computed of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wrote {
    /// Which one.
    pub id: SequenceId,
    /// Tokens that it has written by now, the one of this step among them.
    pub output: u32,
    /// Whether it may write no more, and is over whatever is said.
    pub last: bool,
}

/// How it goes on with a sequence that wrote a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It writes another.
    Continue,
    /// It is over, and its memory is free.
    End,
}
