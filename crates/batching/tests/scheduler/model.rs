//! What must be true of a scheduler, whatever it is asked: checked beside it, step by step.

use std::collections::{HashMap, HashSet};

use plimsoll_batching::step::{Limits, Next, Scheduler, Sequence, SequenceId};

/// A scheduler, and what is known of each of its sequences.
pub(crate) struct Model {
    pub(crate) scheduler: Scheduler,
    limits: Limits,
    live: HashMap<SequenceId, Live>,
    /// In the order of their arrival.
    pub(crate) order: Vec<SequenceId>,
    /// Names of blocks that were ever computed whole.
    computed: HashSet<u64>,
    pub(crate) preempted: u32,
}

struct Live {
    prompt: u32,
    max_output: u32,
    hashes: Vec<u64>,
    running: bool,
    computed: u32,
    output: u32,
}

impl Model {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            scheduler: Scheduler::new(limits),
            limits,
            live: HashMap::new(),
            order: Vec::new(),
            computed: HashSet::new(),
            preempted: 0,
        }
    }

    /// Adds a sequence; those of one `family` begin alike.
    pub(crate) fn add(
        &mut self,
        prompt: u32,
        max_output: u32,
        expected: Option<u32>,
        priority: u8,
        family: u32,
    ) {
        let blocks = u64::from(prompt / self.limits.block_tokens);
        let hashes: Vec<u64> = (0..blocks).map(|block| u64::from(family) << 32 | (block + 1)).collect();
        let sequence = Sequence {
            prompt_tokens: prompt,
            hashes: &hashes,
            max_output,
            expected_output: expected,
            priority,
        };
        let room = self.limits.kv_blocks * self.limits.block_tokens;
        let fits = prompt > 0 && prompt + max_output.saturating_sub(1) <= room;
        let added = self.scheduler.add(&sequence);
        assert_eq!(added.is_ok(), fits);
        if let Ok(id) = added {
            let live = Live { prompt, max_output, hashes, running: false, computed: 0, output: 0 };
            assert!(self.live.insert(id, live).is_none(), "a name is given once");
            self.order.push(id);
        }
    }

    pub(crate) fn cancel(&mut self, id: SequenceId) {
        assert_eq!(self.scheduler.cancel(id), self.live.remove(&id).is_some());
        self.order.retain(|other| *other != id);
    }

    /// Plans a step, checks the plan; then the step is done. Every third answer ends early if `early`.
    pub(crate) fn step(&mut self, early: bool) {
        self.check_plan();
        self.done(early);
    }

    /// Plans a step and checks it.
    pub(crate) fn check_plan(&mut self) {
        let Self { scheduler, limits, live, computed, .. } = self;
        let plan = scheduler.plan();
        assert_eq!(plan.is_empty(), live.is_empty(), "there is a step as long as there is anybody");
        assert!(plan.tokens() <= limits.step_tokens);
        assert!(plan.chunks().iter().all(|chunk| (1..=limits.chunk_tokens).contains(&chunk.tokens)));
        self.preempted += plan.preempted().len() as u32;
        for id in plan.preempted() {
            let one = live.get_mut(id).unwrap();
            assert!(std::mem::take(&mut one.running));
            one.computed = 0;
        }
        assert!(plan.preempted().is_empty() || plan.admitted().is_empty(), "nobody goes for a newcomer");
        for admitted in plan.admitted() {
            let one = live.get_mut(&admitted.id).unwrap();
            assert!(!std::mem::replace(&mut one.running, true));
            one.computed = admitted.cached;
            assert!(admitted.cached < one.prompt + one.output, "something is left to compute");
            let known = &one.hashes[..(admitted.cached / limits.block_tokens) as usize];
            assert!(known.iter().all(|name| computed.contains(name)), "what is shared was computed before");
        }
        let mut planned = HashSet::new();
        let mut context = 0;
        for id in plan.decodes() {
            let one = &live[id];
            assert!(planned.insert(*id) && one.running && one.output > 0);
            assert_eq!(one.computed + 1, one.prompt + one.output);
            context += u64::from(one.prompt + one.output);
        }
        assert_eq!(plan.context(), context);
        assert_eq!(plan.chunks().len(), plan.prefills().len());
        for (id, chunk) in plan.prefills().iter().zip(plan.chunks()) {
            let one = &live[id];
            assert!(planned.insert(*id) && one.running);
            assert_eq!(chunk.context, one.computed, "every token is computed once, in order");
            assert!(chunk.context + chunk.tokens <= one.prompt + one.output);
        }
        self.check_memory();
    }

    fn check_memory(&self) {
        let running = self.live.values().filter(|one| one.running).count();
        assert_eq!(
            (self.scheduler.running(), self.scheduler.waiting()),
            (running, self.live.len() - running)
        );
        assert!(running <= self.limits.sequences as usize);
        let mut held = HashSet::new();
        for (id, one) in &self.live {
            let blocks = self.scheduler.blocks(*id).unwrap();
            assert_eq!(one.running, !blocks.is_empty());
            held.extend(blocks.iter().copied());
        }
        assert_eq!(self.scheduler.kv().free() as usize, self.limits.kv_blocks as usize - held.len());
    }

    /// The planned step is done; those cancelled meanwhile are not heard of.
    pub(crate) fn done(&mut self, early: bool) {
        let Self { scheduler, limits, live, computed, order, .. } = self;
        let plan = scheduler.plan();
        let mut due = HashSet::new();
        let chunks = plan.prefills().iter().zip(plan.chunks().iter().map(|chunk| chunk.tokens));
        for (id, tokens) in plan.decodes().iter().map(|id| (id, 1)).chain(chunks) {
            let Some(one) = live.get_mut(id) else { continue };
            one.computed += tokens;
            let whole = (one.computed / limits.block_tokens) as usize;
            computed.extend(one.hashes.iter().take(whole));
            if one.computed == one.prompt + one.output {
                due.insert(*id);
            }
        }
        scheduler.done(|wrote| {
            assert!(due.remove(&wrote.id), "a token is written when all before it is computed, and once");
            let one = live.get_mut(&wrote.id).unwrap();
            one.output += u32::from(one.max_output > 0);
            assert_eq!((wrote.output, wrote.last), (one.output, one.output == one.max_output));
            let end = early && wrote.output % 3 == 2;
            if end || wrote.last {
                live.remove(&wrote.id);
                order.retain(|other| *other != wrote.id);
            }
            if end { Next::End } else { Next::Continue }
        });
        assert!(due.is_empty(), "who is due writes");
        for (id, one) in live.iter().filter(|(_, one)| one.running) {
            assert!(
                scheduler
                    .blocks(*id)
                    .is_some_and(|blocks| blocks.len() as u32 * limits.block_tokens >= one.computed)
            );
        }
    }

    /// Steps until nobody is left, which must come; then all memory is free.
    pub(crate) fn drain(&mut self) {
        // Each alone, a token a step, its prompt in the smallest chunks, and as much again for what is preempted.
        let tokens = |one: &Live| u64::from(one.prompt + one.max_output + 2);
        let bound = 4 * self.live.values().map(tokens).sum::<u64>();
        for _ in 0..bound {
            if self.live.is_empty() {
                break;
            }
            self.step(false);
        }
        assert!(self.live.is_empty(), "everybody ends");
        let scheduler = &mut self.scheduler;
        assert!(scheduler.plan().is_empty());
        assert_eq!((scheduler.running(), scheduler.waiting()), (0, 0));
        assert_eq!((scheduler.kv().free(), scheduler.kv().shared()), (self.limits.kv_blocks, 0));
    }
}
