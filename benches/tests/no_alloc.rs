//! Hot paths allocate nothing: counted by an allocator, on the thread that serves.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly, its helpers too")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use plimsoll_batching::step::{Admission, Limits, Next, Scheduler, Sequence};
use plimsoll_benches::envelope::envelope;
use plimsoll_benches::lane::Lane;
use plimsoll_benches::subject::{Prefixes, Waiting};
use plimsoll_engines::{Engine, openai};
use plimsoll_pipeline::{Flow, Pipeline, Shared, Snapshot, TokenStream};
use plimsoll_routing::{Config, Fleet, RequestShape, Router};
use plimsoll_types::{BackendSpec, Blocks, Clock, Instant, Kind, Request, ServedModel, TokioClock};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[expect(unsafe_code, reason = "an allocator is unsafe to write; this one passes everything on")]
// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

fn spec(name: &str) -> BackendSpec {
    BackendSpec {
        name: name.into(),
        models: vec![ServedModel::plain("m")],
        max_in_flight: 1_000,
        ..BackendSpec::default()
    }
}

#[test]
fn a_pick_allocates_nothing() {
    for policy in plimsoll_routing::policy::NAMES {
        let specs = (0..64).map(|index| spec(&format!("b{index}"))).collect();
        let fleet = Fleet::new(specs, Config { policy, ..Config::default() }, None);
        let pool = Arc::clone(fleet.pool("m").unwrap());
        let mut router = Router::new(1);
        let blocks = Blocks::new(&[1, 2, 3], 1_600);
        let request = RequestShape { blocks: &blocks, ..RequestShape::typical(Instant::ORIGIN) };
        let mut pick = |tried: &[usize]| drop(router.pick(&pool, &request, tried, &fleet.config).unwrap());
        // Until every backend was picked once.
        (0..1_000).for_each(|_| pick(&[]));
        let before = allocations();
        for _ in 0..1_000 {
            pick(&[]);
            pick(&[3, 7]);
        }
        assert_eq!(allocations() - before, 0, "{policy}");
    }
}

#[test]
fn a_prompt_is_hashed_and_looked_up_without_allocating() {
    let mut prefixes = Prefixes::new(32 << 10, 1 << 14);
    let mut round = || prefixes.hash() + prefixes.look_up() + prefixes.insert();
    let first = round();
    let before = allocations();
    for _ in 0..1_000 {
        assert_eq!(round(), first);
    }
    assert_eq!(allocations() - before, 0);
}

#[test]
fn to_come_to_a_queue_and_to_leave_it_allocates_nothing() {
    let mut waiting = Waiting::new(20_000);
    let mut round = || {
        waiting.enter();
        waiting.leave()
    };
    // Until every tenant's part has been as long as it gets.
    (0..200_000).for_each(|_| assert_eq!(round(), 20_000));
    let before = allocations();
    for _ in 0..1_000 {
        assert_eq!(round(), 20_000);
    }
    assert_eq!(allocations() - before, 0);
}

#[test]
fn a_step_allocates_nothing() {
    for admission in [Admission::FuturePeak, Admission::WhileItFits] {
        let limits = Limits { sequences: 64, kv_blocks: 250, admission, ..Limits::default() };
        let mut scheduler = Scheduler::new(limits);
        let mut added = 0;
        let mut add = |scheduler: &mut Scheduler| {
            added += 1;
            let hashes: [u64; 16] = std::array::from_fn(|block| (added % 5) << 8 | block as u64);
            let sequence = Sequence {
                prompt_tokens: 256 + added as u32 % 100,
                hashes: &hashes,
                max_output: 1 + (added * 37 % 150) as u32,
                expected_output: Some(40),
                priority: (added % 3) as u8,
            };
            scheduler.add(&sequence).unwrap();
        };
        (0..100).for_each(|_| add(&mut scheduler));
        let (mut before, mut preempted) = (0, 0);
        for step in 0..6_000 {
            if step == 3_000 {
                before = allocations();
            }
            preempted += scheduler.plan().preempted().len();
            let mut ended = 0;
            scheduler.done(|wrote| {
                ended += u32::from(wrote.last);
                Next::Continue
            });
            (0..ended).for_each(|_| add(&mut scheduler));
        }
        assert_eq!(allocations() - before, 0, "{admission:?}");
        assert!(preempted > 100 || admission == Admission::FuturePeak, "some go and come again: {preempted}");
    }
}

