//! What happens between clients, gateways and engines every day: signs of life, refusals, codings, state, pages.

use serde_json::json;

use crate::stage::{Backends, Gateway, eventually};

/// A backend that is silent is given up after a fifth of a second; one that gives signs of life has a minute.
const SHORT: &str = "pipeline: {ttft_limit_ms: 200, ttft_floor_ms: 200, idle_limit_ms: 200, quiet_limit_ms: 60000, keep_alive_ms: 100}\n";

const ROLE: &str = r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#;

#[tokio::test]
async fn a_backend_that_says_that_it_works_is_not_given_up_before_its_first_token() {
    for sign in [": reading\n", "event: ping\ndata: {\"type\":\"ping\"}\n\n", &format!("data: {ROLE}\n\n")] {
        let mut backends = Backends::start(2).await;
        let gateway = Gateway::configured(&backends, SHORT).await;
        let mut client = gateway.stream().await;
        let mut call = backends.next().await;
        call.begin().await;
        call.piece(sign).await;
        // Its silence lasts until the client has been told three times that it lives.
        client.begun().await;
        let mut comments = 0;
        while comments < 3 {
            comments += u32::from(client.event().await.unwrap() == ": keep-alive");
        }
        call.token("once").await;
        call.finish().await;
        assert_eq!(client.rest().await.last().unwrap(), "data: [DONE]", "{sign}");
        assert!(backends.are_idle(), "no other backend was asked");
    }
}

#[tokio::test]
async fn a_call_of_a_tool_that_an_engine_reads_as_a_whole_may_take_long_inside_a_stream() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::configured(&backends, SHORT).await;
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let mut client = gateway.send_chat(json!({"stream": true, "tools": tools})).await;
    let mut call = backends.next().await;
    call.begin_with("once").await;
    client.begun().await;
    assert_eq!(client.token().await, "once");
    for _ in 0..4 {
        assert_eq!(client.event().await.unwrap(), ": keep-alive");
    }
    call.finish().await;
    assert_eq!(client.rest().await.last().unwrap(), "data: [DONE]");
}

#[tokio::test]
async fn a_stream_that_says_nothing_but_comments_ends_when_its_time_is_over() {
    let mut backends = Backends::start(1).await;
    let more = "pipeline: {idle_limit_ms: 5000, quiet_limit_ms: 300}\n";
    let gateway = Gateway::configured(&backends, more).await;
    let mut client = gateway.stream().await;
    let mut call = backends.next().await;
    call.begin_with("once").await;
    client.begun().await;
    assert_eq!(client.token().await, "once");
    let comments = tokio::spawn(async move {
        let mut pace = tokio::time::interval(std::time::Duration::from_millis(20));
        loop {
            pace.tick().await;
            if call.try_write(b"3\r\n:\n\n\r\n").await.is_err() {
                return;
            }
        }
    });
    let last = client.rest().await.pop().unwrap();
    assert!(last.contains("deadline_exceeded"), "{last}");
    comments.await.unwrap();
}

#[tokio::test]
async fn a_refusal_inside_a_stream_is_the_requests_fault_and_no_backend_is_blamed() {
    let mut backends = Backends::start(2).await;
    let gateway = Gateway::before(&backends).await;
    for _ in 0..4 {
        let mut client = gateway.stream().await;
        let mut call = backends.next().await;
        call.begin().await;
        call.event(r#"{"error":{"message":"The prompt is no prompt.","type":"BadRequest","code":400}}"#)
            .await;
        call.close_stream().await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains("The prompt is no prompt."), "{}", answer.text());
    }
    assert!(backends.are_idle());
    assert_eq!(gateway.backend(0).await["service"], "in_service");
    assert_eq!(gateway.backend(1).await["service"], "in_service");
}

