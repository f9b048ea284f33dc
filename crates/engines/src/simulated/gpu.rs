//! One GPU that does not exist: when does it read a prompt, and when does it write the next token?
//!
//! ```text
//!   enter ──▶ waiting ──▶ prefill, one request after the other ──▶ decode, all together ──▶ leave
//!             (no place)                                            step(B sequences, K tokens of context)
//! ```
//!
//! All times are absolute: a step begins where the one before it ended, so what is late once is not late for ever.
//! Nothing waits here. Whoever asks brings the time, is told when something is due, and is woken when that changes.
//!
//! This is less than an engine: prefill and decode do not slow each other, memory for keys and values is bounded by
//! the number of sequences only, and a sequence counts from when its first token is taken. Continuous batching step
//! by step is the business of a scheduler with a crate of its own.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use plimsoll_types::{Chunked, Instant, StepTime};
use smallvec::SmallVec;

use super::cache::Cache;
use super::tokens::{BLOCK, Prompt};

/// Prompt tokens that one step prefills (vLLM's `max_num_batched_tokens` on large GPUs).
const STEP_TOKENS: u32 = 8_192;
/// Blocks of prompts that stay cached: a quarter of what an H200 holds beside an 8B model, to keep this process small.
const CACHED_BLOCKS: usize = 16_384;

/// What a request asks of a GPU.
#[derive(Debug, Clone)]
pub(super) struct Work {
    /// What is to be read.
    pub(super) prompts: Vec<Prompt>,
    /// How many sequences are to be written at a time.
    pub(super) sequences: u32,
}

/// Sequences that decode, and the tokens of context that they decode over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Decoding {
    /// How many there are.
    pub(super) sequences: u32,
    /// Their context in all.
    pub(super) context: u64,
}

/// The end of a prefill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prefilled {
    /// When the first token is there.
    pub(super) at: Instant,
    /// Prompt tokens that did not have to be read again.
    pub(super) cached: u32,
}

/// A request's number on one GPU.
pub(super) type Ticket = u64;

/// One simulated GPU, shared by all cores. The lock is held for arithmetic only.
#[derive(Debug)]
pub(super) struct Gpu {
    time: StepTime,
    places: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tickets: Ticket,
    /// Places in use: sequences that prefill or decode.
    taken: u32,
    decoding: Decoding,
    /// Requests that have a place and have not taken their first token, in order.
    prefills: VecDeque<Prefill>,
    /// When the last of them is through.
    free_at: Instant,
    /// Requests that have no place yet, in order.
    waiting: VecDeque<Waiting>,
    cache: Cache,
}

#[derive(Debug)]
struct Prefill {
    ticket: Ticket,
    start: Instant,
    done: Prefilled,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    work: Work,
    waker: Option<Waker>,
}

impl Gpu {
    /// An idle GPU that takes these times and has room for so many sequences at a time.
    pub(super) fn new(time: StepTime, places: u32) -> Self {
        let state = State {
            tickets: 0,
            taken: 0,
            decoding: Decoding::default(),
            prefills: VecDeque::new(),
            free_at: Instant::ORIGIN,
            waiting: VecDeque::new(),
            cache: Cache::new(CACHED_BLOCKS),
        };
        Self { time, places, state: Mutex::new(state) }
    }

    /// A request arrives at `now`. Its prefill begins when those before it are through.
    pub(super) fn enter(&self, work: Work, now: Instant) -> Ticket {
        let mut state = self.lock();
        let ticket = state.tickets;
        state.tickets += 1;
        let waiting = Waiting { ticket, work, waker: None };
        if state.waiting.is_empty() && self.has_room(&state, &waiting.work) {
            self.place(&mut state, waiting, now);
        } else {
            state.waiting.push_back(waiting);
        }
        ticket
    }

    /// When the prefill ends; `None` while the request waits for a place. `waker` is woken if the answer changes.
    pub(super) fn prefilled(&self, ticket: Ticket, waker: &Waker) -> Option<Prefilled> {
        let mut state = self.lock();
        if let Ok(index) = state.prefill(ticket) {
            let prefill = &mut state.prefills[index];
            keep(&mut prefill.waker, waker);
            return Some(prefill.done);
        }
        if let Some(waiting) = state.waiting.iter_mut().find(|waiting| waiting.ticket == ticket) {
            keep(&mut waiting.waker, waker);
        }
        None
    }

    /// A request has taken its first token: its sequences decode from here on. Gives how long their next step takes.
    pub(super) fn decode(&self, ticket: Ticket, share: Decoding) -> Duration {
        let mut state = self.lock();
        if let Ok(index) = state.prefill(ticket) {
            state.prefills.remove(index);
        }
        state.decoding.sequences += share.sequences;
        state.decoding.context += share.context;
        self.step_time(&state)
    }

    /// A request's share of the batch changes. Gives how long the next step takes.
    pub(super) fn step(&self, before: Decoding, after: Decoding) -> Duration {
        let mut state = self.lock();
        state.change(before, after);
        self.step_time(&state)
    }

