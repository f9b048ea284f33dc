//! One GPU that does not exist, shared by all cores: what does it write, and when?
//!
//! Its work is planned and timed by [`Steps`](super::steps::Steps); here are the lock around them and a mailbox for
//! each request. Nothing runs by itself. Whoever polls brings the time, and first everything that was due by then
//! happens, each thing at its own instant: requests arrive, steps end, and for every token the instant at which it was
//! written is put into the mailbox of its request. What is noticed late is not late for ever.
//!
//! ```text
//!   enter ──▶ on the way ──▶ steps ──▶ mailbox: instant and sequence of each token ──▶ receive ──▶ leave
//!                              ▲                                                          │
//!                              └──────── whoever polls brings everything up to date ──────┘
//! ```
//!
//! Whoever finds nothing is told until when there can be nothing, and sleeps for so long: to the end of the step under
//! way. That is one wake-up for each token of those who decode. Who waits in line would wake for nothing, step after
//! step; after some steps it sleeps for a sixteenth of the time that it has waited, and leaves its waker:
//!
//! - whoever polls wakes those for whom something was written meanwhile;
//! - whoever leaves wakes the first in line, which follows every step again for a while;
//! - if nobody does either, because no other client reads, its own timer wakes it. Then, and only then, its first token
//!   may be noticed late, by a sixteenth of its wait at most; the tokens after it are at their times again.
//!
//! So nobody depends on anybody, and nobody polls in a loop. The lock is held for one step at a time: arithmetic in
//! proportion to the batch.

mod state;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use plimsoll_batching::step::{Limits, Refusal, Sequence};
use plimsoll_types::{Instant, StepTime};
use smallvec::SmallVec;

use super::tokens::Prompt;
use state::State;

/// What a request asks of a GPU.
#[derive(Debug, Clone, Default)]
pub(super) struct Work {
    /// What is to be read.
    pub(super) prompts: Vec<Prompt>,
    /// How many tokens each sequence will write: for each prompt as many sequences, one prompt after the other. With
    /// none, a sequence is over when its prompt has been read.
    pub(super) outputs: Vec<u32>,
}

impl Work {
    /// Sequences that begin with the same prompt.
    fn copies(&self) -> usize {
        self.outputs.len() / self.prompts.len().max(1)
    }

    /// The sequences, as a scheduler wants them.
    fn sequences(&self) -> impl Iterator<Item = Sequence<'_>> {
        self.outputs.iter().enumerate().map(|(index, &max_output)| {
            let prompt = &self.prompts[index / self.copies()];
            Sequence {
                // Models put a token before every text, so that there is something to read.
                prompt_tokens: prompt.tokens.max(1),
                hashes: &prompt.blocks,
                max_output,
                expected_output: None,
                priority: 0,
            }
        })
    }
}

/// What was written for a request at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Received {
    /// When.
    pub(super) at: Instant,
    /// Prompt tokens that did not have to be read, as far as is known: for all prompts, once each has been begun.
    pub(super) cached: u32,
    /// Whether it was the last.
    pub(super) over: bool,
}

/// The sequences that wrote a token, or have been read if they write none: their places in [`Work::outputs`].
pub(super) type Written = SmallVec<[u32; 8]>;

/// A request's number on one GPU, while it is there.
pub(super) type Ticket = u32;

/// One simulated GPU.
#[derive(Debug)]
pub(super) struct Gpu {
    state: Mutex<State>,
}

impl Gpu {
    /// An idle GPU with these times and limits.
    pub(super) fn new(time: StepTime, limits: Limits) -> Self {
        Self { state: Mutex::new(State::new(time, limits)) }
    }

    /// A request is on its way and will be here at `arrives`. Whoever gets a ticket owes a [`leave`](Self::leave).
    pub(super) fn enter(&self, work: Work, arrives: Instant) -> Result<Ticket, Refusal> {
        self.lock().enter(work, arrives)
    }

    /// What was written for a request next, as far as the news of it is here at `now`, having been on the way for
    /// `one_way`; its sequences are added to `written`. Otherwise the instant at which something may be written, and
    /// `waker` is woken if the wait ends before that.
    pub(super) fn receive(
        &self,
        ticket: Ticket,
        (now, one_way): (Instant, Duration),
        written: &mut Written,
        waker: &Waker,
    ) -> Result<Received, Instant> {
        self.up_to_date(now).receive(ticket, (now, one_way), written, waker)
    }

    /// A request is gone at `now`, whether it had ended or not.
    pub(super) fn leave(&self, ticket: Ticket, now: Instant) {
        let first_in_line = self.up_to_date(now).leave(ticket);
        if let Some(waker) = first_in_line {
            waker.wake();
        }
    }

    /// Lets everything happen that was due by `now`. Between two steps others may have the lock, and no waker is
    /// called under it.
    fn up_to_date(&self, now: Instant) -> MutexGuard<'_, State> {
        let mut wake = SmallVec::<[Waker; 4]>::new();
        loop {
            let mut state = self.lock();
            if !state.advance(now, &mut wake) {
                return state;
            }
            drop(state);
            wake.drain(..).for_each(Waker::wake);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
