use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use plimsoll_batching::step::{Next, Scheduler, Sequence as Scheduled};
use plimsoll_types::{Clock, StepTime};

use super::ask::Ask;
use super::mailbox::{Declined, Post};
use super::metrics::StepMetrics;
use super::sequence::{Names, Sequence};
use super::text::Text;
use super::{Command, Load, Setup};
use crate::Failure;
use crate::executor::{Executor, Failed, Model, Number, Output, Piece, Prompt, Unread};
use crate::simulated::ask::Wrong;

/// Tokens that an answer is expected to have until some have ended.
const USUAL_OUTPUT: u32 = 256;

/// Drives one executor: it takes in commands, and computes a step at a time.
pub(super) struct Driver {
    executor: Box<dyn Executor>,
    clock: Arc<dyn Clock>,
    time: Option<StepTime>,
    metrics: StepMetrics,
    load: Arc<Load>,
    names: Names,
    numbers: Number,
    /// How long answers were lately, in tokens.
    usual: u32,
    /// What the executor runs, while it runs.
    ready: Option<Ready>,
}

struct Ready {
    model: Model,
    scheduler: Scheduler,
    /// By slot.
    sequences: Vec<Option<Sequence>>,
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

/// A request on its way in.
pub(super) struct Entering {
    /// What it asks.
    pub(super) ask: Ask,
    /// Who is told.
    pub(super) post: Arc<Post>,
}

impl Driver {
    pub(super) fn new(executor: Box<dyn Executor>, setup: &Setup, load: Arc<Load>) -> Self {
        Self {
            executor,
            clock: Arc::clone(&setup.clock),
            time: setup.time,
            metrics: StepMetrics::new(&setup.name),
            load,
            names: Names::default(),
            numbers: 0,
            usual: USUAL_OUTPUT,
            ready: None,
        }
    }

    /// Whether there is nothing to compute.
    pub(super) fn is_idle(&self) -> bool {
        self.ready.as_ref().is_none_or(Ready::is_empty)
    }

    /// Takes in what came. An executor that is not there is tried once for all of it.
    pub(super) fn take(&mut self, commands: impl Iterator<Item = Command>) {
        let mut tried = Ok(());
        for command in commands {
            if tried.is_ok() {
                tried = self.load();
            }
            match (command, tried) {
                (Command::Models(asker), _) => {
                    let names = |ready: &Ready| vec![ready.model.name.clone()];
                    let models = tried.map(|()| self.ready.as_ref().map(names).unwrap_or_default());
                    let _ = asker.send(models.map_err(unreachable));
                }
                (Command::Enter(entering), Err(failed)) => {
                    entering.post.decide(Err(Declined::Failed(unreachable(failed))));
                }
                (Command::Enter(entering), Ok(())) => self.enter(&entering),
            }
        }
        self.report();
    }

    fn load(&mut self) -> Result<(), Failed> {
        if self.ready.is_none() {
            let model = self.executor.load().inspect_err(|_| self.metrics.failures.increment(1))?;
            self.ready = Some(Ready::new(model));
        }
        Ok(())
    }

    fn enter(&mut self, entering: &Entering) {
        if entering.post.is_left() {
            return;
        }
        let verdict = self.prompts(&entering.ask).and_then(|prompts| {
            let tokens = prompts.iter().map(|prompt| prompt.len() as u32).sum();
            self.schedule(entering, prompts).map(|()| tokens)
        });
        entering.post.decide(verdict);
    }

    fn prompts(&mut self, ask: &Ask) -> Result<Vec<Vec<u32>>, Declined> {
        ask.prompts.iter().map(|prompt| self.read(prompt, ask.param)).collect()
    }

    fn read(&mut self, prompt: &Prompt, param: &'static str) -> Result<Vec<u32>, Declined> {
        let mut read = self.executor.read(prompt);
        // It may have died and come back while nobody asked; that is nobody's loss.
        if matches!(read, Err(Unread::Failed(_))) && self.is_idle() {
            self.ready = None;
            read = self.load().map_err(Unread::from).and_then(|()| self.executor.read(prompt));
        }
        match read {
            Ok(tokens) => self.checked(tokens, param),
            Err(Unread::Refused(message)) => {
                Err(Declined::Wrong(Wrong { message, param: Some(param), code: None }))
            }
            Err(Unread::Failed(failed)) => {
                self.fail(failed);
                Err(Declined::Failed(unreachable(failed)))
            }
        }
    }

    fn checked(&self, tokens: Vec<u32>, param: &'static str) -> Result<Vec<u32>, Declined> {
        let room = self.ready.as_ref().map_or(0, Ready::room);
        if (1..room as usize).contains(&tokens.len()) {
            return Ok(tokens);
        }
        let (message, code) = if tokens.is_empty() {
            ("the prompt has no tokens".to_owned(), None)
        } else {
            let message =
                format!("the prompt has {} tokens; this model takes fewer than {room}", tokens.len());
            (message, Some("context_length_exceeded"))
        };
        Err(Declined::Wrong(Wrong { message, param: Some(param), code }))
    }

