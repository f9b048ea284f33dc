//! What does a token of the embedded fleet cost?
//!
//! A thousand streams on one core, 250 at each of four GPUs, on a clock that jumps from timer to timer: all the time
//! that passes is spent on computing.

use std::future::poll_fn;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use plimsoll_benches::envelope::envelope;
use plimsoll_engines::{Call, simulated};
use plimsoll_types::{Clock, Envelope, Instant, Kind, Request, Text, TokioClock};
use tokio::runtime::Builder;
use tokio::task::LocalSet;

const STREAMS: usize = 1_000;
const GPUS: usize = 4;
const TOKENS: usize = 100;

fn request() -> Request {
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":"Say something."}}],"stream":true,"ignore_eos":true,"max_tokens":{TOKENS}}}"#
    );
    let envelope = Envelope {
        model: Text::from_static(simulated::CHAT_MODEL),
        model_at: 0..0,
        prompt_tokens: 0,
        ..envelope(Kind::Chat, Instant::ORIGIN)
    };
    Request { envelope, body: Bytes::from(body) }
}

/// Reads all streams to their ends; how many tokens there were.
async fn read_all() -> u32 {
    let clock: Arc<dyn Clock> = Arc::new(TokioClock::start());
    let fleet = simulated::embedded(1, Duration::ZERO, 1);
    let engines: Vec<_> = fleet[..GPUS].iter().map(|backend| backend.engine(Arc::clone(&clock))).collect();
    let request = request();
    let local = LocalSet::new();
    let streams = (0..STREAMS).map(|index| {
        let call = Call { request: &request, alias: None, again: false };
        let mut answer = engines[index % GPUS].start(&call);
        local.spawn_local(async move {
            poll_fn(|cx| answer.poll_head(cx)).await.expect("simulated backends do not fail");
            let mut tokens = 0;
            while let Some(chunk) = poll_fn(|cx| answer.poll_chunk(cx)).await {
                tokens += chunk.expect("simulated backends do not fail").peeked.token_events;
            }
            tokens
        })
    });
    let streams: Vec<_> = streams.collect();
    local.await;
    let mut tokens = 0;
    for stream in streams {
        tokens += stream.await.expect("no stream panics");
    }
    tokens
}

fn embedded_tokens(c: &mut Criterion) {
    let mut group = c.benchmark_group("embedded_tokens");
    group.sample_size(10).throughput(Throughput::Elements((STREAMS * TOKENS) as u64));
    group.bench_function("1000 streams", |b| {
        b.iter(|| {
            let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
            let tokens = runtime.expect("a runtime can be made").block_on(read_all());
            assert_eq!(black_box(tokens) as usize, STREAMS * TOKENS);
        });
    });
}

criterion_group!(benches, embedded_tokens);
criterion_main!(benches);