    /// A request is gone at `now`, with what is left of its share of the batch, whether it had ended or not. Its
    /// places go to those who wait, and prefills behind it move up.
    pub(super) fn leave(&self, ticket: Ticket, sequences: u32, share: Decoding, now: Instant) {
        let mut wake = SmallVec::<[Waker; 4]>::new();
        let mut state = self.lock();
        state.change(share, Decoding::default());
        if let Some(index) = state.waiting.iter().position(|waiting| waiting.ticket == ticket) {
            state.waiting.remove(index);
        } else {
            state.taken = state.taken.saturating_sub(self.places_of(sequences));
            state.remove_prefill(ticket, now, &mut wake);
        }
        while let Some(next) = state.waiting.pop_front() {
            if !self.has_room(&state, &next.work) {
                state.waiting.push_front(next);
                break;
            }
            wake.extend(next.waker.clone());
            self.place(&mut state, next, now);
        }
        drop(state);
        wake.into_iter().for_each(Waker::wake);
    }

    /// A request with more sequences than there are places takes them all.
    fn places_of(&self, sequences: u32) -> u32 {
        sequences.min(self.places)
    }

    fn has_room(&self, state: &State, work: &Work) -> bool {
        state.taken + self.places_of(work.sequences) <= self.places
    }

    fn place(&self, state: &mut State, request: Waiting, now: Instant) {
        let Waiting { ticket, work, waker } = request;
        state.taken += self.places_of(work.sequences);
        let mut cached = 0;
        let pieces: SmallVec<[Chunked; 1]> = work
            .prompts
            .iter()
            .map(|prompt| {
                let blocks = state.cache.admit(&prompt.blocks) as u32;
                // The last token is always read: what follows it is what is asked for.
                let context = (blocks * BLOCK).min(prompt.tokens.saturating_sub(1));
                cached += context;
                Chunked { tokens: prompt.tokens - context, context }
            })
            .collect();
        let start = state.free_at.max(now);
        let at = start + self.prefill_time(&pieces);
        state.free_at = at;
        state.prefills.push_back(Prefill { ticket, start, done: Prefilled { at, cached }, waker });
    }

    /// How long it takes to read `pieces`, as many in one step as fit.
    fn prefill_time(&self, pieces: &[Chunked]) -> Duration {
        let (mut millis, mut room) = (0.0, STEP_TOKENS);
        let mut step = SmallVec::<[Chunked; 8]>::new();
        for piece in pieces {
            let Chunked { tokens: mut left, mut context } = *piece;
            while left > 0 {
                let tokens = left.min(room);
                step.push(Chunked { tokens, context });
                (left, context, room) = (left - tokens, context + tokens, room - tokens);
                if room == 0 {
                    millis += self.time.millis(&step, 0, 0);
                    step.clear();
                    room = STEP_TOKENS;
                }
            }
        }
        if !step.is_empty() {
            millis += self.time.millis(&step, 0, 0);
        }
        duration(millis)
    }

