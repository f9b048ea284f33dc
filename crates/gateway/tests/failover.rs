//! A backend that fails before the first token is not noticed by the client.

use serde_json::json;

use crate::stage::{Backends, Call, Gateway, eventually};

/// Whoever is asked first has this fault; the other serves. The client must not notice, plain or stream.
async fn is_not_noticed(reason: &str, more: &str, fault: impl AsyncFn(Call)) {
    for stream in [false, true] {
        let mut backends = Backends::start(2).await;
        let gateway = Gateway::configured(&backends, more).await;
        let mut client = gateway.send_chat(json!({"stream": stream})).await;
        let call = backends.next().await;
        let (first, body) = (call.backend, call.body.clone());
        fault(call).await;
        let call = backends.next().await;
        assert_ne!(call.backend, first, "another backend is tried");
        assert_eq!(call.body, body, "the request is the same");
        if stream {
            call.tell().await;
            assert_eq!(client.story().await, "once upon");
        } else {
            call.say("once upon").await;
            assert_eq!(client.answer().await.content(), "once upon");
        }
        gateway.is_at_rest().await;
        assert_eq!(gateway.of_model("plimsoll_retries_total", &[("reason", reason)]).await, 1.0);
        assert_eq!(gateway.of_model("plimsoll_requests_total", &[("outcome", "ok")]).await, 1.0);
        assert!(backends.are_idle());
    }
}

#[tokio::test]
async fn a_refused_connection_is_not_noticed_and_costs_no_retry() {
    let backends = Backends::with_one_refusing().await;
    // A probe would know of it before any request does.
    let more = "fleet: {probe_ms: 0}\nrouting: {policy: round_robin}\npipeline: {retry_percent: 0, retry_per_second: 0}\n";
    let gateway = Gateway::configured(&backends, more).await;
    let (refusing, serving) = (backends.names[0].clone(), backends.names[1].clone());
    backends.play(async |call| call.say("hi").await);
    for _ in 0..6 {
        assert_eq!(gateway.chat().await.content(), "hi");
    }
    let attempts = async |backend: &str, outcome| {
        gateway.metric("plimsoll_attempts_total", &[("backend", backend), ("outcome", outcome)]).await
    };
    assert!(attempts(&refusing, "unreachable").await >= 1.0);
    assert_eq!(attempts(&serving, "ok").await, 6.0);
}

#[tokio::test]
async fn a_reset_before_the_head_is_not_noticed() {
    is_not_noticed("failed", "", async |call| call.reset()).await;
}

#[tokio::test]
async fn a_close_before_the_head_is_not_noticed() {
    is_not_noticed("failed", "", async |call| drop(call)).await;
}

#[tokio::test]
async fn a_head_that_breaks_off_is_not_noticed() {
    is_not_noticed("failed", "", async |mut call| call.write("HTTP/1.1 200 OK\r\ncontent-ty").await).await;
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_not_noticed() {
    is_not_noticed("failed", "", async |mut call| call.write("SSH-2.0-OpenSSH_9.2\r\n\r\n").await).await;
}

#[tokio::test]
async fn two_lengths_in_one_answer_are_not_noticed() {
    is_not_noticed("failed", "", async |mut call| {
        call.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}").await;
    })
    .await;
}

