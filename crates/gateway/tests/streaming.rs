//! Tokens pass as they come; a silent stream is kept alive; nobody waits longer than was said.

use serde_json::json;

use crate::stage::{Backends, Gateway};

const KEEP_ALIVE: &str = ": keep-alive";

#[tokio::test]
async fn each_token_is_at_the_client_before_the_next_is_written() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.stream().await;
    let mut call = backends.next().await;
    call.begin_with("0").await;
    client.begun().await;
    assert_eq!(client.token().await, "0");
    for number in 1..50 {
        call.token(&number.to_string()).await;
        assert_eq!(client.token().await, number.to_string());
    }
    call.finish().await;
    let rest = client.rest().await;
    assert_eq!((rest.len(), rest[1].as_str()), (2, "data: [DONE]"));
}

#[tokio::test]
async fn the_head_of_a_stream_comes_with_its_first_token_and_all_that_was_before_it() {
    let mut backends = Backends::start(2).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.stream().await;
    let mut call = backends.next().await;
    let role = r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":null}}]}"#;
    call.begin().await;
    call.event(role).await;
    // Had the head gone out already, this death could not be hidden.
    call.reset();
    let mut call = backends.next().await;
    call.begin().await;
    call.event(role).await;
    call.token("hi").await;
    let head = client.begun().await;
    assert!(head.contains("cache-control: no-cache") && head.contains("x-accel-buffering: no"), "{head}");
    assert_eq!(client.event().await.unwrap(), format!("data: {role}"));
    assert_eq!(client.token().await, "hi");
    call.finish().await;
    client.rest().await;
}

#[tokio::test]
async fn a_head_that_was_held_long_enough_goes_out_with_signs_of_life() {
    let mut backends = Backends::start(1).await;
    let gateway =
        Gateway::configured(&backends, "pipeline: {hold_headers_ms: 100, keep_alive_ms: 100}\n").await;
    let mut client = gateway.stream().await;
    let call = backends.next().await;
    client.begun().await;
    for _ in 0..3 {
        assert_eq!(client.event().await.unwrap(), KEEP_ALIVE);
    }
    call.tell().await;
    let events = client.rest().await;
    assert!(events.iter().any(|event| event.contains("once")), "{events:?}");
    assert_eq!(events.last().unwrap(), "data: [DONE]");
}

#[tokio::test]
async fn a_stream_that_fails_after_its_head_was_sent_ends_with_an_error() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::configured(&backends, "pipeline: {hold_headers_ms: 0}\n").await;
    let mut client = gateway.stream().await;
    let call = backends.next().await;
    client.begun().await;
    assert_eq!(client.event().await.unwrap(), KEEP_ALIVE);
    call.answer(500, "", "{}").await;
    assert_eq!(client.error_at_end().await, "upstream_error");
    gateway.is_at_rest().await;
}

#[tokio::test]
async fn a_plain_answer_behind_the_head_of_a_stream_is_an_error() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::configured(&backends, "pipeline: {hold_headers_ms: 0}\n").await;
    let mut client = gateway.stream().await;
    let call = backends.next().await;
    client.begun().await;
    assert_eq!(client.event().await.unwrap(), KEEP_ALIVE);
    call.say("all at once").await;
    assert_eq!(client.error_at_end().await, "upstream_error");
    gateway.is_at_rest().await;
    assert_eq!(gateway.of_model("plimsoll_requests_total", &[("outcome", "backend_error")]).await, 1.0);
}

#[tokio::test]
async fn a_gap_between_tokens_is_filled_with_signs_of_life() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::configured(&backends, "pipeline: {keep_alive_ms: 100}\n").await;
    let mut client = gateway.stream().await;
    let mut call = backends.next().await;
    call.begin_with("once").await;
    client.begun().await;
    assert_eq!(client.token().await, "once");
    for _ in 0..2 {
        assert_eq!(client.event().await.unwrap(), KEEP_ALIVE);
    }
    call.token("upon").await;
    let mut event = client.event().await.unwrap();
    while event == KEEP_ALIVE {
        event = client.event().await.unwrap();
    }
    assert!(event.contains("upon"), "{event}");
    call.finish().await;
    client.rest().await;
}

#[tokio::test]
async fn signs_of_life_from_the_backend_pass_and_are_no_tokens() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.stream().await;
    let mut call = backends.next().await;
    call.begin_with("once").await;
    call.piece(": ping\n\n").await;
    call.finish().await;
    client.begun().await;
    assert_eq!(client.token().await, "once");
    assert_eq!(client.event().await.unwrap(), ": ping");
    client.rest().await;
}

#[tokio::test]
async fn a_stream_may_end_with_a_reason_and_without_done() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.stream().await;
    let mut call = backends.next().await;
    call.begin_with("once").await;
    let reason = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}"#;
    call.event(reason).await;
    call.close_stream().await;
    client.begun().await;
    client.token().await;
    assert_eq!(client.rest().await, [format!("data: {reason}")]);
    gateway.is_at_rest().await;
    assert_eq!(gateway.of_model("plimsoll_requests_total", &[("outcome", "ok")]).await, 1.0);
}

#[tokio::test]
async fn a_plain_answer_to_a_wish_for_a_stream_is_passed_on() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.stream().await;
    backends.next().await.say("all at once").await;
    assert_eq!(client.answer().await.content(), "all at once");
}

#[tokio::test]
async fn a_plain_answer_is_not_waited_for_longer_than_the_sdk_does() {
    let mut backends = Backends::start(2).await;
    let gateway = Gateway::before(&backends).await;
    for timeout in ["x-stainless-read-timeout", "x-stainless-timeout"] {
        let mut client = gateway.connect().await;
        let question = gateway.question(json!({}));
        client.send("POST", "/v1/chat/completions", &[(timeout, "0.2")], &question).await;
        backends.next().await.is_left().await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.code()), (504, "deadline_exceeded".into()));
        assert_eq!(answer.field("x-should-retry"), Some("false"));
        assert!(backends.are_idle(), "nobody waits for another try");
    }
}

#[tokio::test]
async fn a_first_token_and_a_gap_are_not_waited_for_longer_than_the_sdk_does() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let fields = [("x-stainless-read-timeout", "0.3")];
    let question = gateway.question(json!({"stream": true}));
    let mut client = gateway.connect().await;
    client.send("POST", "/v1/chat/completions", &fields, &question).await;
    backends.next().await.is_left().await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.code()), (504, "deadline_exceeded".into()));

    let mut client = gateway.connect().await;
    client.send("POST", "/v1/chat/completions", &fields, &question).await;
    let mut call = backends.next().await;
    call.begin_with("once").await;
    client.begun().await;
    client.token().await;
    call.is_left().await;
    assert_eq!(client.error_at_end().await, "deadline_exceeded");
}