#[tokio::test]
async fn what_one_backend_lacks_or_its_filter_refuses_is_asked_of_another_without_blame() {
    for (status, body) in [
        (404, r#"{"error":{"message":"The model `m` does not exist.","type":"NotFoundError","code":404}}"#),
        (400, r#"{"error":{"message":"too long","code":"context_length_exceeded"}}"#),
        (403, "<html>blocked</html>"),
    ] {
        let mut backends = Backends::start(2).await;
        let gateway = Gateway::before(&backends).await;
        let mut client = gateway.send_chat(json!({})).await;
        backends.next().await.answer(status, "", body).await;
        backends.next().await.say("served").await;
        assert_eq!(client.answer().await.content(), "served", "{status}");
        let mut client = gateway.send_chat(json!({})).await;
        for _ in 0..2 {
            backends.next().await.answer(status, "", body).await;
        }
        assert_eq!(client.answer().await.status, status, "all refuse it, so its caller is told");
        assert_eq!(gateway.backend(0).await["failures_in_a_row"], 0);
    }
}

#[tokio::test]
async fn what_a_limited_backend_says_reaches_the_caller_and_the_gateway_stays_ready() {
    for (status, code) in [(429, "insufficient_quota"), (503, "busy"), (529, "overloaded")] {
        let mut backends = Backends::start(1).await;
        let gateway = Gateway::before(&backends).await;
        let mut client = gateway.send_chat(json!({})).await;
        let body = json!({"error": {"message": "no more for now", "type": "overloaded_error", "code": code}});
        let fields = "retry-after: 7\r\nx-should-retry: false\r\n";
        backends.next().await.answer(status, fields, body.to_string()).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.field("retry-after")), (status, Some("7")));
        assert_eq!(answer.field("x-should-retry"), Some("false"));
        assert!(answer.text().contains("no more for now"), "{}", answer.text());
        assert_eq!(answer.code(), code);
        assert_eq!(gateway.admin("GET", "/readyz").await.status, 200);
        assert_eq!(gateway.ask("GET", "/health", &[], "").await.status, 200);
    }
}

