//! How long does it take to come to a queue and to leave it, as more wait?

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use plimsoll_benches::subject::Waiting;

fn queue(c: &mut Criterion) {
    let mut group = c.benchmark_group("queue/enter_and_leave");
    for len in [1, 1_000, 100_000] {
        let mut waiting = Waiting::new(len);
        group.bench_function(BenchmarkId::from_parameter(len), |b| {
            b.iter(|| {
                waiting.enter();
                waiting.leave()
            });
        });
    }
}

criterion_group!(benches, queue);
criterion_main!(benches);
