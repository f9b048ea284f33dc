//! Usage is metered on every route, and a client sees it only where it asked.

use serde_json::json;

use crate::stage::{Backends, Gateway};

const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":21,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":16}}}"#;

async fn tokens(gateway: &Gateway) -> [f64; 3] {
    let of = async |kind| gateway.of_model("plimsoll_tokens_total", &[("type", kind)]).await;
    [of("input").await, of("cached").await, of("output").await]
}

#[tokio::test]
async fn a_stream_is_asked_for_usage_that_its_client_does_not_see() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.stream().await;
    let mut call = backends.next().await;
    assert_eq!(call.json()["stream_options"], json!({"include_usage": true}));
    call.begin_with("hi").await;
    call.event(USAGE).await;
    call.finish().await;
    let answer = client.answer().await.text();
    assert!(answer.contains("hi") && answer.ends_with("data: [DONE]\n\n"), "{answer}");
    assert!(!answer.contains("usage"), "{answer}");
    gateway.is_at_rest().await;
    assert_eq!(tokens(&gateway).await, [21.0, 16.0, 4.0]);
}

#[tokio::test]
async fn a_client_that_asked_for_usage_gets_it() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let body = gateway.question(json!({"stream": true, "stream_options": {"include_usage": true}}));
    let mut client = gateway.connect().await;
    client.send("POST", "/v1/chat/completions", &[], &body).await;
    let mut call = backends.next().await;
    assert_eq!(call.body, body.as_bytes());
    call.begin_with("hi").await;
    call.event(USAGE).await;
    call.finish().await;
    assert!(client.answer().await.text().contains(USAGE));
    gateway.is_at_rest().await;
    assert_eq!(tokens(&gateway).await, [21.0, 16.0, 4.0]);
}

#[tokio::test]
async fn a_wish_against_usage_or_with_other_options_is_spliced_where_it_stands() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let model = &gateway.model;
    for (options, expected) in [
        (r#"{"include_usage":false}"#, r#"{"include_usage":true}"#),
        ("null", r#"{"include_usage":true}"#),
        ("{}", r#"{"include_usage":true}"#),
        (r#"{"x": 1}"#, r#"{"include_usage":true,"x": 1}"#),
    ] {
        let body =
            |options: &str| format!(r#"{{"model":"{model}", "stream":true,"stream_options": {options} }}"#);
        let mut client = gateway.connect().await;
        client.send("POST", "/v1/completions", &[], &body(options)).await;
        let call = backends.next().await;
        assert_eq!(String::from_utf8_lossy(&call.body), body(expected));
        call.tell().await;
        client.answer().await;
    }
}

#[tokio::test]
async fn a_backend_that_does_not_know_the_option_is_not_asked() {
    let mut backends = Backends::start(1).await.and("stream_options: false");
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.stream().await;
    let call = backends.next().await;
    assert_eq!(call.json().get("stream_options"), None);
    call.tell().await;
    assert_eq!(client.story().await, "once upon");
    gateway.is_at_rest().await;
    // What cannot be known is counted by events.
    assert_eq!(tokens(&gateway).await, [0.0, 0.0, 2.0]);
}

#[tokio::test]
async fn plain_answers_are_metered() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    for (path, usage) in [
        ("/v1/chat/completions", r#"{"prompt_tokens":3,"completion_tokens":2}"#),
        ("/v1/embeddings", r#"{"prompt_tokens":10,"total_tokens":10}"#),
        (
            "/v1/responses",
            r#"{"input_tokens":100,"input_tokens_details":{"cached_tokens":50},"output_tokens":20}"#,
        ),
        ("/v1/messages", r#"{"input_tokens":1000,"cache_read_input_tokens":500,"output_tokens":200}"#),
    ] {
        let mut client = gateway.connect().await;
        client.send("POST", path, &[], &gateway.question(json!({}))).await;
        let call = backends.next().await;
        call.answer(200, "", format!("{{\"id\":\"x\",\"usage\":{usage}}}")).await;
        assert_eq!(client.answer().await.status, 200);
    }
    gateway.is_at_rest().await;
    assert_eq!(tokens(&gateway).await, [3.0 + 10.0 + 100.0 + 1_500.0, 550.0, 222.0]);
    for route in ["chat", "embeddings", "responses", "messages"] {
        let labels = [("route", route), ("outcome", "ok")];
        assert_eq!(gateway.of_model("plimsoll_requests_total", &labels).await, 1.0, "{route}");
    }
}

#[tokio::test]
async fn streams_of_responses_are_metered_by_their_last_event() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.connect().await;
    let body = gateway.question(json!({"stream": true}));
    client.send("POST", "/v1/responses", &[], &body).await;
    let mut call = backends.next().await;
    assert_eq!(call.body, body.as_bytes(), "responses always tell usage");
    let events = [
        ("response.created", r#"{"type":"response.created","response":{"usage":null}}"#),
        ("response.output_text.delta", r#"{"type":"response.output_text.delta","delta":"hi"}"#),
        (
            "response.completed",
            r#"{"type":"response.completed","response":{"usage":{"input_tokens":9,"output_tokens":5,"input_tokens_details":{"cached_tokens":4}}}}"#,
        ),
    ]
    .map(|(name, data)| format!("event: {name}\ndata: {data}\n\n"));
    call.begin().await;
    for event in &events {
        call.piece(event).await;
    }
    call.close_stream().await;
    assert_eq!(client.answer().await.text(), events.concat());
    gateway.is_at_rest().await;
    assert_eq!(tokens(&gateway).await, [9.0, 4.0, 5.0]);
    assert_eq!(gateway.of_model("plimsoll_requests_total", &[("outcome", "ok")]).await, 1.0);
}

#[tokio::test]
async fn streams_of_messages_are_metered_by_their_first_and_last_events() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.connect().await;
    client.send("POST", "/v1/messages", &[], &gateway.question(json!({"stream": true}))).await;
    let mut call = backends.next().await;
    let events = [
        r#"{"type":"message_start","message":{"usage":{"input_tokens":10,"cache_read_input_tokens":90,"output_tokens":1}}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":12}}"#,
        r#"{"type":"message_stop"}"#,
    ]
    .map(|data| format!("data: {data}\n\n"));
    call.begin().await;
    for event in &events {
        call.piece(event).await;
    }
    call.close_stream().await;
    assert_eq!(client.answer().await.text(), events.concat());
    gateway.is_at_rest().await;
    assert_eq!(tokens(&gateway).await, [100.0, 90.0, 12.0]);
}

#[tokio::test]
async fn times_are_measured_where_there_is_something_to_measure() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.stream().await;
    let mut call = backends.next().await;
    call.begin_with("once").await;
    client.begun().await;
    client.token().await;
    for text in ["a", "b"] {
        call.token(text).await;
        assert_eq!(client.token().await, text);
    }
    call.finish().await;
    client.rest().await;
    gateway.is_at_rest().await;
    for (name, count) in [("ttft", 1.0), ("itl", 2.0), ("overhead", 1.0), ("request_duration", 1.0)] {
        let metric = format!("plimsoll_{name}_seconds_count");
        assert_eq!(gateway.of_model(&metric, &[]).await, count, "{name}");
    }
    let picks = [("policy", "expected_cost"), ("backend", backends.names[0].as_str())];
    assert_eq!(gateway.of_model("plimsoll_picks_total", &picks).await, 1.0);
}
