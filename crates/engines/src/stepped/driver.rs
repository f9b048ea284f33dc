use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use plimsoll_batching::step::Sequence as Scheduled;
use plimsoll_types::{Clock, StepTime};

use super::ask::{Ask, Wanted};
use super::mailbox::{Declined, Post, Taken};
use super::metrics::StepMetrics;
use super::ready::Ready;
use super::sequence::{Names, Sequence};
use super::text::Text;
use super::texts::Texts;
use super::{Command, Load, Setup};
use crate::Failure;
use crate::executor::{Executor, Failed, Number, Prompt, Unread};
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
    /// What is to be made vectors of.
    texts: Texts,
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
            texts: Texts::default(),
        }
    }

    /// Whether there is nothing to compute.
    pub(super) fn is_idle(&self) -> bool {
        self.texts.is_empty() && self.ready.as_ref().is_none_or(Ready::is_empty)
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
        let verdict = self.able(entering.ask.wanted).and_then(|vector| {
            let prompts = self.prompts(&entering.ask)?;
            let tokens = prompts.iter().map(|prompt| prompt.len() as u32).sum();
            match entering.ask.wanted {
                Wanted::Answers => self.schedule(entering, prompts)?,
                Wanted::Vectors(_) => self.texts.push(Arc::clone(&entering.post), prompts),
            }
            Ok(Taken { tokens, vector })
        });
        entering.post.decide(verdict);
    }

    /// Whether the model does what is wanted: the numbers of its vectors.
    fn able(&self, wanted: Wanted) -> Result<u32, Declined> {
        let Some(Ready { model, .. }) = &self.ready else { return Err(Declined::Failed(super::GONE)) };
        let unable = |what: &str| {
            let message = format!("the model `{}` {what}", model.name);
            Err(Declined::Wrong(Wrong { message, param: Some("model"), code: Some("model_not_supported") }))
        };
        match wanted {
            Wanted::Answers if !model.writes => unable("makes vectors of texts and writes none"),
            Wanted::Vectors(_) if model.vector == 0 => unable("makes no vectors of texts"),
            Wanted::Vectors(Some(numbers)) if numbers != u64::from(model.vector) => {
                let is = format!("must be {}, or left out: this model has no others", model.vector);
                Err(Declined::Wrong(Wrong::field("dimensions", &is)))
            }
            _ => Ok(model.vector),
        }
    }

    fn prompts(&mut self, ask: &Ask) -> Result<Vec<Vec<u32>>, Declined> {
        ask.prompts.iter().map(|prompt| self.read(prompt, ask)).collect()
    }

    fn read(&mut self, prompt: &Prompt, ask: &Ask) -> Result<Vec<u32>, Declined> {
        let param = ask.param;
        let mut read = self.executor.read(prompt);
        // It may have died and come back while nobody asked; that is nobody's loss.
        if matches!(read, Err(Unread::Failed(_))) && self.is_idle() {
            self.ready = None;
            read = self.load().map_err(Unread::from).and_then(|()| self.executor.read(prompt));
        }
        match read {
            Ok(tokens) => self.checked(tokens, ask),
            Err(Unread::Refused(message)) => {
                Err(Declined::Wrong(Wrong { message, param: Some(param), code: None }))
            }
            Err(Unread::Failed(failed)) => {
                self.fail(failed);
                Err(Declined::Failed(unreachable(failed)))
            }
        }
    }

    fn checked(&self, tokens: Vec<u32>, ask: &Ask) -> Result<Vec<u32>, Declined> {
        let (room, param) = (self.ready.as_ref().map_or(0, |ready| ready.room_for(ask.wanted)), ask.param);
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
                    prompt: tokens.len(),
                    sampling,
                    post: Arc::clone(&entering.post),
                    choice,
                    text: Text::new(ask.bounds.stops.clone()),
                    begun: false,
                });
                choice += 1;
            }
        }
        Ok(())
    }

    /// Computes one step, if there is anything to compute. Texts that become vectors are read before it.
    pub(super) fn step(&mut self) {
        let Some(ready) = &mut self.ready else { return };
        let limits = (&ready.model.limits, ready.model.vector as usize);
        if let Err(failed) = self.texts.read(&mut *self.executor, limits) {
            return self.fail(failed);
        }
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
        self.metrics.prefix_tokens.increment(ready.known().into());
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
        self.texts.fail(Failure::Broken(failed.0));
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
