use std::collections::VecDeque;

use plimsoll_types::Chunked;

use super::peak::Peak;
use super::plan::{Admitted, Plan};
use super::state::{Phase, State};
use super::{Admission, Limits, Next, Refusal, Sequence, SequenceId, Wrote};
use crate::kv::{Block, Kv};

/// Sequences at the head of the queue that may let others pass, because what they begin with is being computed.
const PASSED: usize = 16;

/// Decides what a GPU computes in its next step.
#[derive(Debug)]
pub struct Scheduler {
    limits: Limits,
    kv: Kv,
    sequences: Vec<State>,
    /// Slots of sequences that are gone.
    vacant: Vec<u32>,
    /// Both in order of their keys.
    waiting: VecDeque<Place>,
    running: Vec<Place>,
    peak: Peak,
    plan: Plan,
    under_way: bool,
    arrivals: u64,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    key: u64,
    slot: u32,
}

impl Scheduler {
    /// A scheduler for a GPU that can do so much. A limit of zero counts as one.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let step_tokens = limits.step_tokens.max(1);
        let limits = Limits {
            step_tokens,
            chunk_tokens: limits.chunk_tokens.max(1),
            sequences: limits.sequences.clamp(1, step_tokens),
            kv_blocks: limits.kv_blocks.max(1),
            block_tokens: limits.block_tokens.max(1),
            ..limits
        };
        let sequences = limits.sequences as usize;
        Self {
            limits,
            kv: Kv::new(limits.kv_blocks),
            sequences: Vec::with_capacity(sequences),
            vacant: Vec::with_capacity(sequences),
            waiting: VecDeque::with_capacity(sequences),
            running: Vec::with_capacity(sequences),
            peak: Peak::new(sequences),
            plan: Plan::new(sequences),
            under_way: false,
            arrivals: 0,
        }
    }

    /// A sequence arrives. It waits until a plan lets it in.
    ///
    /// # Errors
    /// If it has no prompt, or could not be computed even alone.
    pub fn add(&mut self, sequence: &Sequence<'_>) -> Result<SequenceId, Refusal> {
        self.check(sequence)?;
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.sequences.push(State::default());
            self.sequences.len() as u32 - 1
        });
        // Descending by priority, then ascending by arrival.
        let key = u64::from(u8::MAX - sequence.priority) << 56 | self.arrivals;
        self.arrivals += 1;
        let state = &mut self.sequences[slot as usize];
        state.begin(sequence, key, self.limits.block_tokens);
        let id = state.id(slot);
        self.enqueue(Place { key, slot });
        Ok(id)
    }

    /// Whether a sequence could be computed at all.
    ///
    /// # Errors
    /// If it has no prompt, or would not fit even alone.
    pub fn check(&self, sequence: &Sequence<'_>) -> Result<(), Refusal> {
        if sequence.prompt_tokens == 0 {
            return Err(Refusal::Empty);
        }
        // The last token that is written is never read.
        let tokens = u64::from(sequence.prompt_tokens) + u64::from(sequence.max_output.saturating_sub(1));
        let room = u64::from(self.limits.kv_blocks) * u64::from(self.limits.block_tokens);
        if tokens > room.min(u64::from(u32::MAX / 2)) {
            return Err(Refusal::TooLong { tokens, room });
        }
        Ok(())
    }

    /// A sequence ends, at any time; what the step under way computes of it is for nothing. Whether there was one.
    pub fn cancel(&mut self, id: SequenceId) -> bool {
        let Some(state) = self.state(id) else { return false };
        let (key, phase) = (state.key, state.phase);
        if phase == Phase::Waiting {
            if let Ok(at) = self.waiting.binary_search_by_key(&key, |place| place.key) {
                self.waiting.remove(at);
            }
        } else if let Ok(at) = self.running.binary_search_by_key(&key, |place| place.key) {
            self.running.remove(at);
        }
        let state = &mut self.sequences[id.slot as usize];
        state.release(&mut self.kv);
        state.phase = Phase::Gone;
        state.generation = state.generation.wrapping_add(1);
        self.vacant.push(id.slot);
        true
    }

    /// What the next step computes: the same until it is [`done`](Self::done). Empty if there is nobody.
    pub fn plan(&mut self) -> &Plan {
        if !self.under_way {
            self.plan.clear();
            let mut budget = self.limits.step_tokens;
            self.plan_decodes(&mut budget);
            self.plan_prefills(&mut budget);
            // Who had to take memory from some has none for others.
            if self.plan.preempted.is_empty() {
                self.admit(&mut budget);
            }
            self.under_way = !self.plan.is_empty();
        }
        &self.plan
    }

    /// The planned step has been computed. `wrote` is told of each sequence that wrote a token, or came to the end of
    /// its prompt if it writes none, and says how it goes on.
    pub fn done(&mut self, mut wrote: impl FnMut(Wrote) -> Next) {
        if !std::mem::take(&mut self.under_way) {
            return;
        }
        for index in 0..self.plan.decodes.len() {
            self.advance(self.plan.decodes[index], 1, &mut wrote);
        }
        for index in 0..self.plan.prefills.len() {
            self.advance(self.plan.prefills[index], self.plan.chunks[index].tokens, &mut wrote);
        }
    }

    /// The blocks that hold what has been computed of a sequence, and what the plan adds to it, in order.
    #[must_use]
    pub fn blocks(&self, id: SequenceId) -> Option<&[Block]> {
        self.state(id).map(|state| &*state.blocks)
    }

    /// How many run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Tokens of prompts that are still to be computed, of those that wait and of those that run.
    #[must_use]
    pub fn unread(&self) -> u64 {
        let places = self.waiting.iter().chain(&self.running);
        let states = places.map(|place| &self.sequences[place.slot as usize]);
        states.filter(|state| !state.is_decoding()).map(|state| u64::from(state.pending())).sum()
    }

    /// The memory and what it holds.
    #[must_use]
    pub fn kv(&self) -> &Kv {
        &self.kv
    }

    fn plan_decodes(&mut self, budget: &mut u32) {
        let mut index = 0;
        while index < self.running.len() && *budget > 0 {
            let slot = self.running[index].slot;
            if self.sequences[slot as usize].is_decoding() {
                if !self.make_room(index, 1) {
                    return;
                }
                let state = &mut self.sequences[slot as usize];
                state.grow(&mut self.kv, 1, self.limits.block_tokens);
                self.plan.decodes.push(state.id(slot));
                self.plan.context += u64::from(state.total());
                *budget -= 1;
            }
            index += 1;
        }
    }

    fn plan_prefills(&mut self, budget: &mut u32) {
        let mut index = 0;
        while index < self.running.len() && *budget > 0 {
            let slot = self.running[index].slot;
            let state = &self.sequences[slot as usize];
            if !state.is_decoding() {
                let tokens = state.pending().min(self.limits.chunk_tokens).min(*budget);
                if !self.make_room(index, tokens) {
                    return;
                }
                self.plan_chunk(slot, tokens);
                *budget -= tokens;
            }
            index += 1;
        }
    }

    fn plan_chunk(&mut self, slot: u32, tokens: u32) {
        let state = &mut self.sequences[slot as usize];
        state.grow(&mut self.kv, tokens, self.limits.block_tokens);
        self.plan.prefills.push(state.id(slot));
        self.plan.chunks.push(Chunked { tokens, context: state.computed });
    }

    /// Preempts the latest and lowest until the sequence that runs at `index` can compute `tokens` more; false if
    /// it had to go itself.
    fn make_room(&mut self, index: usize, tokens: u32) -> bool {
        let state = &self.sequences[self.running[index].slot as usize];
        let lacks = state.lacks(tokens, self.limits.block_tokens);
        while self.kv.free() < lacks {
            self.preempt_last();
            if self.running.len() <= index {
                return false;
            }
        }
        true
    }

    fn preempt_last(&mut self) {
        let Some(place) = self.running.pop() else { return };
        let state = &mut self.sequences[place.slot as usize];
        let id = state.id(place.slot);
        // Decodes are planned in the order of those who run: if this one is among them, it is the last.
        if self.plan.decodes.last() == Some(&id) {
            self.plan.decodes.pop();
            self.plan.context -= u64::from(state.total());
        }
        state.release(&mut self.kv);
        state.phase = Phase::Waiting;
        self.plan.preempted.push(id);
        self.enqueue(place);
    }

    fn admit(&mut self, budget: &mut u32) {
        let full = self.running.len() >= self.limits.sequences as usize;
        if full || *budget == 0 || self.waiting.is_empty() {
            return;
        }
        if self.limits.admission == Admission::FuturePeak {
            let (sequences, block_tokens) = (&self.sequences, self.limits.block_tokens);
            self.peak.refresh(|id| {
                let state = &sequences[id.slot as usize];
                let runs = state.generation == id.generation && state.phase == Phase::Running;
                runs.then(|| state.demand(block_tokens))
            });
        }
        let mut passed = 0;
        while *budget > 0 && self.running.len() < self.limits.sequences as usize && passed < PASSED {
            let Some(place) = self.waiting.get(passed).copied() else { return };
            match self.look(place.slot, *budget) {
                Look::Soon => passed += 1,
                Look::Full => return,
                Look::Fits { blocks, held, tokens } => {
                    self.waiting.remove(passed);
                    self.start(place, blocks, held);
                    self.plan_chunk(place.slot, tokens);
                    *budget -= tokens;
                }
            }
        }
    }

    /// Whether a waiting sequence may be let in.
    fn look(&self, slot: u32, budget: u32) -> Look {
        let block_tokens = self.limits.block_tokens;
        let state = &self.sequences[slot as usize];
        let names = state.names(block_tokens);
        // Before each of its blocks is looked up: would it fit if all were there?
        if !self.fits_for_good(state, names.len() as u32, 0) {
            return Look::Full;
        }
        let prefix = self.kv.prefix(names);
        if prefix.soon {
            return Look::Soon;
        }
        let known = prefix.blocks * block_tokens;
        let tokens = (state.total() - known).min(self.limits.chunk_tokens).min(budget);
        let lacks = (known + tokens).div_ceil(block_tokens) - prefix.blocks;
        let held = prefix.blocks - prefix.idle;
        if lacks + prefix.idle > self.kv.free() || !self.fits_for_good(state, held, prefix.single) {
            return Look::Full;
        }
        Look::Fits { blocks: prefix.blocks, held, tokens }
    }

    /// Whether memory suffices at the worst moment to come if this one is let in, `held` of whose blocks others hold,
    /// `single` of them one alone.
    fn fits_for_good(&self, state: &State, held: u32, single: u32) -> bool {
        if self.limits.admission == Admission::WhileItFits || self.running.is_empty() {
            return true;
        }
        let block_tokens = u64::from(self.limits.block_tokens);
        let demand = state.demand_beside(held, self.limits.block_tokens);
        let shared = u64::from(self.kv.shared() + single) * block_tokens;
        self.peak.with(demand) + shared <= u64::from(self.limits.kv_blocks) * block_tokens
    }

    fn start(&mut self, place: Place, blocks: u32, held: u32) {
        let block_tokens = self.limits.block_tokens;
        let state = &mut self.sequences[place.slot as usize];
        state.share(&mut self.kv, blocks, held, block_tokens);
        state.phase = Phase::Running;
        let id = state.id(place.slot);
        self.plan.admitted.push(Admitted { id, cached: state.computed });
        if self.limits.admission == Admission::FuturePeak {
            self.peak.join(id, state.demand(block_tokens));
        }
        let at = self.running.partition_point(|other| other.key < place.key);
        self.running.insert(at, place);
    }

    fn advance(&mut self, id: SequenceId, tokens: u32, wrote: &mut impl FnMut(Wrote) -> Next) {
        let state = &mut self.sequences[id.slot as usize];
        if state.generation != id.generation {
            return;
        }
        state.computed(&mut self.kv, tokens, self.limits.block_tokens);
        if state.pending() > 0 {
            return;
        }
        state.output += u32::from(state.max_output > 0);
        let (output, last) = (state.output, state.output >= state.max_output);
        if wrote(Wrote { id, output, last }) == Next::End || last {
            self.cancel(id);
        }
    }

    fn enqueue(&mut self, place: Place) {
        let at = self.waiting.partition_point(|other| other.key < place.key);
        self.waiting.insert(at, place);
    }

    fn state(&self, id: SequenceId) -> Option<&State> {
        let state = self.sequences.get(id.slot as usize)?;
        (state.generation == id.generation && state.phase != Phase::Gone).then_some(state)
    }
}

/// What a look at the queue says of one who waits.
enum Look {
    /// It may come in with a first chunk of `tokens`, sharing `blocks` of which others hold `held`.
    Fits { blocks: u32, held: u32, tokens: u32 },
    /// What it begins with is being computed in this very step.
    Soon,
    /// There is no room.
    Full,
}