#[test]
fn a_micro_batch_allocates_nothing() {
    let (mut lane, mut out) = (Lane::with(100), Vec::with_capacity(64));
    (0..10).for_each(|_| lane.step(&mut out));
    let before = allocations();
    (0..1_000).for_each(|_| lane.step(&mut out));
    assert_eq!(allocations() - before, 0);
    assert_eq!(out.len(), 64);
}

const EVENT: &str = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" token\"},\"finish_reason\":null}]}\n\n";

/// A backend that sends an event whenever it gets a byte on `go`, so that each is read by itself.
fn paced_backend(events: usize) -> (String, std::sync::mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (go, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        let _ = stream.read(&mut [0; 4_096]).unwrap();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let chunk = format!("{:x}\r\n{EVENT}\r\n", EVENT.len());
        for _ in 0..events {
            told.recv().unwrap();
            stream.write_all(chunk.as_bytes()).unwrap();
        }
    });
    (format!("http://{address}"), go)
}

fn pipeline(url: String, clock: &Arc<dyn Clock>) -> Rc<Pipeline> {
    let fleet = Fleet::new(vec![spec("a")], Config::default(), None);
    let shared = Shared::new(Snapshot::new(fleet, plimsoll_pipeline::Config::default()));
    let config = openai::Config {
        name: "a".into(),
        url,
        connect_to: None,
        headers: Vec::new(),
        authorize: None,
        http2: false,
        ca_file: None,
        connect_timeout: Duration::from_secs(5),
        ask_usage: true,
        cache_salt: false,
        ask_load: plimsoll_engines::orca::Asked::None,
    };
    let backend = openai::Backend::new(&config).unwrap();
    let own_clock = Arc::clone(clock);
    let make_engine =
        Box::new(move |_: &plimsoll_routing::Backend| -> Rc<dyn Engine> { backend.engine(&own_clock) });
    Pipeline::new(shared, Arc::clone(clock), make_engine, (1, 1))
}

fn request(received: Instant) -> Request {
    Request {
        envelope: envelope(Kind::Chat, received),
        body: Bytes::from_static(br#"{"model":"m","stream":true}"#),
    }
}

async fn next(tokens: &mut TokenStream) -> Bytes {
    match poll_fn(|cx| tokens.poll_next(cx)).await {
        Some(Flow::Chunk(bytes)) => bytes,
        other => panic!("an event was due, and not {other:?}"),
    }
}

#[test]
fn a_relayed_event_allocates_nothing() {
    const WARM_UP: usize = 200;
    const COUNTED: usize = 2_000;
    let (url, go) = paced_backend(WARM_UP + COUNTED + 1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::start());
        let pipeline = pipeline(url, &clock);
        go.send(()).unwrap();
        let mut tokens = pipeline.serve(request(clock.now())).await.unwrap().body;
        assert_eq!(next(&mut tokens).await, EVENT);
        let mut counted = 0;
        for event in 0..WARM_UP + COUNTED {
            go.send(()).unwrap();
            let before = allocations();
            assert_eq!(next(&mut tokens).await, EVENT);
            if event >= WARM_UP {
                counted += allocations() - before;
            }
        }
        // The sweeper's timer is a box each tick, whatever the number of events: a few ticks fall in here.
        assert!(counted < COUNTED as u64 / 100, "{counted} allocations for {COUNTED} events");
    });
}