    fn step_time(&self, state: &State) -> Duration {
        duration(self.time.millis(&[], state.decoding.sequences, state.decoding.context))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Tickets are placed in the order in which they were given.
    fn prefill(&self, ticket: Ticket) -> Result<usize, usize> {
        self.prefills.binary_search_by_key(&ticket, |prefill| prefill.ticket)
    }

    fn change(&mut self, before: Decoding, after: Decoding) {
        self.decoding.sequences =
            (self.decoding.sequences + after.sequences).saturating_sub(before.sequences);
        self.decoding.context = (self.decoding.context + after.context).saturating_sub(before.context);
    }

    /// Takes a prefill out, and what is left of its time out of all that come after.
    fn remove_prefill(&mut self, ticket: Ticket, now: Instant, wake: &mut SmallVec<[Waker; 4]>) {
        let Some(removed) = self.prefill(ticket).ok().and_then(|index| self.prefills.remove(index)) else {
            return;
        };
        let saved = removed.done.at - removed.start.max(now);
        if saved.is_zero() {
            return;
        }
        self.free_at = earlier(self.free_at, saved);
        for prefill in self.prefills.iter_mut().filter(|prefill| prefill.ticket > ticket) {
            prefill.start = earlier(prefill.start, saved);
            prefill.done.at = earlier(prefill.done.at, saved);
            wake.extend(prefill.waker.clone());
        }
    }
}

fn keep(kept: &mut Option<Waker>, waker: &Waker) {
    match kept {
        Some(kept) => kept.clone_from(waker),
        None => *kept = Some(waker.clone()),
    }
}

fn earlier(instant: Instant, by: Duration) -> Instant {
    Instant::ORIGIN + (instant - Instant::ORIGIN).saturating_sub(by)
}

fn duration(millis: f64) -> Duration {
    Duration::from_secs_f64(millis / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One millisecond for each prompt token; ten for a step, and one more for each sequence in it.
    const TIME: StepTime = StepTime {
        host: 0.0,
        alpha: 0.0,
        beta: 0.0,
        p: 1.0,
        d0: 10.0,
        d1: 1.0,
        d2: 0.01,
        e0: 0.0,
        e1: 1.0,
        e2: 0.0,
    };

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    fn work(tokens: u32, sequences: u32) -> Work {
        let prompt = Prompt { tokens, ..Prompt::default() };
        Work { prompts: vec![prompt], sequences }
    }

    fn first(gpu: &Gpu, ticket: Ticket) -> Option<Instant> {
        gpu.prefilled(ticket, Waker::noop()).map(|prefilled| prefilled.at)
    }

    #[test]
    fn prompts_are_read_in_order_without_gaps() {
        let gpu = Gpu::new(TIME, 8);
        let (a, b) = (gpu.enter(work(100, 1), at(5)), gpu.enter(work(50, 1), at(20)));
        let c = gpu.enter(work(10, 1), at(300));
        assert_eq!(
            [a, b, c].map(|ticket| first(&gpu, ticket)),
            [Some(at(105)), Some(at(155)), Some(at(310))]
        );
    }

    #[test]
    fn a_step_takes_longer_the_more_sequences_decode() {
        let gpu = Gpu::new(TIME, 8);
        let (a, b) = (gpu.enter(work(100, 1), at(0)), gpu.enter(work(100, 2), at(0)));
        let one = Decoding { sequences: 1, context: 100 };
        let two = Decoding { sequences: 2, context: 200 };
        assert_eq!(gpu.decode(a, one), Duration::from_millis(12));
        assert_eq!(gpu.decode(b, two), Duration::from_millis(16));
        gpu.leave(b, 2, two, at(300));
        assert_eq!(gpu.step(one, Decoding { context: 200, ..one }), Duration::from_millis(13));
    }

    #[test]
    fn beyond_the_limit_requests_wait_in_order_and_a_place_goes_to_the_first() {
        let gpu = Gpu::new(TIME, 2);
        let (a, b) = (gpu.enter(work(10, 1), at(0)), gpu.enter(work(10, 2), at(0)));
        let c = gpu.enter(work(10, 1), at(0));
        assert_eq!((first(&gpu, a), first(&gpu, b), first(&gpu, c)), (Some(at(10)), None, None));
        gpu.leave(a, 1, Decoding::default(), at(50));
        assert_eq!((first(&gpu, b), first(&gpu, c)), (Some(at(60)), None));
        gpu.leave(b, 2, Decoding::default(), at(70));
        assert_eq!(first(&gpu, c), Some(at(80)));
    }

    #[test]
    fn a_request_that_leaves_gives_its_prefill_time_to_those_behind_it() {
        let gpu = Gpu::new(TIME, 8);
        let tickets = [100, 100, 100].map(|tokens| gpu.enter(work(tokens, 1), at(0)));
        gpu.leave(tickets[0], 1, Decoding::default(), at(40));
        assert_eq!((first(&gpu, tickets[1]), first(&gpu, tickets[2])), (Some(at(140)), Some(at(240))));
        gpu.leave(tickets[1], 1, Decoding::default(), at(40));
        assert_eq!(first(&gpu, tickets[2]), Some(at(140)));
    }

    #[test]
    fn one_who_waits_and_leaves_takes_no_place_with_it() {
        let gpu = Gpu::new(TIME, 1);
        let tickets = [10, 10, 10].map(|tokens| gpu.enter(work(tokens, 1), at(0)));
        gpu.leave(tickets[1], 1, Decoding::default(), at(5));
        gpu.leave(tickets[0], 1, Decoding::default(), at(10));
        assert_eq!(first(&gpu, tickets[2]), Some(at(20)));
        gpu.leave(tickets[2], 1, Decoding::default(), at(20));
        assert_eq!(gpu.lock().taken, 0);
    }

    #[test]
    fn a_prompt_read_before_is_not_read_again_but_for_its_end() {
        let gpu = Gpu::new(TIME, 8);
        let prompt = Prompt { tokens: 32, blocks: vec![1, 2], hash: 0 };
        let work = Work { prompts: vec![prompt], sequences: 1 };
        let (a, b) = (gpu.enter(work.clone(), at(0)), gpu.enter(work, at(0)));
        assert_eq!(first(&gpu, a), Some(at(32)));
        assert_eq!(gpu.prefilled(b, Waker::noop()), Some(Prefilled { at: at(33), cached: 31 }));
    }

    #[test]
    fn a_long_prompt_is_read_in_several_steps() {
        let gpu = Gpu::new(StepTime { host: 7.0, ..TIME }, 8);
        let a = gpu.enter(work(3 * STEP_TOKENS, 1), at(0));
        assert_eq!(first(&gpu, a), Some(at(u64::from(3 * STEP_TOKENS) + 21)));
    }
}
