//! How long does it take to form a batch of 64 out of those who wait, and what does a request pay that need not wait?

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use plimsoll_batching::budget::Size;
use plimsoll_batching::micro::{Config, Micro, Next};
use plimsoll_benches::lane::Lane;
use plimsoll_engines::batch::Joinable;
use plimsoll_types::{Instant, Kind};

fn micro(c: &mut Criterion) {
    let mut group = c.benchmark_group("micro");
    for waiting in [64, 1_024, 8_192] {
        group.bench_function(BenchmarkId::new("batch_of_64", waiting), |b| {
            let mut out = Vec::with_capacity(64);
            b.iter_batched_ref(
                || Lane::with(waiting),
                |lane| {
                    out.clear();
                    let left = lane.micro.next(black_box(lane.now), &mut out);
                    assert!(matches!(left, Next::Leaves(flight, _) if flight.fill.items == 64));
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.bench_function("in_and_out", |b| {
        let mut lane = Lane::with(64);
        let mut out = Vec::with_capacity(64);
        b.iter(|| lane.step(&mut out));
    });
    group.bench_function("passes", |b| {
        let mut micro: Micro<u32> = Micro::new(&Config::default());
        let mut now = Instant::ORIGIN;
        b.iter(|| {
            now += Duration::from_micros(10);
            let size = Size { items: 1, tokens: 20, longest: 20 };
            let flight = micro.passes(black_box(size), now).expect("nobody is there");
            micro.over(flight, Some(now + Duration::from_micros(5)));
        });
    });
    for text in [40, 400, 4_000] {
        let body =
            format!(r#"{{"model":"m","input":"{}","encoding_format":"base64"}}"#, "a word ".repeat(text / 7));
        let body = Bytes::from(body);
        let mut micro: Micro<u32> = Micro::new(&Config::default());
        let mut now = Instant::ORIGIN;
        group.bench_function(BenchmarkId::new("lone", text), |b| {
            b.iter(|| {
                now += Duration::from_micros(10);
                let read = Joinable::read(Kind::Embedding, black_box(&body)).expect("it can be joined");
                black_box(read.frame(&body));
                let size = Size { items: read.items, tokens: read.tokens, longest: read.longest };
                let flight = micro.passes(size, now).expect("nobody is there");
                micro.over(flight, Some(now + Duration::from_micros(5)));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, micro);
criterion_main!(benches);
