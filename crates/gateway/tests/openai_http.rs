//! Routes, statuses and the shapes of errors.

use serde_json::json;

use crate::stage::{Answer, Backends, Gateway};

/// Checks that an error has all four keys; gives its status, type, param and code.
fn shape(answer: &Answer) -> (u16, String, Option<String>, String) {
    let body = answer.json();
    let error = body["error"].as_object().unwrap_or_else(|| panic!("{body}"));
    let mut keys: Vec<&str> = error.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        (keys.as_slice(), body.as_object().unwrap().len()),
        (&["code", "message", "param", "type"][..], 1)
    );
    assert_eq!(answer.field("content-type"), Some("application/json"));
    assert!(answer.field("x-request-id").is_some());
    let word = |key: &str| error[key].as_str().map(str::to_owned);
    (answer.status, word("type").unwrap(), word("param"), word("code").unwrap())
}

fn invalid(status: u16, param: Option<&str>, code: &str) -> (u16, String, Option<String>, String) {
    (status, "invalid_request_error".into(), param.map(str::to_owned), code.into())
}

#[tokio::test]
async fn every_route_reaches_its_path_at_the_backend() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.connect().await;
    for (path, at_backend) in [
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/completions", "/v1/completions"),
        ("/v1/embeddings", "/v1/embeddings"),
        ("/v1/responses", "/v1/responses"),
        ("/v1/rerank", "/v1/rerank"),
        ("/rerank", "/v1/rerank"),
        ("/v1/score", "/v1/score"),
        ("/v1/tokenize", "/tokenize"),
        ("/v1/detokenize", "/detokenize"),
        ("/v1/messages", "/v1/messages"),
    ] {
        client.send("POST", path, &[], &gateway.question(json!({}))).await;
        let call = backends.next().await;
        assert!(call.head.starts_with(&format!("POST {at_backend} HTTP/1.1\r\n")), "{path}: {}", call.head);
        call.answer(200, "", format!("{{\"of\":\"{path}\"}}")).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.json()["of"].as_str()), (200, Some(path)));
    }
}

#[tokio::test]
async fn a_path_that_is_none_is_not_found() {
    let backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    for path in
        ["/", "/v1", "/metrics", "/health", "/v1/chat/completionss", "/v1/%6dodels", "/v1/../v1/models"]
    {
        let answer = gateway.ask("POST", path, &[], "{}").await;
        assert_eq!(shape(&answer), invalid(404, None, "unknown_url"), "{path}");
    }
}

#[tokio::test]
async fn the_wrong_method_is_told_the_right_one() {
    let backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    for (method, path, allowed) in [
        ("GET", "/v1/chat/completions", "POST"),
        ("PUT", "/v1/embeddings", "POST"),
        ("DELETE", "/v1/models", "GET, HEAD"),
    ] {
        let answer = gateway.ask(method, path, &[], "").await;
        assert_eq!(shape(&answer), invalid(405, None, "method_not_allowed"), "{method} {path}");
        assert_eq!(answer.field("allow"), Some(allowed));
    }
}

#[tokio::test]
async fn an_unknown_model_is_told_those_that_exist() {
    let backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let answer = gateway.ask("POST", "/v1/chat/completions", &[], r#"{"model":"gpt-9","messages":[]}"#).await;
    assert_eq!(shape(&answer), invalid(404, Some("model"), "model_not_found"));
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("gpt-9") && message.contains(&gateway.model), "{message}");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_a_backend_hears_of_it() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::configured(&backends, "requests: {max_body_bytes: 1024}\n").await;
    let long = gateway.question(json!({"user": "x".repeat(2_000)}));

    let declared = gateway.ask("POST", "/v1/chat/completions", &[], &long).await;
    assert_eq!(shape(&declared), invalid(413, None, "request_too_large"));

    let mut client = gateway.connect().await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    client.write(format!("{head}{:x}\r\n{long}\r\n0\r\n\r\n", long.len())).await;
    assert_eq!(shape(&client.answer().await), invalid(413, None, "request_too_large"));
    assert!(backends.are_idle());
}

#[tokio::test]
async fn what_is_declared_too_large_is_not_waited_for() {
    let backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.connect().await;
    client.write("POST /v1/embeddings HTTP/1.1\r\nhost: a\r\ncontent-length: 10000000000000\r\n\r\n{").await;
    let answer = client.answer().await;
    assert_eq!(shape(&answer), invalid(413, None, "request_too_large"));
    assert_eq!(answer.field("connection"), Some("close"));
    client.until_closed().await;
}

