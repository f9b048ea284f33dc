//! What does it cost to know which backends have a prompt cached?

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use plimsoll_benches::subject::Prefixes;

fn prefix_hash(c: &mut Criterion) {
    for (name, bytes) in [("2 KiB", 2 << 10), ("32 KiB", 32 << 10)] {
        let mut prefixes = Prefixes::new(bytes, 1 << 20);
        let mut group = c.benchmark_group(format!("prefix_hash/{name}"));
        group.bench_function("hash", |b| b.iter(|| black_box(prefixes.hash())));
        group.bench_function("look up", |b| b.iter(|| black_box(prefixes.look_up())));
        group.bench_function("hash and look up", |b| {
            b.iter(|| black_box(prefixes.hash() + prefixes.look_up()));
        });
        group.bench_function("note a dispatch", |b| b.iter(|| black_box(prefixes.insert())));
    }
}

criterion_group!(benches, prefix_hash);
criterion_main!(benches);
