//! What does a request pay for the queue and for the lane that needs neither?
//!
//! A request through the whole of the pipeline, to an engine that answers at once: as it is, before a backend with a line
//! that it is far below, and as one that could be joined with others where nobody else is.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use plimsoll_benches::envelope::envelope;
use plimsoll_engines::{Answer, Call, Engine, Failure};
use plimsoll_pipeline::{Config, Pipeline, Shared, Snapshot};
use plimsoll_routing::Fleet;
use plimsoll_types::{
    BackendSpec, Chunk, Clock, Envelope, Head, Kind, Peeked, Request, ServedModel, TokioClock,
};
use tokio::runtime::Builder;
use tokio::task::LocalSet;

/// An engine that has its answer ready.
struct AtOnce;

/// It, until it was taken.
struct Ready(Option<Chunk>);

impl Engine for AtOnce {
    fn start(&self, _: &Call<'_>) -> Box<dyn Answer> {
        let peeked = Peeked { done: true, ..Peeked::default() };
        Box::new(Ready(Some(Chunk { bytes: Bytes::from_static(b"{}"), peeked })))
    }
}

impl Answer for Ready {
    fn poll_head(&mut self, _: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        Poll::Ready(Ok(Head { status: 200, ..Head::default() }))
    }

    fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Chunk, Failure>>> {
        Poll::Ready(self.0.take().map(Ok))
    }
}

fn pipeline(clock: &Arc<dyn Clock>, (line, joins): (u64, bool)) -> Rc<Pipeline> {
    let spec = |index| BackendSpec {
        name: format!("b{index}"),
        models: vec![ServedModel::plain("m")],
        max_in_flight: 1_000,
        ..BackendSpec::default()
    };
    let routing =
        plimsoll_routing::Config { line_prompt_tokens: line, ..plimsoll_routing::Config::default() };
    let mut config = Config::default();
    config.batching.enabled = joins;
    let shared = Shared::new(Snapshot::new(Fleet::new((0..4).map(spec).collect(), routing, None), config));
    let make = Box::new(|_: &plimsoll_routing::Backend| -> Rc<dyn Engine> { Rc::new(AtOnce) });
    Pipeline::new(shared, Arc::clone(clock), make, (1, 1))
}

fn request(clock: &Arc<dyn Clock>, body: &Bytes) -> Request {
    let prompt_tokens = body.len() as u32 / 4;
    let envelope = Envelope { prompt_tokens, ..envelope(Kind::Embedding, clock.now()) };
    Request { envelope, body: body.clone() }
}

fn passes(c: &mut Criterion) {
    let mut group = c.benchmark_group("passes");
    for (text, size) in [("short", 40), ("long", 4_000)] {
        let body = Bytes::from(format!(r#"{{"model":"m","input":"{}"}}"#, "a word ".repeat(size / 7)));
        for (name, of) in [("plain", (0, false)), ("line", (1 << 20, false)), ("lane", (0, true))] {
            let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime can be made");
            let local = LocalSet::new();
            let clock: Arc<dyn Clock> = Arc::new(TokioClock::start());
            let pipeline = local.block_on(&runtime, async { pipeline(&clock, of) });
            group.bench_function(format!("{name}/{text}"), |b| {
                b.iter_custom(|times| {
                    local.block_on(&runtime, async {
                        let began = clock.now();
                        for _ in 0..times {
                            let served = pipeline.serve(request(&clock, &body)).await;
                            let mut body = served.expect("it is answered").body;
                            while poll_fn(|cx| body.poll_next(cx)).await.is_some() {}
                        }
                        clock.now() - began
                    })
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, passes);
criterion_main!(benches);