#[tokio::test]
async fn only_json_that_is_not_packed_is_understood() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let question = gateway.question(json!({}));
    for fields in [
        &[("content-type", "text/plain")][..],
        &[("content-type", "application/x-www-form-urlencoded")],
        &[("content-type", "application/json"), ("content-encoding", "gzip")],
    ] {
        let answer = gateway.ask("POST", "/v1/chat/completions", fields, &question).await;
        assert_eq!(shape(&answer), invalid(415, None, "unsupported_media_type"), "{fields:?}");
    }
    assert!(backends.are_idle());
}

#[tokio::test]
async fn a_body_that_cannot_be_served_says_what_to_change() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let model = &gateway.model;
    for (body, param, code) in [
        ("".to_owned(), None, "invalid_json"),
        ("{".to_owned(), None, "invalid_json"),
        ("[]".to_owned(), None, "invalid_json"),
        (format!("{{\"model\":\"{model}\"}} x"), None, "invalid_json"),
        ("{}".to_owned(), Some("model"), "missing_model"),
        ("{\"model\":7}".to_owned(), Some("model"), "invalid_value"),
        (format!("{{\"model\":\"{model}\",\"stream\":\"yes\"}}"), Some("stream"), "invalid_value"),
        (format!("{{\"model\":\"{model}\",\"model\":\"x\"}}"), Some("model"), "invalid_value"),
        (format!("{{\"model\":\"{model}\",\"max_tokens\":\"7\"}}"), Some("max_tokens"), "invalid_value"),
        (format!("{{\"model\":\"{model}\",\"chat_template\":\"x\"}}"), None, "field_not_allowed"),
    ] {
        let answer = gateway.ask("POST", "/v1/chat/completions", &[], &body).await;
        assert_eq!(shape(&answer), invalid(400, param, code), "{body}");
    }
    assert!(backends.are_idle());
}

#[tokio::test]
async fn requests_that_two_readers_could_read_differently_are_refused() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let question = gateway.question(json!({}));
    let length = question.len();
    for head in [
        format!("content-length: {length}\r\n"),
        format!("host: a\r\nhost: b\r\ncontent-length: {length}\r\n"),
        format!("host: a/v1/models?\r\ncontent-length: {length}\r\n"),
        format!("host: a\r\ncontent-length: {length}\r\ncontent-length: 5\r\n"),
        format!("host: a\r\ncontent-length: {length}\r\ntransfer-encoding: chunked\r\n"),
        "host: a\r\ntransfer-encoding: gzip, chunked\r\n".to_owned(),
    ] {
        let mut client = gateway.connect().await;
        client.write(format!("POST /v1/chat/completions HTTP/1.1\r\n{head}\r\n{question}")).await;
        let (status, _) = client.head().await;
        assert_eq!(status, 400, "{head}");
        client.until_closed().await;
    }
    assert!(backends.are_idle());
}

#[tokio::test]
async fn on_messages_errors_look_as_anthropic_has_them() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let unknown = gateway.ask("POST", "/v1/messages", &[], r#"{"model":"claude-9","messages":[]}"#).await;
    assert_eq!((unknown.status, unknown.json()["type"].as_str()), (404, Some("error")));
    assert_eq!(unknown.json()["error"]["type"], "not_found_error");
    assert!(unknown.json()["error"]["message"].as_str().unwrap().contains(&gateway.model));
    assert_eq!(unknown.json().as_object().unwrap().len(), 2);

    let broken = gateway.ask("POST", "/v1/messages", &[], "{").await;
    assert_eq!(
        (broken.status, broken.json()["error"]["type"].as_str()),
        (400, Some("invalid_request_error"))
    );

    let mut client = gateway.connect().await;
    client.send("POST", "/v1/messages", &[], &gateway.question(json!({}))).await;
    backends.next().await.answer(500, "", "{}").await;
    let failed = client.answer().await;
    assert_eq!((failed.status, failed.json()["error"]["type"].as_str()), (502, Some("api_error")));
}

#[tokio::test]
async fn models_are_listed_and_found_by_name() {
    let backends = Backends::start(2).await;
    let gateway = Gateway::before(&backends).await;
    let list = gateway.ask("GET", "/v1/models", &[], "").await;
    let model = json!({"id": gateway.model, "object": "model", "created": 0, "owned_by": "plimsoll"});
    assert_eq!((list.status, list.json()), (200, json!({"object": "list", "data": [model]})));

    let one = gateway.ask("GET", &format!("/v1/models/{}", gateway.model), &[], "").await;
    assert_eq!((one.status, one.json()), (200, model));

    let none = gateway.ask("GET", "/v1/models/gpt-9", &[], "").await;
    assert_eq!(shape(&none), invalid(404, Some("model"), "model_not_found"));
}

