//! How fast is a body checked?

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use plimsoll_benches::subject::{body, json_skip as skip};

fn json_skip(c: &mut Criterion) {
    let mut group = c.benchmark_group("json_skip");
    for (name, prompt) in [("300 B", 240), ("32 KiB", 32 << 10)] {
        let body = body(prompt);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |b| b.iter(skip(body.clone())));
    }
}

criterion_group!(benches, json_skip);
criterion_main!(benches);
