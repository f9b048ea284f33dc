//! HTTP/2 towards clients, on the same port, and towards backends.

use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::stage::{Backends, Gateway, Http2, Http2Backend, event, token, within};

const CHAT: &str = "/v1/chat/completions";

async fn gateway_before(backend: &Http2Backend) -> Gateway {
    let model = format!("h2-model-{}", crate::stage::unique());
    Gateway::start(&model, &backend.yaml("http", &model, ""), None).await
}

#[tokio::test]
async fn a_client_may_speak_http2_from_the_first_byte() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = Http2::connect(gateway.address).await;
    let question = gateway.question(json!({}));
    let (answer, ()) = tokio::join!(client.ask(CHAT, &question), async {
        let call = backends.next().await;
        assert_eq!(call.body, question.as_bytes());
        call.say("hi").await;
    });
    assert_eq!((answer.0.status(), answer.0.version()), (http::StatusCode::OK, http::Version::HTTP_2));
    assert!(answer.0.headers().contains_key("x-request-id"));
    let body: Value = serde_json::from_slice(&answer.1).unwrap();
    assert_eq!(body["choices"][0]["message"]["content"], "hi");
}

#[tokio::test]
async fn tokens_pass_as_they_come_over_http2() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = Http2::connect(gateway.address).await;
    let asking = client.post(CHAT, &gateway.question(json!({"stream": true})));
    let mut call = backends.next().await;
    call.begin_with("0").await;
    let mut body = within("a head", asking).await.unwrap().into_body();
    for number in 0..20 {
        let frame = within("a token", body.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), event(&token(&number.to_string())));
        call.token(&(number + 1).to_string()).await;
    }
    call.finish().await;
    assert!(within("the end", body.collect()).await.unwrap().to_bytes().ends_with(b"data: [DONE]\n\n"));
}

#[tokio::test]
async fn many_requests_share_one_connection() {
    let backends = Backends::start(2).await;
    let gateway = Gateway::before(&backends).await;
    backends.play(async |call| {
        let text = call.json()["messages"].to_string();
        call.say(&text).await;
    });
    let mut client = Http2::connect(gateway.address).await;
    let asked: Vec<_> =
        (0..60).map(|number| client.post(CHAT, &gateway.question(json!({"messages": [number]})))).collect();
    for (number, asking) in asked.into_iter().enumerate() {
        let response = within("an answer", asking).await.unwrap();
        let body = within("the body", response.into_body().collect()).await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["choices"][0]["message"]["content"], format!("[{number}]"));
    }
}

