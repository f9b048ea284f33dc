//! A stream never ends silently: what breaks after its first token ends with one error event.

use serde_json::json;

use crate::stage::{Backends, Call, Gateway};

/// A stream that has this fault after its first token.
async fn ends_with_an_error(more: &str, code: &str, fault: impl AsyncFn(Call)) {
    let mut backends = Backends::start(2).await;
    let gateway = Gateway::configured(&backends, more).await;
    let mut client = gateway.stream().await;
    let mut call = backends.next().await;
    call.begin_with("once").await;
    client.begun().await;
    assert_eq!(client.token().await, "once");
    fault(call).await;
    assert_eq!(client.error_at_end().await, code);
    gateway.is_at_rest().await;
    assert!(backends.are_idle(), "what the client has begun to read cannot begin anew");
    assert_eq!(gateway.of_model("plimsoll_broken_streams_total", &[]).await, 1.0);
    assert_eq!(gateway.of_model("plimsoll_requests_total", &[("outcome", "ok")]).await, 0.0);
}

#[tokio::test]
async fn a_reset_in_the_middle_ends_with_an_error() {
    ends_with_an_error("", "upstream_error", async |call| call.reset()).await;
}

#[tokio::test]
async fn a_close_in_the_middle_ends_with_an_error() {
    ends_with_an_error("", "upstream_error", async |call| drop(call)).await;
}

#[tokio::test]
async fn a_transfer_that_ends_before_the_answer_does_ends_with_an_error() {
    ends_with_an_error("", "upstream_error", async |call| call.close_stream().await).await;
}

#[tokio::test]
async fn half_an_event_is_not_passed_on_and_ends_with_an_error() {
    ends_with_an_error("", "upstream_error", async |mut call| {
        call.piece("data: {\"choices\":[{\"delta\":{\"content\":\"half").await;
        call.close_stream().await;
    })
    .await;
}

#[tokio::test]
async fn an_event_that_is_not_json_says_nothing_and_passes() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.stream().await;
    let mut call = backends.next().await;
    call.begin_with("once").await;
    call.event(": keepalive").await;
    call.finish().await;
    client.begun().await;
    assert_eq!(client.token().await, "once");
    assert_eq!(client.event().await.unwrap(), "data: : keepalive");
    assert_eq!(client.rest().await.last().unwrap(), "data: [DONE]");
    gateway.is_at_rest().await;
    assert_eq!(gateway.of_model("plimsoll_requests_total", &[("outcome", "ok")]).await, 1.0);
}

#[tokio::test]
async fn a_refusal_in_the_middle_of_a_stream_keeps_its_code_and_is_not_blamed_on_the_backend() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.stream().await;
    let mut call = backends.next().await;
    call.begin_with("once").await;
    call.event(
        r#"{"error":{"message":"too long","type":"invalid_request_error","code":"context_length_exceeded"}}"#,
    )
    .await;
    client.begun().await;
    assert_eq!(client.token().await, "once");
    assert_eq!(client.error_at_end().await, "context_length_exceeded");
    gateway.is_at_rest().await;
    assert_eq!(gateway.of_model("plimsoll_requests_total", &[("outcome", "client_error")]).await, 1.0);
}

#[tokio::test]
async fn an_event_without_end_ends_with_an_error() {
    ends_with_an_error("", "upstream_error", async |mut call| {
        let long = "a".repeat(1 << 20);
        for _ in 0..=32 {
            call.piece(&long).await;
        }
        call.is_left().await;
    })
    .await;
}

#[tokio::test]
async fn chunks_that_are_malformed_end_with_an_error() {
    ends_with_an_error("", "upstream_error", async |mut call| {
        call.write("-5\r\nhello\r\n").await;
        call.is_left().await;
    })
    .await;
}

#[tokio::test]
async fn silence_in_the_middle_ends_with_an_error() {
    ends_with_an_error("pipeline: {idle_limit_ms: 300}\n", "deadline_exceeded", async |mut call| {
        call.is_left().await;
    })
    .await;
}

#[tokio::test]
async fn an_error_that_the_backend_tells_is_told_in_our_words_and_blamed_on_it() {
    ends_with_an_error("", "upstream_error", async |mut call| {
        let said = "out of memory at 0x7f00deadbeef, see http://10.0.0.7:8000/log";
        call.event(&json!({"error": {"message": said, "type": "x", "param": null, "code": 500}}).to_string())
            .await;
        call.is_left().await;
    })
    .await;
}

#[tokio::test]
async fn a_backend_that_resets_after_done_has_served() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.stream().await;
    let mut call = backends.next().await;
    call.begin_with("once").await;
    call.event("[DONE]").await;
    client.begun().await;
    assert_eq!(client.token().await, "once");
    assert_eq!(client.event().await.unwrap(), "data: [DONE]");
    call.reset();
    assert_eq!(client.event().await, None);
    gateway.is_at_rest().await;
    assert_eq!(gateway.of_model("plimsoll_requests_total", &[("outcome", "ok")]).await, 1.0);
}

#[tokio::test]
async fn the_error_that_ends_a_stream_has_the_form_of_its_api() {
    let cases = [
        ("/v1/messages", r#"{"type":"content_block_delta","delta":{"text":"hi"}}"#),
        ("/v1/responses", r#"{"type":"response.output_text.delta","delta":"hi"}"#),
    ];
    for (path, first) in cases {
        let mut backends = Backends::start(1).await;
        let gateway = Gateway::before(&backends).await;
        let mut client = gateway.connect().await;
        client.send("POST", path, &[], &gateway.question(json!({"stream": true}))).await;
        let mut call = backends.next().await;
        call.begin().await;
        call.event(first).await;
        client.begun().await;
        assert_eq!(client.event().await.unwrap(), format!("data: {first}"));
        call.reset();
        let events = client.rest().await;
        let [only] = &events[..] else { panic!("{events:?}") };
        let data = only.strip_prefix("event: error\ndata: ").unwrap_or_else(|| panic!("{only}"));
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["type"], "error");
        if path == "/v1/messages" {
            assert_eq!(data["error"]["type"], "api_error");
        } else {
            assert_eq!((&data["code"], &data["sequence_number"]), (&json!("upstream_error"), &json!(0)));
        }
    }
}

#[tokio::test]
async fn a_stream_of_another_api_that_ends_early_is_an_error_too() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.connect().await;
    client.send("POST", "/v1/messages", &[], &gateway.question(json!({"stream": true}))).await;
    let mut call = backends.next().await;
    call.begin().await;
    call.event(r#"{"type":"content_block_delta","delta":{"text":"hi"}}"#).await;
    call.close_stream().await;
    client.begun().await;
    let events = client.rest().await;
    assert!(events.len() == 2 && events[1].starts_with("event: error\n"), "{events:?}");
}