#[tokio::test]
async fn a_model_with_a_slash_in_its_name_is_found_in_either_spelling() {
    let mut backends = Backends::start(1).await;
    let yaml = backends.yaml("meta/llama-3");
    let gateway = Gateway::start("meta/llama-3", &yaml, None).await;
    for path in ["/v1/models/meta/llama-3", "/v1/models/meta%2Fllama-3"] {
        assert_eq!(gateway.ask("GET", path, &[], "").await.json()["id"], "meta/llama-3", "{path}");
    }
    let mut client = gateway.connect().await;
    client.send("POST", "/v1/chat/completions", &[], r#"{"model":"meta\/llama-3"}"#).await;
    backends.next().await.say("hi").await;
    assert_eq!(client.answer().await.content(), "hi");
}

#[tokio::test]
async fn a_backend_without_a_list_of_models_is_asked_for_it() {
    let mut backends = Backends::start(1).await;
    let address = backends.addresses[0];
    let yaml = format!("backends: [{{name: asked, url: \"http://{address}/v1\"}}]\n");
    let starting = Gateway::start("found", &yaml, None);
    let listing = async {
        let call = backends.next().await;
        assert!(call.head.starts_with("GET /v1/models HTTP/1.1\r\n"), "{}", call.head);
        call.answer(200, "", r#"{"object":"list","data":[{"id":"found"},{"id":"found-too"}]}"#).await;
    };
    let (gateway, ()) = tokio::join!(starting, listing);
    let list = gateway.ask("GET", "/v1/models", &[], "").await.json();
    assert_eq!((&list["data"][0]["id"], &list["data"][1]["id"]), (&json!("found"), &json!("found-too")));
}

#[tokio::test]
async fn a_refusal_keeps_its_words_and_loses_what_tells_of_the_inside() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.send_chat(json!({})).await;
    let said = r#"{"error":{"message":"too long: 9 > 8 at http://10.0.0.7:8000/x","type":"BadRequestError","param":"messages","code":400}}"#;
    backends.next().await.answer(400, "server: vllm\r\n", said).await;
    let answer = client.answer().await;
    assert_eq!(shape(&answer), invalid(400, Some("messages"), "invalid_request"));
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("too long: 9 > 8 at") && !message.contains("10.0.0.7"), "{message}");
}

#[tokio::test]
async fn errors_never_tell_where_a_backend_is_or_what_broke_in_it() {
    let refusing = Backends::refusing().await;
    let mut failing = Backends::start(1).await;
    let down = Gateway::before(&refusing).await.chat().await;
    assert_eq!(down.status, 503, "{}", down.text());
    let gateway = Gateway::before(&failing).await;
    let mut client = gateway.send_chat(json!({})).await;
    let trace = "Traceback (most recent call last): /opt/vllm/engine.py:7 0x7f00deadbeef";
    failing.next().await.answer(500, "", format!("{{\"error\":{{\"message\":\"{trace}\"}}}}")).await;
    let broken = client.answer().await;
    assert_eq!((broken.status, broken.code()), (502, "upstream_error".into()));

    for answer in [&broken, &down] {
        let all = format!("{}{}", answer.head, answer.text());
        for secret in ["127.0.0.1", "Traceback", "vllm", "0x7f", "backend-"] {
            assert!(!all.contains(secret), "{secret} in {all}");
        }
    }
}

#[tokio::test]
async fn a_model_whose_backends_cannot_be_reached_says_when_to_try_again() {
    let gone = Backends::refusing().await;
    let gateway = Gateway::before(&gone).await;
    let answer = gateway.chat().await;
    assert_eq!((answer.status, answer.code()), (503, "no_backend".into()));
    assert_eq!((answer.field("retry-after"), answer.field("retry-after-ms")), (Some("1"), Some("1000")));
}

#[tokio::test]
async fn backends_that_all_push_back_make_a_429_with_the_wait_they_ask_for() {
    let backends = Backends::start(2).await;
    let gateway = Gateway::before(&backends).await;
    backends.play(async |call| call.answer(429, "retry-after: 7\r\n", "{}").await);
    let answer = gateway.chat().await;
    assert_eq!((answer.status, answer.code()), (429, "rate_limit_exceeded".into()));
    assert_eq!((answer.field("retry-after"), answer.field("retry-after-ms")), (Some("7"), Some("7000")));
}
