//! Who may ask why a request went where it went is told so, in the header of the answer and nowhere else.

use serde_json::{Value, json};

use crate::stage::{Answer, Backends, Gateway};

const KEYS: &str =
    "keys:\n  - {tenant: curious, key: sk-of-the-curious}\n  - {tenant: other, key: sk-of-the-others}\n";

async fn ask(gateway: &Gateway, what: &str, key: &str) -> Answer {
    let key = format!("Bearer {key}");
    let fields = [("x-plimsoll-explain", what), ("authorization", key.as_str())];
    gateway.ask("POST", "/v1/chat/completions", &fields, &gateway.question(json!({}))).await
}

fn costs(answer: &Answer) -> Value {
    serde_json::from_str(answer.field("x-plimsoll-explain").expect("it was asked for")).unwrap()
}

#[tokio::test]
async fn on_loopback_and_without_keys_whoever_asks_is_told() {
    let backends = Backends::start(3).await;
    let gateway = Gateway::before(&backends).await;
    backends.play(async |call| {
        assert_eq!(call.field("x-plimsoll-explain"), None, "backends need not know");
        call.say("hi").await;
    });
    let answer = ask(&gateway, "1", "none").await;
    let told = costs(&answer);
    assert_eq!((&told["candidates"], told["costs"].as_array().unwrap().len()), (&json!(3), 3));
    let picked: Vec<&Value> =
        told["costs"].as_array().unwrap().iter().filter(|cost| cost["picked"] == true).collect();
    assert_eq!(picked.len(), 1);
    assert_eq!(picked[0]["backend"], answer.field("x-plimsoll-backend").unwrap());
    let parts = picked[0]["of_which_ms"].as_object().unwrap();
    let sum: f64 = parts.values().map(|part| part.as_f64().unwrap()).sum();
    assert!((sum - picked[0]["cost_ms"].as_f64().unwrap()).abs() < 0.01, "{told}");
    assert_eq!(answer.content(), "hi");
    let plain = gateway.chat().await;
    assert!(plain.field("x-plimsoll-explain").or(plain.field("x-plimsoll-backend")).is_none());
}

#[tokio::test]
async fn a_stream_stays_what_the_backend_sent() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.connect().await;
    let body = gateway.question(json!({"stream": true}));
    client.send("POST", "/v1/chat/completions", &[("x-plimsoll-explain", "1")], &body).await;
    let mut call = backends.next().await;
    call.begin_with("hi").await;
    call.finish().await;
    let answer = client.answer().await;
    assert_eq!(costs(&answer)["costs"][0]["picked"], true);
    assert!(answer.text().lines().all(|line| line.is_empty() || line.starts_with("data: ")));
}

#[tokio::test]
async fn only_the_name_of_the_backend_is_told_where_only_that_is_asked() {
    let backends = Backends::start(2).await;
    let gateway = Gateway::before(&backends).await;
    backends.play(async |call| call.say("hi").await);
    let answer = ask(&gateway, "backend", "none").await;
    assert!(answer.field("x-plimsoll-backend").is_some() && answer.field("x-plimsoll-explain").is_none());
}

#[tokio::test]
async fn with_keys_only_the_tenants_of_the_list_are_told() {
    let backends = Backends::start(1).await;
    let gateway = Gateway::configured(&backends, &format!("{KEYS}explain_to: [curious]\n")).await;
    backends.play(async |call| call.say("hi").await);
    assert_eq!(costs(&ask(&gateway, "1", "sk-of-the-curious").await)["candidates"], 1);
    let other = ask(&gateway, "1", "sk-of-the-others").await;
    assert_eq!(other.content(), "hi");
    assert!(other.field("x-plimsoll-explain").or(other.field("x-plimsoll-backend")).is_none());
}

#[tokio::test]
async fn with_keys_and_no_list_nobody_is_told() {
    let backends = Backends::start(1).await;
    let gateway = Gateway::configured(&backends, KEYS).await;
    backends.play(async |call| call.say("hi").await);
    assert_eq!(ask(&gateway, "1", "sk-of-the-curious").await.field("x-plimsoll-explain"), None);
}