#[tokio::test]
async fn a_coding_that_nobody_asked_for_is_undone() {
    use std::io::Write;
    let zipped = |text: &str| {
        let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        zip.write_all(text.as_bytes()).unwrap();
        zip.finish().unwrap()
    };
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.send_chat(json!({})).await;
    let call = backends.next().await;
    assert_eq!(call.field("accept-encoding"), Some("identity"));
    let plain = json!({"choices": [{"message": {"content": "once"}}]}).to_string();
    call.answer(200, "content-encoding: gzip\r\n", zipped(&plain)).await;
    assert_eq!(client.answer().await.content(), "once");

    let mut client = gateway.stream().await;
    let mut call = backends.next().await;
    let story = format!(
        "data: {}\n\ndata: [DONE]\n\n",
        json!({"choices": [{"index": 0, "delta": {"content": "once"}}]})
    );
    let zipped = zipped(&story);
    let length = zipped.len();
    call.write(format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\ncontent-length: {length}\r\n\r\n")).await;
    call.write(&zipped).await;
    assert_eq!(client.story().await, "once");
}

#[tokio::test]
async fn a_stream_under_another_content_type_streams() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.stream().await;
    let mut call = backends.next().await;
    call.write("HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    call.token("once").await;
    let head = client.begun().await;
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    assert_eq!(client.token().await, "once", "before the rest is there");
    call.finish().await;
    assert_eq!(client.rest().await.last().unwrap(), "data: [DONE]");
}

#[tokio::test]
async fn a_turn_goes_to_the_backend_that_keeps_what_came_before_it() {
    let mut backends = Backends::start(3).await;
    let gateway = Gateway::before(&backends).await;
    let model = &gateway.model;
    let ask = |more: serde_json::Value| {
        let mut body = json!({"model": model, "input": "hi"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body.to_string()
    };
    let mut client = gateway.connect().await;
    client.send("POST", "/v1/responses", &[], &ask(json!({}))).await;
    let call = backends.next().await;
    let home = call.backend;
    call.answer(200, "", r#"{"id":"resp_1","object":"response","output":[]}"#).await;
    client.answer().await;
    for turn in 0..6 {
        client
            .send("POST", "/v1/responses", &[], &ask(json!({"previous_response_id": "resp_1", "n": turn})))
            .await;
        let call = backends.next().await;
        assert_eq!(call.backend, home);
        call.answer(200, "", r#"{"id":"resp_1","object":"response","output":[]}"#).await;
        assert_eq!(client.answer().await.status, 200);
    }
    client.send("GET", "/v1/responses/resp_1/input_items?limit=2", &[], "").await;
    let call = backends.next().await;
    assert_eq!(call.backend, home);
    assert!(
        call.head.starts_with("GET /v1/responses/resp_1/input_items?limit=2 HTTP/1.1\r\n"),
        "{}",
        call.head
    );
    call.answer(200, "", r#"{"data":[]}"#).await;
    assert_eq!(client.answer().await.text(), r#"{"data":[]}"#);
    client.send("DELETE", "/v1/responses/resp_1", &[], "").await;
    backends.next().await.answer(200, "", r#"{"deleted":true}"#).await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(gateway.ask("GET", "/v1/responses/resp_1", &[], "").await.status, 404, "it is no more");
    assert_eq!(gateway.ask("GET", "/v1/responses/resp_2", &[], "").await.status, 404);
    assert!(backends.are_idle());
}

#[tokio::test]
async fn a_listener_that_closes_with_silence_behind_it_is_left_by_streams_and_plain_requests() {
    for stream in [true, false] {
        let mut backends = Backends::start(2).await.and("continues_chats: yes");
        let more = "fleet: {probe_ms: 100}\npipeline: {continuations: 1}\n";
        let gateway = Gateway::configured(&backends, more).await;
        let mut client = gateway.send_chat(json!({"stream": stream})).await;
        let mut call = backends.next().await;
        if stream {
            call.begin_with("once").await;
            client.begun().await;
            assert_eq!(client.token().await, "once");
        }
        backends.close(call.backend).await;
        let mut other = backends.next().await;
        if stream {
            other.begin_with(" upon").await;
            other.finish().await;
            let rest = client.rest().await;
            assert_eq!(rest.last().unwrap(), "data: [DONE]");
        } else {
            other.say("once upon").await;
            assert_eq!(client.answer().await.content(), "once upon");
        }
    }
}

#[tokio::test]
async fn models_that_come_and_go_are_found_and_until_then_it_is_too_early_to_say() {
    let backends = Backends::refusing().await;
    let address = backends.addresses[0];
    let yaml = format!("backends: [{{name: b, url: \"http://{address}\"}}]\n");
    let gateway = Gateway::start("m", &yaml, None).await;
    let answer = gateway.chat().await;
    assert_eq!((answer.status, answer.code()), (503, "model_not_known_yet".into()));
    assert_eq!(answer.field("retry-after"), Some("1"));
    let answer = gateway.ask("GET", "/v1/models", &[], "").await;
    assert_eq!(answer.json()["data"], json!([]));
}

#[tokio::test]
async fn a_websocket_is_told_to_come_over_http() {
    let backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let fields = [("connection", "Upgrade"), ("upgrade", "websocket")];
    let answer = gateway.ask("GET", "/v1/responses", &fields, "").await;
    assert_eq!((answer.status, answer.field("upgrade")), (426, Some("HTTP/1.1")));
    assert_eq!(gateway.ask("GET", "/v1/responses", &[], "").await.status, 405);
}

#[tokio::test]
async fn pages_of_listed_origins_may_call_and_no_others() {
    let mut backends = Backends::start(1).await;
    let more = "requests: {cors_origins: [\"https://app.example\"]}\nkeys: [{tenant: t, key: sk-test-0123456789abcdef}]\n";
    let gateway = Gateway::configured(&backends, more).await;
    let ask = |origin: &'static str| {
        [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization"),
        ]
    };
    let answer = gateway.ask("OPTIONS", "/v1/chat/completions", &ask("https://app.example"), "").await;
    assert_eq!(
        (answer.status, answer.field("access-control-allow-origin")),
        (204, Some("https://app.example"))
    );
    let answer = gateway.ask("OPTIONS", "/v1/chat/completions", &ask("https://evil.example"), "").await;
    assert_eq!((answer.status, answer.field("access-control-allow-origin")), (401, None));
    assert!(backends.are_idle());
    eventually("a page is told of a refusal too", async || {
        let answer = gateway.ask("POST", "/v1/chat/completions", &ask("https://app.example"), "{}").await;
        answer.status == 401 && answer.field("access-control-allow-origin").is_some()
    })
    .await;
}
