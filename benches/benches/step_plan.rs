//! How long does it take to plan a step, and to note that it was done?

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use plimsoll_batching::step::Admission;
use plimsoll_benches::subject::Batch;

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
