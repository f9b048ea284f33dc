//! Going without hurting anybody: readiness off, nothing new, what runs may finish.

use serde_json::json;
use tokio::net::TcpStream;

use crate::stage::{Backends, Gateway, eventually};

async fn drain(gateway: &Gateway) {
    assert_eq!(gateway.admin("POST", "/drain").await.status, 202);
    eventually("readiness to be off", async || gateway.admin("GET", "/readyz").await.status == 503).await;
    assert_eq!(gateway.admin("GET", "/readyz").await.text(), "draining\n");
    assert_eq!(gateway.admin("GET", "/livez").await.status, 200);
}

#[tokio::test]
async fn a_running_stream_finishes_and_nobody_new_is_let_in() {
    let mut backends = Backends::start(1).await;
    let mut gateway = Gateway::before(&backends).await;
    let mut client = gateway.stream().await;
    let mut call = backends.next().await;
    call.begin_with("once").await;
    client.begun().await;
    client.token().await;
    drain(&gateway).await;
    eventually("new connections to be refused", async || TcpStream::connect(gateway.address).await.is_err())
        .await;
    call.token("upon").await;
    assert_eq!(client.token().await, "upon");
    call.finish().await;
    assert_eq!(client.rest().await.last().unwrap(), "data: [DONE]");
    assert_eq!(gateway.end().await, Ok(()));
}

#[tokio::test]
async fn a_request_that_waits_for_its_first_token_finishes_too() {
    let mut backends = Backends::start(1).await;
    let mut gateway = Gateway::before(&backends).await;
    let (mut plain, mut stream) = (gateway.send_chat(json!({})).await, gateway.stream().await);
    let calls = [backends.next().await, backends.next().await];
    drain(&gateway).await;
    for call in calls {
        if call.json().get("stream").is_some() { call.tell().await } else { call.say("hi").await }
    }
    assert_eq!(plain.answer().await.content(), "hi");
    assert_eq!(stream.story().await, "once upon");
    assert_eq!(gateway.end().await, Ok(()));
}

#[tokio::test]
async fn a_gateway_without_work_ends_at_once() {
    let backends = Backends::start(1).await;
    let mut gateway = Gateway::before(&backends).await;
    gateway.admin("POST", "/drain").await;
    assert_eq!(gateway.end().await, Ok(()));
}

#[tokio::test]
async fn only_a_post_drains() {
    let backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    assert_eq!(gateway.admin("GET", "/drain").await.status, 405);
    assert_eq!(gateway.admin("GET", "/readyz").await.status, 200);
}

#[tokio::test]
async fn until_the_delay_is_over_whoever_comes_is_served() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::configured(&backends, "drain_delay_ms: 600000\n").await;
    drain(&gateway).await;
    let mut client = gateway.send_chat(json!({})).await;
    backends.next().await.say("still here").await;
    assert_eq!(client.answer().await.content(), "still here");
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_with_its_answer() {
    let mut backends = Backends::start(1).await;
    let mut gateway = Gateway::before(&backends).await;
    let mut idle = gateway.send_chat(json!({})).await;
    backends.next().await.say("hi").await;
    idle.answer().await;
    let mut busy = gateway.send_chat(json!({})).await;
    let call = backends.next().await;
    drain(&gateway).await;
    assert_eq!(idle.until_closed().await, b"");
    call.say("the last").await;
    let answer = busy.answer().await;
    assert_eq!((answer.content().as_str(), answer.field("connection")), ("the last", Some("close")));
    busy.until_closed().await;
    assert_eq!(gateway.end().await, Ok(()));
}

#[tokio::test]
async fn what_is_left_after_the_limit_ends_with_an_error() {
    let mut backends = Backends::start(1).await;
    let mut gateway = Gateway::configured(&backends, "drain_timeout_ms: 200\n").await;
    let (mut begun, mut held) = (gateway.stream().await, gateway.send_chat(json!({})).await);
    let (mut first, mut second) = (backends.next().await, backends.next().await);
    let stream = if first.json().get("stream").is_some() { &mut first } else { &mut second };
    stream.begin_with("once").await;
    begun.begun().await;
    begun.token().await;
    gateway.admin("POST", "/drain").await;
    assert_eq!(begun.error_at_end().await, "draining");
    let answer = held.answer().await;
    assert_eq!((answer.status, answer.code()), (503, "draining".into()));
    assert_eq!(answer.field("retry-after"), Some("1"));
    first.is_left().await;
    second.is_left().await;
    assert_eq!(gateway.end().await, Ok(()));
}

#[tokio::test]
async fn what_waits_for_its_first_token_behind_sent_headers_ends_with_an_error_too() {
    let mut backends = Backends::start(1).await;
    let more = "drain_timeout_ms: 200\npipeline: {hold_headers_ms: 0}\n";
    let mut gateway = Gateway::configured(&backends, more).await;
    let mut client = gateway.stream().await;
    let mut call = backends.next().await;
    client.begun().await;
    assert_eq!(client.event().await.unwrap(), ": keep-alive");
    gateway.admin("POST", "/drain").await;
    assert_eq!(client.error_at_end().await, "draining");
    call.is_left().await;
    assert_eq!(gateway.end().await, Ok(()));
}
