//! A token that is passed on costs no allocation, whatever protocol it comes by and leaves by: counted by an allocator,
//! on all threads but the test's own, through real sockets.

#![expect(clippy::unwrap_used, reason = "what surprises a test ends it")]

#[expect(dead_code, unused_imports, reason = "one test does not need all of it")]
mod stage;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use plimsoll_proto::plimsoll::v1;
use serde_json::json;

use crate::stage::{Backends, Client, Gateway, Grpc, Http2, Messages, within};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Whether this thread plays client and backend.
    static PLAYS: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

fn count() {
    if !PLAYS.with(Cell::get) {
        ALLOCATIONS.fetch_add(1, Relaxed);
    }
}

#[expect(unsafe_code, reason = "an allocator is unsafe to write; this one passes everything on")]
// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A token that is not plain text in JSON, with what no message has a field for.
const TOKEN: &str = r#"{"id":"c","created":7,"model":"m","choices":[{"index":0,"delta":{"content":" \"to\u006ben\"\n"},"logprobs":null,"stop_reason":null,"token_ids":[7,8]}],"seen":[1]}"#;
const WINDOWS: usize = 9;
const WINDOW: u32 = 256;

/// A caller who reads token by token.
enum Reading {
    Http1(Client),
    Http2(Http2, Incoming),
    Grpc(Grpc, Box<Messages>),
}

impl Reading {
    async fn begin(front: &str, gateway: &Gateway) -> Self {
        let body = gateway.question(json!({"stream": true}));
        match front {
            "HTTP/1.1" => Self::Http1(gateway.stream().await),
            "HTTP/2" => {
                let mut client = Http2::connect(gateway.address).await;
                let head = within("a head", client.post("/v1/chat/completions", &body)).await;
                Self::Http2(client, head.unwrap().into_body())
            }
            _ => {
                let mut client = Grpc::connect(gateway.address).await;
                let request = v1::ChatRequest { model: gateway.model.clone(), ..Default::default() };
                let messages = client.call("ChatStream", &[], &request);
                Self::Grpc(client, Box::new(messages))
            }
        }
    }

    async fn token(&mut self) {
        match self {
            Self::Http1(client) => drop(client.token().await),
            Self::Http2(_client, body) => {
                let frame: Bytes =
                    within("a frame", body.frame()).await.unwrap().unwrap().into_data().unwrap();
                assert!(!frame.is_empty());
            }
            Self::Grpc(_client, messages) => {
                let message = messages.next::<v1::ChatStreamResponse>().await.unwrap();
                let content = message.choices[0].delta.as_ref().unwrap().content.as_deref();
                assert_eq!(content, Some(" \"token\"\n"));
            }
        }
    }
}

/// Allocations for each token, in one gateway or in the two of a relay. Of several windows the cheapest counts: once a
/// second the gateway's other threads fall into one.
async fn cost(front: &str, relayed: bool) -> f64 {
    let mut backends = Backends::start(1).await;
    let nearest = Gateway::before(&backends).await;
    let outer = if relayed { Some(nearest.relay().await) } else { None };
    let gateway = outer.as_ref().unwrap_or(&nearest);
    let (mut reading, mut call) = tokio::join!(Reading::begin(front, gateway), async {
        let mut call = backends.next().await;
        call.begin().await;
        call.event(TOKEN).await;
        call
    });
    if let Reading::Http1(client) = &mut reading {
        client.begun().await;
    }
    reading.token().await;
    let mut least = u64::MAX;
    for _ in 0..WINDOWS {
        let before = ALLOCATIONS.load(Relaxed);
        for _ in 0..WINDOW {
            call.event(TOKEN).await;
            reading.token().await;
        }
        least = least.min(ALLOCATIONS.load(Relaxed) - before);
    }
    f64::from(u32::try_from(least).unwrap()) / f64::from(WINDOW)
}

#[tokio::test]
async fn a_token_that_is_passed_on_costs_no_allocation() {
    PLAYS.with(|plays| plays.set(true));
    for (relayed, most) in [(false, 0.25), (true, 0.5)] {
        for front in ["HTTP/1.1", "HTTP/2", "gRPC"] {
            let cost = cost(front, relayed).await;
            // Each gateway's histogram takes a block for 64 tokens, and its timers a box a tick, of which a slow machine
            // has many in a window.
            assert!(cost < most, "{front}, relayed {relayed}: {cost} allocations for each token");
        }
    }
}