#[tokio::test]
async fn errors_over_http2_are_those_of_http1_and_leave_the_connection_open() {
    let backends = Backends::start(1).await;
    let gateway = Gateway::configured(&backends, "requests: {max_body_bytes: 1024}\n").await;
    let mut client = Http2::connect(gateway.address).await;
    let long = "x".repeat(100_000);
    for (path, body, status, code) in [
        ("/v1/nothing", "{}", 404, "unknown_url"),
        (CHAT, "{", 400, "invalid_json"),
        (CHAT, r#"{"model":"gpt-9"}"#, 404, "model_not_found"),
        (CHAT, long.as_str(), 413, "request_too_large"),
    ] {
        let (head, body) = client.ask(path, body).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((head.status().as_u16(), body["error"]["code"].as_str()), (status, Some(code)));
    }
}

#[tokio::test]
async fn a_backend_may_speak_http2() {
    let mut backend = Http2Backend::start(None).await;
    let gateway = gateway_before(&backend).await;
    let question = gateway.question(json!({}));
    let mut client = gateway.connect().await;
    let fields = [("authorization", "Bearer sk-client"), ("x-request-id", "trace-me"), ("cookie", "a=b")];
    client.send("POST", CHAT, &fields, &question).await;
    let call = backend.next().await;
    assert_eq!((call.request.uri.path(), &call.body[..]), (CHAT, question.as_bytes()));
    assert_eq!(call.request.uri.authority().unwrap().as_str(), backend.address.to_string());
    let mut names: Vec<&str> = call.request.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept-encoding", "content-length", "content-type", "user-agent", "x-request-id"]);
    call.answer(200, r#"{"usage":{"prompt_tokens":3,"completion_tokens":2}}"#).await;
    assert_eq!(client.answer().await.status, 200);
    gateway.is_at_rest().await;
    assert_eq!(gateway.of_model("plimsoll_tokens_total", &[("type", "output")]).await, 2.0);
}

#[tokio::test]
async fn a_stream_from_an_http2_backend_passes_as_it_comes() {
    let mut backend = Http2Backend::start(None).await;
    let gateway = gateway_before(&backend).await;
    let mut client = gateway.stream().await;
    let tell = backend.next().await.begin(200, "text/event-stream");
    tell.send(Some(event(&token("0")))).await.unwrap();
    client.begun().await;
    for number in 0..20 {
        assert_eq!(client.token().await, number.to_string());
        tell.send(Some(event(&token(&(number + 1).to_string())))).await.unwrap();
    }
    tell.send(Some(event("[DONE]"))).await.unwrap();
    drop(tell);
    assert_eq!(client.rest().await.last().unwrap(), "data: [DONE]");
    gateway.is_at_rest().await;
    assert_eq!(gateway.of_model("plimsoll_requests_total", &[("outcome", "ok")]).await, 1.0);
}

#[tokio::test]
async fn leaving_resets_the_stream_of_an_http2_backend_before_and_after_its_head() {
    let mut backend = Http2Backend::start(None).await;
    let gateway = gateway_before(&backend).await;
    for stream in [false, true] {
        let client = gateway.send_chat(json!({"stream": stream})).await;
        let mut call = backend.next().await;
        drop(client);
        call.is_left().await;
    }
    let mut client = gateway.stream().await;
    let tell = backend.next().await.begin(200, "text/event-stream");
    tell.send(Some(event(&token("once")))).await.unwrap();
    client.begun().await;
    client.token().await;
    drop(client);
    within("the gateway to reset the stream", tell.closed()).await;
    gateway.is_at_rest().await;
    assert_eq!(gateway.of_model("plimsoll_requests_total", &[("outcome", "cancelled")]).await, 3.0);
}

#[tokio::test]
async fn a_stream_that_an_http2_backend_resets_is_tried_again_before_and_an_error_after_its_first_token() {
    let (mut one, mut two) = (Http2Backend::start(None).await, Http2Backend::start(None).await);
    let model = format!("h2-model-{}", crate::stage::unique());
    let both =
        one.yaml("http", &model, "") + two.yaml("http", &model, "").strip_prefix("backends:\n").unwrap();
    let gateway = Gateway::start(&model, &both, None).await;
    let mut client = gateway.stream().await;
    let next = async |one: &mut Http2Backend, two: &mut Http2Backend| {
        tokio::select! { call = one.next() => call, call = two.next() => call }
    };
    let tell = next(&mut one, &mut two).await.begin(200, "text/event-stream");
    tell.send(None).await.unwrap();
    let tell = next(&mut one, &mut two).await.begin(200, "text/event-stream");
    tell.send(Some(event(&token("once")))).await.unwrap();
    client.begun().await;
    assert_eq!(client.token().await, "once");
    tell.send(None).await.unwrap();
    assert_eq!(client.error_at_end().await, "upstream_error");
    gateway.is_at_rest().await;
}

#[tokio::test]
async fn a_stream_of_an_http2_backend_that_ends_early_is_an_error() {
    let mut backend = Http2Backend::start(None).await;
    let gateway = gateway_before(&backend).await;
    let mut client = gateway.stream().await;
    let tell = backend.next().await.begin(200, "text/event-stream");
    tell.send(Some(event(&token("once")))).await.unwrap();
    client.begun().await;
    client.token().await;
    drop(tell);
    assert_eq!(client.error_at_end().await, "upstream_error");
}

#[tokio::test]
async fn a_stream_that_is_not_read_does_not_hold_up_the_others_of_its_connection() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = Http2::connect(gateway.address).await;
    let unread = client.post(CHAT, &gateway.question(json!({"stream": true})));
    let mut call = backends.next().await;
    call.begin_with("once").await;
    let unread = within("a head", unread).await.unwrap();
    let question = gateway.question(json!({}));
    let writing = tokio::spawn(call.flood(std::sync::Arc::default()));
    for _ in 0..20 {
        let (answer, ()) = tokio::join!(client.ask(CHAT, &question), async {
            backends.next().await.say("hi").await;
        });
        assert_eq!(answer.0.status(), 200);
    }
    drop(unread);
    within("the backend to be left", writing).await.unwrap();
    gateway.is_at_rest().await;
}

#[tokio::test]
async fn a_stream_that_is_not_read_for_too_long_loses_its_backend_and_its_connection_stays() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::configured(&backends, "pipeline: {stall_limit_ms: 300}\n").await;
    let mut client = Http2::connect(gateway.address).await;
    let unread = client.post(CHAT, &gateway.question(json!({"stream": true})));
    let mut call = backends.next().await;
    call.begin_with("once").await;
    let unread = within("a head", unread).await.unwrap();
    within("the backend to be left", call.flood(std::sync::Arc::default())).await;
    let question = gateway.question(json!({}));
    let (answer, ()) = tokio::join!(client.ask(CHAT, &question), async {
        backends.next().await.say("hi").await;
    });
    assert_eq!(answer.0.status(), 200);
    drop(unread);
    gateway.is_at_rest().await;
    assert_eq!(gateway.backend(0).await["failures_in_a_row"], 0, "it was not the backend's fault");
}
