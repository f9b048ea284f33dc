//! How fast is a body checked?

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use plimsoll_engines::json::Scanner;

fn body(prompt: usize) -> Vec<u8> {
    let line = "the router keeps each GPU busy by packing requests into one batch\\n";
    let text: String = line.chars().cycle().take(prompt).collect();
    let text = text.trim_end_matches('\\');
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{text}"}}],"max_tokens":64}}"#)
        .into_bytes()
}

fn json_skip(c: &mut Criterion) {
    let mut group = c.benchmark_group("json_skip");
    for (name, prompt) in [("300 B", 240), ("32 KiB", 32 << 10)] {
        let body = body(prompt);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |b| b.iter(|| Scanner::new(black_box(&body)).skip().is_ok()));
    }
}

criterion_group!(benches, json_skip);
criterion_main!(benches);