#[tokio::test]
async fn a_status_of_500_to_599_is_not_noticed() {
    is_not_noticed("status", "", async |call| call.answer(503, "", r#"{"error":"loading"}"#).await).await;
    is_not_noticed("status", "", async |call| call.answer(500, "", "oops").await).await;
}

#[tokio::test]
async fn a_backend_that_refuses_the_gateways_key_is_not_noticed() {
    is_not_noticed("status", "", async |call| call.answer(401, "", r#"{"error":"bad key"}"#).await).await;
}

#[tokio::test]
async fn a_429_is_not_noticed() {
    is_not_noticed("pushback", "", async |call| call.answer(429, "retry-after: 60\r\n", "{}").await).await;
}

#[tokio::test]
async fn silence_before_the_head_is_not_noticed() {
    let more = "pipeline: {ttft_limit_ms: 1000, ttft_floor_ms: 1000, answer_limit_ms: 1000}\n";
    is_not_noticed("timeout", more, async |mut call| call.is_left().await).await;
}

#[tokio::test]
async fn silence_after_the_head_is_not_noticed() {
    let more = "pipeline: {ttft_limit_ms: 1000, ttft_floor_ms: 1000, answer_limit_ms: 1000}\n";
    is_not_noticed("timeout", more, async |mut call| {
        call.begin().await;
        call.is_left().await;
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_dies_before_its_first_token_is_not_noticed() {
    is_not_noticed("failed", "", async |mut call| {
        call.begin().await;
        call.event(r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#).await;
        call.reset();
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_ends_before_its_first_token_is_not_noticed() {
    is_not_noticed("failed", "", async |mut call| {
        call.begin().await;
        call.piece(": hello\n\n").await;
        call.close_stream().await;
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_begins_with_an_error_is_not_noticed() {
    is_not_noticed("failed", "", async |mut call| {
        call.begin().await;
        call.event(r#"{"error":{"message":"out of memory","code":500}}"#).await;
        call.is_left().await;
    })
    .await;
}

#[tokio::test]
async fn a_page_an_error_or_nothing_under_a_status_of_success_is_not_noticed() {
    for (kind, body) in [
        ("text/html", "<!doctype html><html>Maintenance</html>"),
        ("application/json", r#"{"error":{"message":"upstream failed","code":502}}"#),
        ("application/json", ""),
        ("application/json", r#"{"choices":[{"message":{"content":"cut"#),
    ] {
        is_not_noticed("failed", "", async |mut call| {
            let length = body.len();
            call.write(format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
            ))
            .await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_plain_answer_cut_short_is_not_noticed() {
    is_not_noticed("failed", "", async |mut call| {
        call.write("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"ch")
            .await;
    })
    .await;
    is_not_noticed("failed", "", async |mut call| {
        call.write("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"ch")
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_pooled_connection_found_dead_is_not_noticed_and_costs_nothing() {
    let mut backends = Backends::start(1).await;
    let more = "pipeline: {retry_percent: 0, retry_per_second: 0}\n";
    let gateway = Gateway::configured(&backends, more).await;
    let mut client = gateway.send_chat(json!({})).await;
    let call = backends.next().await;
    let connection = call.connection;
    call.say("one").await;
    assert_eq!(client.answer().await.content(), "one");

    let mut client = gateway.send_chat(json!({})).await;
    let call = backends.next().await;
    assert_eq!(call.connection, connection, "the connection is used again");
    drop(call);
    let call = backends.next().await;
    assert_ne!(call.connection, connection);
    call.say("two").await;
    assert_eq!(client.answer().await.content(), "two");

    gateway.is_at_rest().await;
    let backend = [("backend", backends.names[0].as_str())];
    let ok = [backend[0], ("outcome", "ok")];
    assert_eq!(gateway.metric("plimsoll_attempts_total", &backend).await, 2.0);
    assert_eq!(gateway.metric("plimsoll_attempts_total", &ok).await, 2.0);
    assert_eq!(gateway.of_model("plimsoll_retries_total", &[]).await, 0.0);
}

#[tokio::test]
async fn a_new_connection_that_dies_is_no_pooled_one_and_is_not_tried_twice() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.send_chat(json!({})).await;
    drop(backends.next().await);
    assert_eq!(client.answer().await.status, 502);
    assert!(backends.are_idle());
}

#[tokio::test]
async fn a_connection_with_more_on_it_than_the_answer_is_not_used_again() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.send_chat(json!({})).await;
    let mut call = backends.next().await;
    let poison = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    call.write(format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{{}}{poison}")).await;
    assert_eq!(client.answer().await.text(), "{}");
    call.is_left().await;

    let mut client = gateway.send_chat(json!({})).await;
    backends.next().await.say("clean").await;
    assert_eq!(client.answer().await.content(), "clean");
}

#[tokio::test]
async fn the_headers_of_a_held_stream_do_not_end_the_hope_for_another_backend() {
    let mut backends = Backends::start(2).await;
    let gateway = Gateway::configured(&backends, "pipeline: {hold_headers_ms: 0}\n").await;
    let mut client = gateway.stream().await;
    let call = backends.next().await;
    client.begun().await;
    call.reset();
    backends.next().await.tell().await;
    let mut text = Vec::new();
    eventually("the end of the stream", async || match client.event().await {
        Some(event) => {
            text.push(event);
            false
        }
        None => true,
    })
    .await;
    assert!(text.iter().any(|event| event.contains("upon")), "{text:?}");
    assert_eq!(text.last().unwrap(), "data: [DONE]");
}
