//! What a request may be and how long it may take to arrive.

use serde_json::json;

use crate::stage::{Backends, Gateway};

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn a_head_over_the_limit_is_refused() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::configured(&backends, "requests: {max_head_bytes: 2048}\n").await;
    let long = "x".repeat(3_000);
    for path in [CHAT.to_owned(), format!("{CHAT}?{long}")] {
        let fields: &[(&str, &str)] = if path == CHAT { &[("x-long", &long)] } else { &[] };
        let answer = gateway.ask("POST", &path, fields, &gateway.question(json!({}))).await;
        assert_eq!((answer.status, answer.code()), (431, "headers_too_large".into()), "{path}");
    }
    assert!(backends.are_idle());
}

#[tokio::test]
async fn a_head_that_does_not_arrive_ends_its_connection() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::configured(&backends, "requests: {head_timeout_ms: 100}\n").await;
    let mut client = gateway.connect().await;
    client.write(format!("POST {CHAT} HTTP/1.1\r\nhost: a\r\nx-slow: ")).await;
    client.until_closed().await;
    // On a connection that has served before, too.
    let mut client = gateway.send_chat(json!({})).await;
    backends.next().await.say("hi").await;
    client.answer().await;
    client.write("POST /v1").await;
    client.until_closed().await;
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_asked_is_closed() {
    let mut backends = Backends::start(1).await;
    let gateway =
        Gateway::configured(&backends, "requests: {idle_timeout_ms: 1000, head_timeout_ms: 1000}\n").await;
    let mut used = gateway.send_chat(json!({})).await;
    backends.next().await.say("hi").await;
    used.answer().await;
    let mut unused = gateway.connect().await;
    assert_eq!(used.until_closed().await, b"");
    assert_eq!(unused.until_closed().await, b"");
}

#[tokio::test]
async fn a_connection_that_is_served_is_not_idle_however_long_it_takes() {
    let mut backends = Backends::start(1).await;
    let more = "requests: {idle_timeout_ms: 1000}\npipeline: {keep_alive_ms: 300}\n";
    let gateway = Gateway::configured(&backends, more).await;
    let mut client = gateway.stream().await;
    let mut call = backends.next().await;
    call.begin_with("once").await;
    client.begun().await;
    client.token().await;
    for _ in 0..10 {
        assert_eq!(client.event().await.unwrap(), ": keep-alive");
    }
    call.finish().await;
    assert_eq!(client.rest().await.last().unwrap(), "data: [DONE]");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_not_waited_for() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::configured(&backends, "requests: {body_timeout_ms: 200}\n").await;
    let mut client = gateway.connect().await;
    client.write(format!("POST {CHAT} HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{{\"mod")).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.code()), (408, "request_timeout".into()));
    client.until_closed().await;
    assert!(backends.are_idle());
}

#[tokio::test]
async fn a_body_that_breaks_off_never_reaches_a_backend() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.connect().await;
    let question = gateway.question(json!({}));
    client.write(format!("POST {CHAT} HTTP/1.1\r\nhost: a\r\ncontent-length: 500\r\n\r\n{question}")).await;
    drop(client);
    gateway.is_at_rest().await;
    assert!(backends.are_idle());
}

#[tokio::test]
async fn a_client_that_asks_whether_to_go_on_is_told_so_and_anything_else_expected_is_refused() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let question = gateway.question(json!({}));
    let head = |expect: &str| {
        let length = question.len();
        format!("POST {CHAT} HTTP/1.1\r\nhost: a\r\nexpect: {expect}\r\ncontent-length: {length}\r\n\r\n")
    };
    let mut client = gateway.connect().await;
    client.write(head("100-continue")).await;
    assert_eq!(client.head().await.0, 100);
    client.write(&question).await;
    let call = backends.next().await;
    assert_eq!(call.field("expect"), None);
    call.say("hi").await;
    assert_eq!(client.answer().await.content(), "hi");

    let mut client = gateway.connect().await;
    client.write(head("200-ok")).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.code()), (417, "expectation_failed".into()));
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_their_order() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.connect().await;
    for _ in 0..2 {
        client.send("POST", CHAT, &[], &gateway.question(json!({}))).await;
    }
    client.send("GET", "/v1/models", &[], "").await;
    for text in ["one", "two"] {
        backends.next().await.say(text).await;
        assert_eq!(client.answer().await.content(), text);
    }
    assert_eq!(client.answer().await.json()["object"], "list");
}
