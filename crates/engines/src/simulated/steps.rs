//! The steps of one GPU that does not exist: what is computed in each, and when it ends.
//!
//! ```text
//!   add ──▶ idle? begin ──▶ step under way until `ends` ── finish ──▶ who wrote a token ──▶ the next begins at once
//! ```
//!
//! All times are absolute: a step begins where the one before it ended, so what is late once is not late for ever.
//! Nothing waits here and nothing is locked; whoever drives it brings the time. The plan is that of the shipped
//! scheduler, the duration that of the step-time model.

use std::time::Duration;

use plimsoll_batching::step::{Limits, Next, Plan, Refusal, Scheduler, Sequence, SequenceId, Wrote};
use plimsoll_types::{Instant, StepTime};

/// One simulated GPU, step by step.
#[derive(Debug)]
pub struct Steps {
    time: StepTime,
    limits: Limits,
    scheduler: Scheduler,
    /// When the step under way ends.
    ends: Option<Instant>,
    tally: Tally,
}

/// What a GPU has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// How long it computed.
    pub busy: Duration,
    /// Steps.
    pub steps: u64,
    /// Prompt tokens computed, those computed again after a preemption among them.
    pub prefilled: u64,
    /// Prompt tokens that were there already.
    pub cached: u64,
    /// Tokens written in steps of one token.
    pub decoded: u64,
    /// Tokens written, the first of each sequence among them.
    pub written: u64,
    /// Sequences that lost their memory.
    pub preempted: u64,
    /// The most blocks of memory that were held at a time.
    pub peak_blocks: u32,
}

impl Steps {
    /// An idle GPU with these times and limits.
    #[must_use]
    pub fn new(time: StepTime, limits: Limits) -> Self {
        Self { time, limits, scheduler: Scheduler::new(limits), ends: None, tally: Tally::default() }
    }

    /// A sequence arrives at `now`, which is not before anything that this GPU was told already. If it was idle, a step
    /// begins at once.
    ///
    /// # Errors
    /// As [`Scheduler::add`].
    pub fn add(&mut self, sequence: &Sequence<'_>, now: Instant) -> Result<SequenceId, Refusal> {
        let id = self.queue(sequence)?;
        self.start(now);
        Ok(id)
    }

    /// A sequence arrives together with others: when all are queued, [`start`](Self::start) lets them in together.
    ///
    /// # Errors
    /// As [`Scheduler::add`].
    pub fn queue(&mut self, sequence: &Sequence<'_>) -> Result<SequenceId, Refusal> {
        self.scheduler.add(sequence)
    }

    /// If no step is under way, one begins at `now`.
    pub fn start(&mut self, now: Instant) {
        if self.ends.is_none() {
            self.begin(now);
        }
    }

    /// A sequence is wanted no longer. What the step under way computes of it is for nothing.
    pub fn cancel(&mut self, id: SequenceId) {
        self.scheduler.cancel(id);
    }

    /// When the step under way ends; `None` if there is nothing to do.
    #[must_use]
    pub fn ends(&self) -> Option<Instant> {
        self.ends
    }

    /// Ends the step under way and begins the next. `wrote` is told of each sequence that wrote a token, and says how
    /// it goes on.
    pub fn finish(&mut self, mut wrote: impl FnMut(Wrote) -> Next) {
        let Some(ended) = self.ends.take() else { return };
        let written = &mut self.tally.written;
        self.scheduler.done(|token| {
            *written += u64::from(token.output > 0);
            wrote(token)
        });
        self.begin(ended);
    }

    /// What the step under way computes: who was let in for it and from where, who was preempted.
    pub fn plan(&mut self) -> &Plan {
        self.scheduler.plan()
    }

    /// Makes the GPU slower or faster from its next step on.
    pub fn set_time(&mut self, time: StepTime) {
        self.time = time;
    }

    /// Loses all that it was working on and all that it had cached. Sequences that were added before are gone, and
    /// their names mean nothing any more.
    pub fn restart(&mut self) {
        self.scheduler = Scheduler::new(self.limits);
        self.ends = None;
    }

    /// What it has done so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// The scheduler, to look at.
    #[must_use]
    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    fn begin(&mut self, at: Instant) {
        let plan = self.scheduler.plan();
        if plan.is_empty() {
            return;
        }
        let takes = Duration::from_secs_f64(plan.millis(&self.time) / 1_000.0);
        let tally = &mut self.tally;
        tally.busy += takes;
        tally.steps += 1;
        tally.prefilled += plan.chunks().iter().map(|chunk| u64::from(chunk.tokens)).sum::<u64>();
        tally.cached += plan.admitted().iter().map(|admitted| u64::from(admitted.cached)).sum::<u64>();
        tally.decoded += plan.decodes().len() as u64;
        tally.preempted += plan.preempted().len() as u64;
        self.ends = Some(at + takes);
        let kv = self.scheduler.kv();
        self.tally.peak_blocks = self.tally.peak_blocks.max(kv.capacity() - kv.free());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One millisecond for each prompt token; ten for a step that decodes, and one more for each sequence in it.
    const TIME: StepTime = StepTime {
        host: 0.0,
        alpha: 0.0,
        beta: 0.0,
        p: 1.0,
        d0: 10.0,
        d1: 1.0,
        d2: 0.0,
        e0: 0.0,
        e1: 1.0,
        e2: 0.0,
    };

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    fn prompt(tokens: u32, output: u32) -> Sequence<'static> {
        Sequence {
            prompt_tokens: tokens,
            hashes: &[],
            max_output: output,
            expected_output: None,
            priority: 0,
        }
    }

    #[test]
    fn a_step_begins_where_the_one_before_it_ended_however_late_that_is_noticed() {
        let mut gpu = Steps::new(TIME, Limits::default());
        let a = gpu.add(&prompt(100, 3), at(5)).unwrap();
        // It arrives while the first step runs, and is read beside the first one's decode.
        gpu.add(&prompt(50, 1), at(20)).unwrap();
        let (mut ends, mut wrote) = (Vec::new(), Vec::new());
        while let Some(end) = gpu.ends() {
            ends.push(end);
            gpu.finish(|token| {
                wrote.push((token.id == a, token.output));
                Next::Continue
            });
        }
        assert_eq!(ends, [at(105), at(166), at(177)]);
        assert_eq!(wrote, [(true, 1), (true, 2), (false, 1), (true, 3)]);
        assert_eq!(gpu.tally().busy, Duration::from_millis(172));
        assert_eq!((gpu.tally().prefilled, gpu.tally().decoded), (150, 2));
    }

    #[test]
    fn an_idle_gpu_begins_when_somebody_comes() {
        let mut gpu = Steps::new(TIME, Limits::default());
        gpu.add(&prompt(10, 1), at(0)).unwrap();
        gpu.finish(|_| Next::End);
        assert_eq!(gpu.ends(), None);
        gpu.add(&prompt(10, 1), at(500)).unwrap();
        assert_eq!(gpu.ends(), Some(at(510)));
    }
}
