use plimsoll_batching::step::{Next, Scheduler};

use super::ask::Wanted;
use super::metrics::StepMetrics;
use super::sequence::Sequence;
use crate::executor::{Executor, Failed, Model, Output, Piece};

/// What is known while an executor runs: its sequences, and the step under way. It is lost with the executor.
pub(super) struct Ready {
    /// What the executor runs.
    pub(super) model: Model,
    /// Who is computed when.
    pub(super) scheduler: Scheduler,
    /// By slot.
    pub(super) sequences: Vec<Option<Sequence>>,
    /// What the step under way computes, and what came of it.
    planned: Vec<Planned>,
    output: Output,
}

/// A piece of a step, without what it borrows.
#[derive(Clone, Copy)]
struct Planned {
    slot: usize,
    from: u32,
    tokens: u32,
    writes: bool,
}

impl Ready {
    /// Nobody asks anything of `model` yet.
    pub(super) fn new(model: Model) -> Self {
        let scheduler = Scheduler::new(model.limits);
        Self { model, scheduler, sequences: Vec::new(), planned: Vec::new(), output: Output::default() }
    }

    /// Whether there is nothing to compute.
    pub(super) fn is_empty(&self) -> bool {
        self.scheduler.running() + self.scheduler.waiting() == 0
    }

    /// Tokens that prompt and answer may have together.
    pub(super) fn room(&self) -> u32 {
        let limits = &self.model.limits;
        self.model.context.min(limits.kv_blocks.saturating_mul(limits.block_tokens))
    }

    /// More tokens than a prompt may have of which this is wanted: one is left for an answer, and a text that becomes a vector is
    /// read in one step.
    pub(super) fn room_for(&self, wanted: Wanted) -> u32 {
        match wanted {
            Wanted::Answers => self.room(),
            Wanted::Vectors(_) => self.model.context.min(self.model.limits.step_tokens) + 1,
        }
    }

    /// A sequence that the scheduler knows.
    pub(super) fn seat(&mut self, sequence: Sequence) {
        let slot = sequence.id.slot();
        if self.sequences.len() <= slot {
            self.sequences.resize_with(slot + 1, || None);
        }
        self.sequences[slot] = Some(sequence);
    }

    /// Ends the sequences of callers who have gone.
    pub(super) fn let_go(&mut self, executor: &mut dyn Executor) {
        for seat in &mut self.sequences {
            if let Some(left) = seat.take_if(|sequence| sequence.post.is_left()) {
                self.scheduler.cancel(left.id);
                executor.forget(left.number);
            }
        }
    }

    /// Plans the next step; false if there is nothing to compute.
    pub(super) fn plan(&mut self, executor: &mut dyn Executor, metrics: &StepMetrics) -> bool {
        self.planned.clear();
        let plan = self.scheduler.plan();
        for id in plan.preempted() {
            metrics.preemptions.increment(1);
            if let Some(sequence) = &self.sequences[id.slot()] {
                executor.forget(sequence.number);
            }
        }
        for admitted in plan.admitted() {
            metrics.prefix_tokens.increment(admitted.cached.into());
            if let Some(sequence) = &mut self.sequences[admitted.id.slot()]
                && !std::mem::replace(&mut sequence.begun, true)
            {
                sequence.post.cached(admitted.cached);
            }
        }
        let length =
            |slot: usize| self.sequences[slot].as_ref().map_or(0, |sequence| sequence.tokens.len() as u32);
        self.planned.extend(plan.decodes().iter().map(|id| {
            let slot = id.slot();
            Planned { slot, from: length(slot).saturating_sub(1), tokens: 1, writes: true }
        }));
        self.planned.extend(plan.prefills().iter().zip(plan.chunks()).map(|(id, chunk)| {
            let (slot, from, tokens) = (id.slot(), chunk.context, chunk.tokens);
            Planned { slot, from, tokens, writes: from + tokens == length(slot) }
        }));
        if !self.planned.is_empty() {
            metrics.sequences.record(self.planned.len() as f64);
            metrics.tokens.record(f64::from(plan.tokens()));
        }
        !self.planned.is_empty()
    }

    /// Has the planned step computed.
    pub(super) fn compute(&mut self, executor: &mut dyn Executor) -> Result<(), Failed> {
        let piece = |planned: &Planned| {
            let sequence = self.sequences[planned.slot].as_ref()?;
            let from = planned.from as usize;
            Some(Piece {
                number: sequence.number,
                position: planned.from,
                tokens: sequence.tokens.get(from..from + planned.tokens as usize)?,
                blocks: self.scheduler.blocks(sequence.id).filter(|_| self.model.paged).unwrap_or_default(),
                writes: planned.writes,
                sampling: &sequence.sampling,
            })
        };
        let pieces: Vec<Piece<'_>> = self.planned.iter().filter_map(piece).collect();
        self.output.clear();
        executor.step(&pieces, &mut self.output)?;
        let written = pieces.iter().filter(|piece| piece.writes).count();
        if self.output.tokens().len() != written {
            return Err(Failed("the executor wrote another number of tokens than was asked of it"));
        }
        Ok(())
    }

    /// Gives out what was written. `ended` is told of each sequence that is over how many tokens it wrote.
    pub(super) fn finish(&mut self, executor: &mut dyn Executor, mut ended: impl FnMut(u32)) {
        self.count_known();
        let mut tokens = self.output.tokens().iter();
        // The scheduler asks in the order of the plan, which is that of the pieces.
        self.scheduler.done(|wrote| {
            let seat = &mut self.sequences[wrote.id.slot()];
            let (Some(sequence), Some(token)) = (seat.as_mut(), tokens.next()) else { return Next::End };
            if sequence.write(token, &self.output, wrote.last).is_none() {
                return Next::Continue;
            }
            ended(wrote.output);
            executor.forget(sequence.number);
            *seat = None;
            Next::End
        });
    }

    /// Tokens that the executor had there already.
    pub(super) fn known(&self) -> u32 {
        self.output.known().iter().map(|(_, tokens)| tokens).sum()
    }

    /// Tells those whose prompts were known in part.
    fn count_known(&self) {
        for (piece, tokens) in self.output.known() {
            let sequence = self.planned.get(*piece).and_then(|planned| self.sequences[planned.slot].as_ref());
            // Who is read anew after he has written has been told before.
            if let Some(sequence) = sequence.filter(|sequence| sequence.has_written_nothing()) {
                sequence.post.cached(*tokens);
            }
        }
    }
}
