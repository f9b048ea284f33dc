//! Requests and when they arrive: what is replayed.
//!
//! ```text
//!   a file: azure, mooncake, plain ── read ──▶ ┐
//!   a folder of client models: servegen ─────▶ ├── Trace ── shape: part, rate, copies ──▶ Trace
//!   synthetic: sessions ── arrivals, lengths ▶ ┤
//!   parts: synthetic ones beside each other ─▶ ┘
//!                                          source: all of it, as a YAML file says
//! ```
//!
//! Start reading at [`Trace`]; [`read()`] reads a file, and [`Source`] whatever a scenario asks for.

mod answer;
mod arrivals;
mod azure;
mod builder;
mod lengths;
mod lines;
mod mooncake;
mod parts;
pub mod plain;
mod problems;
mod read;
mod servegen;
pub mod shape;
mod source;
mod synthetic;

pub use answer::Answer;
pub use arrivals::{Arrivals, Region};
pub use lengths::Law;
pub use parts::Part;
pub use problems::{Error, Problems};
pub use read::{Options, read, read_from};
pub use source::{Share, Source};
pub use synthetic::{Synthetic, WORKLOADS};

use std::time::Duration;

/// Requests in the order of their arrival.
///
/// A prompt is known by its length and, where the source tells, by the blocks that it begins with: equal block ids mean
/// equal prompts up to the end of that block.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trace {
    /// What it is called in reports.
    pub name: String,
    /// Tokens of a block; zero where the trace has none.
    pub block_tokens: u32,
    /// The names that `model` of an arrival counts; at least one.
    pub models: Vec<String>,
    /// The names that `tenant` of an arrival counts; at least one.
    pub tenants: Vec<String>,
    /// The names that `region` of an arrival counts; at least one, empty where callers are nowhere in particular.
    pub regions: Vec<String>,
    /// The requests.
    pub arrivals: Vec<Arrival>,
    /// The block ids of all requests, one request after the other.
    pub blocks: Vec<u64>,
}

/// One request of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// When it arrives, from the beginning of the trace.
    pub at: Duration,
    /// Tokens of its prompt, at least one.
    pub prompt_tokens: u32,
    /// Tokens of its answer, at least one.
    pub output_tokens: u32,
    /// Where its block ids begin in [`Trace::blocks`].
    pub first_block: u32,
    /// How many it has.
    pub block_count: u32,
    /// Which model it asks for.
    pub model: u16,
    /// Who sends it.
    pub tenant: u16,
    /// Where it comes from.
    pub region: u16,
    /// What comes back.
    pub answer: Answer,
}

impl Arrival {
    /// Whether its answer is a stream.
    #[must_use]
    pub fn streams(&self) -> bool {
        self.answer == Answer::Stream
    }

    /// Tokens that a backend writes for it: none for an embedding.
    #[must_use]
    pub fn written_tokens(&self) -> u32 {
        if self.answer == Answer::Embedding { 0 } else { self.output_tokens }
    }
}

impl Trace {
    /// The ids of the blocks that the prompt of `arrival` consists of, from its beginning; they may cover less than all
    /// of it.
    #[must_use]
    pub fn blocks_of(&self, arrival: &Arrival) -> &[u64] {
        let first = arrival.first_block as usize;
        &self.blocks[first..first + arrival.block_count as usize]
    }

    /// From the beginning to the last arrival.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.arrivals.last().map_or(Duration::ZERO, |arrival| arrival.at)
    }
}

#[cfg(test)]
mod tests;
