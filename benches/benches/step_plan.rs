//! How long does it take to plan a step, and to note that it was done?
//!
//! Each iteration plans, notes what was written, and adds a sequence for each that ended: the whole of what an
//! executor pays. The memory is so small that those who wait are looked at in every step.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use plimsoll_batching::step::{Admission, Limits, Next, Scheduler, Sequence};

/// Tokens of a prompt, a quarter of which others begin with too.
const PROMPT: u32 = 512;
/// Tokens of an answer, on the average.
const OUTPUT: u32 = 200;

struct Batch {
    scheduler: Scheduler,
    added: u64,
}

impl Batch {
    /// About so many run, and the others wait because there is no memory for them.
    fn new(running: u32, admission: Admission) -> Self {
        let limits = Limits {
            sequences: 2 * running,
            // What one holds that is its own, on the average and with what the future peak keeps free.
            kv_blocks: running * 33,
            admission,
            ..Limits::default()
        };
        let mut batch = Self { scheduler: Scheduler::new(limits), added: 0 };
        (0..running + 64).for_each(|_| batch.add());
        // Until the first have been replaced by others, and all are at different places of their answers.
        (0..4 * OUTPUT).for_each(|_| batch.step());
        batch
    }

    fn add(&mut self) {
        let family = self.added % 16;
        let own = |block: u64| if block < 8 { family } else { 16 + self.added };
        let mut hashes = [0; PROMPT as usize / 16];
        (0..).zip(&mut hashes).for_each(|(block, hash)| *hash = own(block) << 8 | block);
        let sequence = Sequence {
            prompt_tokens: PROMPT,
            hashes: &hashes,
            max_output: OUTPUT / 2 + (self.added * 37 % u64::from(OUTPUT)) as u32,
            expected_output: None,
            priority: 0,
        };
        self.added += 1;
        self.scheduler.add(&sequence).expect("there is room for one");
    }

    fn step(&mut self) {
        black_box(self.scheduler.plan());
        let mut ended = 0;
        self.scheduler.done(|wrote| {
            ended += u32::from(wrote.last);
            Next::Continue
        });
        (0..ended).for_each(|_| self.add());
    }
}

fn step_plan(c: &mut Criterion) {
    for (name, admission) in
        [("future_peak", Admission::FuturePeak), ("while_it_fits", Admission::WhileItFits)]
    {
        let mut group = c.benchmark_group(format!("step_plan/{name}"));
        for running in [256, 1_024] {
            let mut batch = Batch::new(running, admission);
            group.bench_function(BenchmarkId::from_parameter(running), |b| b.iter(|| batch.step()));
            let Batch { scheduler, .. } = &batch;
            eprintln!("{} run, {} wait", scheduler.running(), scheduler.waiting());
        }
    }
}

criterion_group!(benches, step_plan);
criterion_main!(benches);
