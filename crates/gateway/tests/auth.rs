//! Who may enter, and that no secret leaves.

use plimsoll_gateway::config::{self, Overrides};
use serde_json::json;

use crate::stage::{Answer, Backends, Client, Gateway, file};

const KEY: &str = "sk-test-0123456789abcdef";
const OTHER: &str = "sk-other-0123456789abcdef";

fn keys() -> String {
    // The SHA-256 of the other key, as an operator would have it.
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, OTHER.as_bytes());
    let hash: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("keys:\n  - {{tenant: team-a, key: {KEY}}}\n  - {{tenant: team-b, sha256: {hash}}}\n")
}

async fn ask_with(gateway: &Gateway, fields: &[(&str, &str)]) -> Answer {
    gateway.ask("POST", "/v1/chat/completions", fields, &gateway.question(json!({}))).await
}

#[tokio::test]
async fn a_key_lets_in_however_it_is_shown() {
    let backends = Backends::start(1).await;
    let gateway = Gateway::configured(&backends, &keys()).await;
    backends.play(async |call| {
        assert!(!call.head.contains(KEY) && !call.head.contains(OTHER), "{}", call.head);
        call.say("hi").await;
    });
    for key in [KEY, OTHER] {
        let bearer = format!("Bearer {key}");
        let shouted = format!("BEARER  {key}");
        for field in [
            ("authorization", bearer.as_str()),
            ("authorization", &shouted),
            ("x-api-key", key),
            ("api-key", key),
        ] {
            assert_eq!(ask_with(&gateway, &[field]).await.content(), "hi", "{field:?}");
        }
        assert_eq!(
            ask_with(&gateway, &[("authorization", &bearer), ("x-api-key", key)]).await.content(),
            "hi"
        );
    }
}

#[tokio::test]
async fn without_a_key_or_with_a_wrong_one_nobody_enters() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::configured(&backends, &keys()).await;
    let good = format!("Bearer {KEY}");
    for fields in [
        &[][..],
        &[("authorization", "Bearer sk-test-0123456789abcdeX")],
        &[("authorization", "Bearer ")],
        &[("authorization", "Basic c2stdGVzdDp4")],
        &[("authorization", KEY)],
        &[("x-api-key", "SK-TEST-0123456789ABCDEF")],
        &[("authorization", good.as_str()), ("authorization", "Bearer x")],
        &[("authorization", good.as_str()), ("x-api-key", OTHER)],
    ] {
        let answer = ask_with(&gateway, fields).await;
        assert_eq!((answer.status, answer.code()), (401, "invalid_api_key".into()), "{fields:?}");
        assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
        assert_eq!(answer.field("www-authenticate"), Some("Bearer"));
        assert!(!answer.text().contains("sk-"), "{}", answer.text());
    }
    assert!(backends.are_idle());
}

#[tokio::test]
async fn a_stranger_learns_neither_models_nor_routes_nor_what_is_wrong_with_his_body() {
    let backends = Backends::start(1).await;
    let gateway = Gateway::configured(&backends, &keys()).await;
    for (method, path, body) in [
        ("GET", "/v1/models", ""),
        ("GET", "/v1/models/x", ""),
        ("POST", "/v1/chat/completions", "{"),
        ("GET", "/v1/nothing", ""),
    ] {
        let answer = gateway.ask(method, path, &[], body).await;
        assert_eq!(answer.status, 401, "{method} {path}");
        assert!(!answer.text().contains(&gateway.model));
    }
    let messages = gateway.ask("POST", "/v1/messages", &[], "{}").await;
    assert_eq!(
        (messages.status, messages.json()["error"]["type"].as_str()),
        (401, Some("authentication_error"))
    );
}

#[tokio::test]
async fn a_query_or_a_cookie_is_no_way_to_show_a_key() {
    let backends = Backends::start(1).await;
    let gateway = Gateway::configured(&backends, &keys()).await;
    let path = format!("/v1/models?api-key={KEY}");
    assert_eq!(gateway.ask("GET", &path, &[("cookie", KEY)], "").await.status, 401);
}

#[tokio::test]
async fn keys_and_tokens_are_found_neither_in_metrics_nor_in_the_fleet() {
    let token = file("token", "backend-token-0123456789\n");
    let backends = Backends::start(1).await.and(&format!("bearer_file: {}", token.display()));
    let gateway = Gateway::configured(&backends, &keys()).await;
    let address = backends.addresses[0].to_string();
    backends.play(async |call| {
        assert_eq!(call.field("authorization"), Some("Bearer backend-token-0123456789"));
        call.answer(401, "", r#"{"error":{"message":"bad token backend-token-0123456789"}}"#).await;
    });
    ask_with(&gateway, &[("x-api-key", "sk-wrong-0123456789abcdef")]).await;
    let refused = ask_with(&gateway, &[("x-api-key", KEY)]).await;
    assert_eq!(refused.status, 502, "the gateway's own key is not the caller's fault: {}", refused.text());
    let said = [refused.text(), refused.head, gateway.metrics().await, gateway.fleet().await.to_string()];
    for text in said {
        for secret in [KEY, OTHER, "backend-token", "sk-wrong", address.as_str()] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

#[tokio::test]
async fn what_strangers_send_makes_no_metric_of_its_own() {
    let backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    for number in 0..20 {
        let body = format!(r#"{{"model":"made-up-{number}"}}"#);
        gateway.ask("POST", "/v1/chat/completions", &[("x-request-id", "made-up")], &body).await;
        gateway.ask("GET", &format!("/made-up/{number}"), &[], "").await;
    }
    assert!(!gateway.metrics().await.contains("made-up"));
}

#[test]
fn a_listener_that_others_can_reach_needs_keys_or_a_word() {
    let problems = |text: &str| {
        config::read("f.yaml", text, &Overrides::default()).map(|_| ()).map_err(|all| all[0].to_string())
    };
    assert!(problems("listen: 0.0.0.0:8080\n").unwrap_err().starts_with("f.yaml:1: listen: "));
    assert!(problems("listen: '[::]:8080'\n").is_err());
    assert_eq!(problems("listen: 0.0.0.0:8080\nallow_anyone: true\n"), Ok(()));
    assert_eq!(problems(&format!("listen: 0.0.0.0:8080\n{}", keys())), Ok(()));
    assert_eq!(problems("listen: '[::1]:8080'\n"), Ok(()));
}

#[tokio::test]
async fn a_page_in_a_browser_cannot_reach_the_operators_port_by_a_name_of_its_own() {
    let backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    for host in ["evil.example", "localhost\r\nhost: localhost", "localhost.evil.example", "a/b"] {
        let mut client = Client::connect(gateway.admin).await;
        client.write(format!("POST /drain HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n\r\n")).await;
        assert_eq!(client.head().await.0, 400, "{host}");
    }
    assert_eq!(gateway.admin("GET", "/readyz").await.status, 200);
}
