//! Whoever does not read is not written for, and whoever finds no room is told when to come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use serde_json::json;

use crate::stage::{Backends, Call, Client, Gateway, eventually, within};

/// More than the buffers of three sockets hold (a few MiB each, as systems are set up), and less than memory.
const BOUND: usize = 32 << 20;

/// A client that has asked for a stream and will not read it by itself, and its call, which has begun.
async fn unread(gateway: &Gateway, backends: &mut Backends) -> (Client, Call) {
    let mut client = Client::connect_narrow(gateway.address).await;
    client.send("POST", "/v1/chat/completions", &[], &gateway.question(json!({"stream": true}))).await;
    let mut call = backends.next().await;
    call.begin().await;
    (client, call)
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_back_its_backend_and_nobody_else() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let (mut client, call) = unread(&gateway, &mut backends).await;
    let written = Arc::new(AtomicUsize::new(0));
    let writing = tokio::spawn(call.flood(Arc::clone(&written)));
    backends.play(async |call| call.say("hi").await);

    let (mut before, mut rounds) = (0, 0);
    eventually("the backend to be held back", async || {
        assert_eq!(gateway.chat().await.content(), "hi");
        let now = written.load(SeqCst);
        assert!(now < BOUND, "{now} bytes were taken for a client that reads none");
        rounds = if now > 0 && now == before { rounds + 1 } else { 0 };
        before = now;
        rounds >= 20
    })
    .await;

    client.begun().await;
    for _ in 0..100 {
        assert_eq!(client.token().await.len(), 16 << 10);
    }
    drop(client);
    within("the backend to be left", writing).await.unwrap();
    gateway.is_at_rest().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_for_too_long_loses_its_backend_and_its_connection() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::configured(&backends, "pipeline: {stall_limit_ms: 300}\n").await;
    let (_client, call) = unread(&gateway, &mut backends).await;
    within("the backend to be left", call.flood(Arc::default())).await;
    gateway.is_at_rest().await;
    assert_eq!(gateway.backend(0).await["failures_in_a_row"], 0, "it was not the backend's fault");
}

#[tokio::test]
async fn whoever_finds_no_room_is_told_when_to_come_back() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::configured(&backends, "pipeline: {max_in_flight: 2}\n").await;
    let (mut first, mut second) = (gateway.stream().await, gateway.send_chat(json!({})).await);
    let calls = [backends.next().await, backends.next().await];
    let refused = gateway.chat().await;
    assert_eq!((refused.status, refused.code()), (503, "overloaded".into()));
    assert_eq!((refused.field("retry-after"), refused.field("retry-after-ms")), (Some("1"), Some("1000")));
    assert!(backends.are_idle());

    for call in calls {
        if call.json().get("stream").is_some() { call.tell().await } else { call.say("hi").await }
    }
    assert_eq!(first.story().await, "once upon");
    second.answer().await;
    gateway.is_at_rest().await;
    let mut third = gateway.send_chat(json!({})).await;
    backends.next().await.say("now").await;
    assert_eq!(third.answer().await.content(), "now");
}

#[tokio::test]
async fn a_backend_is_not_sent_more_than_its_limit() {
    let mut backends = Backends::start(2).await.and("max_in_flight: 1");
    let waits = "pipeline: {max_wait_ms: 300, max_burst_wait_ms: 300}\n";
    let gateway = Gateway::configured(&backends, waits).await;
    let (_first, _second) = (gateway.stream().await, gateway.stream().await);
    let calls = [backends.next().await, backends.next().await];
    assert_ne!(calls[0].backend, calls[1].backend);
    let refused = gateway.chat().await;
    assert_eq!((refused.status, refused.code()), (503, "overloaded".into()));
    assert_eq!(refused.field("retry-after"), Some("1"));
    assert!(backends.are_idle());
}

#[tokio::test]
async fn a_connection_too_many_is_closed_and_room_is_given_back() {
    let backends = Backends::start(1).await;
    let gateway = Gateway::configured(&backends, "requests: {max_connections: 2}\n").await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = gateway.connect().await;
        client.send("GET", "/v1/models", &[], "").await;
        assert_eq!(client.answer().await.status, 200);
        held.push(client);
    }
    let mut third = gateway.connect().await;
    assert_eq!(third.until_closed().await, b"");
    held.pop();
    eventually("the place to be free again", async || {
        let mut client = gateway.connect().await;
        client.ask_models().await == Some(200)
    })
    .await;
}
