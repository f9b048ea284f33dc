//! Header fields: what comes in, what goes to a backend, what comes back.

use serde_json::json;

use crate::stage::{Backends, Gateway};

#[tokio::test]
async fn a_request_id_goes_to_the_backend_and_comes_back() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.connect().await;
    let id = [("x-request-id", "trace-me-123")];
    client.send("POST", "/v1/chat/completions", &id, &gateway.question(json!({}))).await;
    let call = backends.next().await;
    assert_eq!(call.field("x-request-id"), Some("trace-me-123"));
    call.say("hi").await;
    assert_eq!(client.answer().await.field("x-request-id"), Some("trace-me-123"));

    let error = gateway.ask("POST", "/v1/chat/completions", &id, "{").await;
    assert_eq!((error.status, error.field("x-request-id")), (400, Some("trace-me-123")));
}

#[tokio::test]
async fn a_request_without_a_good_id_gets_one_that_nobody_else_has() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let long = "x".repeat(200);
    let mut seen = Vec::new();
    for id in [None, Some("two words"), Some(long.as_str())] {
        let fields: Vec<(&str, &str)> = id.map(|id| ("x-request-id", id)).into_iter().collect();
        let mut client = gateway.connect().await;
        client.send("POST", "/v1/chat/completions", &fields, &gateway.question(json!({}))).await;
        let call = backends.next().await;
        let at_backend = call.field("x-request-id").unwrap().to_owned();
        call.say("hi").await;
        assert_eq!(client.answer().await.field("x-request-id"), Some(at_backend.as_str()));
        assert!(at_backend.starts_with("req-"), "{at_backend}");
        seen.push(at_backend);
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 3);
}

#[tokio::test]
async fn of_the_clients_fields_only_listed_ones_go_to_the_backend() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let fields = [
        ("authorization", "Bearer sk-secret"),
        ("x-api-key", "sk-secret"),
        ("cookie", "session=1"),
        ("x-plimsoll-backend", "b"),
        ("x-forwarded-for", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
        ("connection", "keep-alive, x-hop, traceparent"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("te", "trailers"),
        ("upgrade", "websocket"),
        ("proxy-authorization", "Basic x"),
        ("user-agent", "curl"),
        ("accept-encoding", "gzip"),
        ("x-stainless-lang", "python"),
        ("openai-organization", "org"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("tracestate", "a=b"),
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "x"),
        ("openai-beta", "assistants=v2"),
    ];
    let mut client = gateway.connect().await;
    client.send("POST", "/v1/chat/completions", &fields, &gateway.question(json!({}))).await;
    let call = backends.next().await;
    let mut names: Vec<String> =
        call.head.lines().skip(1).filter_map(|line| Some(line.split_once(':')?.0.to_lowercase())).collect();
    names.sort_unstable();
    let expected = [
        "accept-encoding",
        "anthropic-beta",
        "anthropic-version",
        "content-length",
        "content-type",
        "host",
        "openai-beta",
        "traceparent",
        "tracestate",
        "user-agent",
        "x-request-id",
    ];
    assert_eq!(names, expected);
    assert!(call.field("user-agent").unwrap().starts_with("plimsoll/"));
    assert_eq!(call.field("traceparent"), Some(fields[16].1));
    call.say("hi").await;
    client.answer().await;
}

#[tokio::test]
async fn a_backend_gets_its_own_key_fields_path_and_query_and_never_the_clients_host() {
    let backends = Backends::start(1).await.at("/openai/v1/?api-version=7");
    let mut backends = backends.and("bearer: backend-token, headers: {x-team: infra}");
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.connect().await;
    let key = [("authorization", "Bearer sk-client")];
    client.send("POST", "/v1/chat/completions", &key, &gateway.question(json!({}))).await;
    let call = backends.next().await;
    assert!(
        call.head.starts_with("POST /openai/v1/chat/completions?api-version=7 HTTP/1.1\r\n"),
        "{}",
        call.head
    );
    assert_eq!(call.field("authorization"), Some("Bearer backend-token"));
    assert_eq!(call.field("x-team"), Some("infra"));
    assert_eq!(call.field("host").unwrap(), backends.addresses[0].to_string());
    assert!(!call.head.contains("sk-client"));
    call.say("hi").await;
    client.answer().await;
}

#[tokio::test]
async fn azure_is_shown_its_key_as_it_wants_it() {
    let mut backends = Backends::start(1).await.and("api_key: azure-key");
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.send_chat(json!({})).await;
    let call = backends.next().await;
    assert_eq!((call.field("api-key"), call.field("authorization")), (Some("azure-key"), None));
    call.say("hi").await;
    client.answer().await;
}

#[tokio::test]
async fn of_the_backends_fields_only_listed_ones_come_back() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.send_chat(json!({})).await;
    let fields = "server: uvicorn\r\nset-cookie: a=b\r\nvia: 1.1 10.0.0.7\r\nx-ratelimit-remaining-tokens: 5\r\n\
                  openai-processing-ms: 12\r\nx-request-id: theirs\r\nkeep-alive: timeout=5\r\n";
    backends.next().await.answer(200, fields, "{}").await;
    let answer = client.answer().await;
    assert_eq!(answer.field("x-ratelimit-remaining-tokens"), Some("5"));
    assert_eq!(answer.field("openai-processing-ms"), Some("12"));
    for name in ["server", "set-cookie", "via", "keep-alive"] {
        assert_eq!(answer.field(name), None, "{name}");
    }
    assert_ne!(answer.field("x-request-id"), Some("theirs"));
}

#[tokio::test]
async fn an_interim_answer_is_passed_over_and_an_upgrade_that_nobody_asked_for_is_a_failure() {
    let mut backends = Backends::start(2).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.send_chat(json!({})).await;
    let mut call = backends.next().await;
    call.write("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n").await;
    call.is_left().await;
    let mut call = backends.next().await;
    call.write("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n").await;
    call.say("hi").await;
    assert_eq!(client.answer().await.content(), "hi");
}