    /// All of its sequences queue, for each prompt one after the other.
    fn schedule(&mut self, entering: &Entering, prompts: Vec<Vec<u32>>) -> Result<(), Declined> {
        let Some(ready) = &mut self.ready else { return Err(Declined::Failed(super::GONE)) };
        let (ask, mut choice) = (&entering.ask, 0);
        for tokens in prompts {
            let limit = ask.bounds.limit.min(ready.room() - tokens.len() as u32);
            let named = ready.model.paged;
            let block_tokens = ready.model.limits.block_tokens;
            let hashes = if named { self.names.of(&tokens, block_tokens) } else { Vec::new() };
            for index in 0..ask.n {
                let scheduled = Scheduled {
                    prompt_tokens: tokens.len() as u32,
                    hashes: &hashes,
                    max_output: limit,
                    expected_output: Some(self.usual),
                    priority: 0,
                };
                let id =
                    ready.scheduler.add(&scheduled).map_err(|refusal| Declined::Wrong(refusal.into()))?;
                self.numbers += 1;
                let mut sampling = ask.sampling;
                sampling.seed = sampling.seed.wrapping_add(u64::from(index));
                ready.seat(Sequence {
                    id,
                    number: self.numbers,
                    tokens: tokens.clone(),
                    sampling,
                    post: Arc::clone(&entering.post),
                    choice,
                    text: Text::new(ask.bounds.stops.clone()),
                    endless: ask.bounds.endless,
                    begun: false,
                });
                choice += 1;
            }
        }
        Ok(())
    }

    /// Computes one step, if there is anything to compute.
    pub(super) fn step(&mut self) {
        let Some(ready) = &mut self.ready else { return };
        ready.let_go(&mut *self.executor);
        if !ready.plan(&mut *self.executor, &self.metrics) {
            return self.report();
        }
        let expected = self.time.map(|time| ready.scheduler.plan().millis(&time) / 1_000.0);
        let began = self.clock.now();
        let computed = ready.compute(&mut *self.executor);
        let took = (self.clock.now() - began).as_secs_f64();
        if let Err(failed) = computed {
            return self.fail(failed);
        }
        self.metrics.seconds.record(took);
        if let Some(expected) = expected.filter(|expected| *expected > 0.0) {
            self.metrics.prediction.record(took / expected);
        }
        let usual = &mut self.usual;
        ready.finish(&mut *self.executor, |written| {
            *usual = (*usual * 15 + written).div_ceil(16);
        });
        self.report();
    }

    /// The executor is lost, and with it all that it was working on.
    fn fail(&mut self, failed: Failed) {
        self.metrics.failures.increment(1);
        tracing::warn!(why = failed.0, "an executor failed");
        if let Some(ready) = self.ready.take() {
            for sequence in ready.sequences.iter().flatten() {
                sequence.post.fail(Failure::Broken(failed.0));
            }
        }
        self.report();
    }

    fn report(&self) {
        let (mut running, mut waiting, mut kv) = (0, 0, 0.0);
        if let Some(ready) = &self.ready {
            (running, waiting) = (ready.scheduler.running() as u32, ready.scheduler.waiting() as u32);
            let memory = ready.scheduler.kv();
            kv = 1.0 - f64::from(memory.free()) / f64::from(memory.capacity().max(1));
        }
        self.load.running.store(running, Relaxed);
        self.load.waiting.store(waiting, Relaxed);
        self.load.kv.store((kv * 1_000.0) as u32, Relaxed);
        self.metrics.waiting.set(f64::from(waiting));
        self.metrics.kv_use.set(kv);
    }
}

fn unreachable(failed: Failed) -> Failure {
    Failure::Unreachable(failed.0)
}

impl Ready {
    fn new(model: Model) -> Self {
        let scheduler = Scheduler::new(model.limits);
        Self { model, scheduler, sequences: Vec::new(), planned: Vec::new(), output: Output::default() }
    }

    fn is_empty(&self) -> bool {
        self.scheduler.running() + self.scheduler.waiting() == 0
    }

    /// Tokens that prompt and answer may have together.
    fn room(&self) -> u32 {
        let limits = &self.model.limits;
        self.model.context.min(limits.kv_blocks.saturating_mul(limits.block_tokens))
    }

    fn seat(&mut self, sequence: Sequence) {
        let slot = sequence.id.slot();
        if self.sequences.len() <= slot {
            self.sequences.resize_with(slot + 1, || None);
        }
        self.sequences[slot] = Some(sequence);
    }

    /// Ends the sequences of callers who have gone.
    fn let_go(&mut self, executor: &mut dyn Executor) {
        for seat in &mut self.sequences {
            if let Some(left) = seat.take_if(|sequence| sequence.post.is_left()) {
                self.scheduler.cancel(left.id);
                executor.forget(left.number);
            }
        }
    }

    /// Plans the next step; false if there is nothing to compute.
    fn plan(&mut self, executor: &mut dyn Executor, metrics: &StepMetrics) -> bool {
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

    fn compute(&mut self, executor: &mut dyn Executor) -> Result<(), Failed> {
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
    fn finish(&mut self, executor: &mut dyn Executor, mut ended: impl FnMut(u32)) {
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
}
