//! Where tenants are kept apart, nobody's prompt is answered sooner because another tenant has asked it.

use serde_json::{Value, json};

use crate::stage::{Backends, Gateway};

const A: &str = "sk-of-tenant-a-000";
const ALSO_A: &str = "sk-of-tenant-a-111";
const B: &str = "sk-of-tenant-b-000";

fn tenants(more: &str) -> String {
    let keys = [("a", A), ("a", ALSO_A), ("b", B)];
    let keys = keys.map(|(tenant, key)| format!("  - {{tenant: {tenant}, key: {key}}}\n")).concat();
    format!("{more}keys:\n{keys}")
}

/// What a backend gets when the holder of `key` asks the same long question as everybody, with more members.
async fn got(gateway: &Gateway, backends: &mut Backends, (key, more): (&str, Value)) -> Value {
    let mut question = json!({"messages": [{"role": "user", "content": "as ever ".repeat(400)}]});
    question.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (mut client, bearer) = (gateway.connect().await, format!("Bearer {key}"));
    let fields = [("authorization", bearer.as_str())];
    client.send("POST", "/v1/chat/completions", &fields, &gateway.question(question)).await;
    let call = backends.next().await;
    let body = call.json();
    if body["stream"] == true {
        call.tell().await
    } else {
        call.say("hi").await
    }
    client.answer().await;
    body
}

/// Prompt tokens that were expected to be cached so far.
async fn expected(gateway: &Gateway) -> f64 {
    gateway.of_model("plimsoll_prefix_tokens_total", &[]).await
}

#[tokio::test]
async fn tenants_that_are_kept_apart_share_no_prompt_and_a_tenant_shares_its_own() {
    let mut backends = Backends::start(1).await.and("cache_salt: true");
    let gateway = Gateway::configured(&backends, &tenants("prefix_sharing: tenant\n")).await;
    let mut salt =
        async |key, more| got(&gateway, &mut backends, (key, more)).await["cache_salt"].to_string();
    let of_a = salt(A, json!({})).await;
    assert_eq!(of_a.len(), 66, "{of_a}");
    assert_ne!(salt(B, json!({})).await, of_a);
    assert_eq!(expected(&gateway).await, 0.0, "what one has asked is not looked for when the other does");
    assert_eq!(salt(ALSO_A, json!({"stream": true})).await, of_a, "beside the wish for usage");
    assert!(expected(&gateway).await > 500.0);
    let own = salt(B, json!({"cache_salt": of_a.trim_matches('"')})).await;
    assert!(own != of_a && own.len() == 66, "nobody gets into another's cache by naming it");
}

#[tokio::test]
async fn a_backend_that_does_not_understand_salts_gets_none_and_its_prompts_are_kept_apart_here() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::configured(&backends, &tenants("prefix_sharing: tenant\n")).await;
    assert_eq!(got(&gateway, &mut backends, (A, json!({}))).await["cache_salt"], Value::Null);
    assert_eq!(got(&gateway, &mut backends, (B, json!({"cache_salt": "x"}))).await["cache_salt"], "x");
    assert_eq!(expected(&gateway).await, 0.0);
}

#[tokio::test]
async fn all_share_what_is_cached_unless_the_operator_says_otherwise() {
    let mut backends = Backends::start(1).await.and("cache_salt: true");
    let gateway = Gateway::configured(&backends, &tenants("")).await;
    for key in [A, B] {
        assert_eq!(got(&gateway, &mut backends, (key, json!({}))).await["cache_salt"], Value::Null);
    }
    assert!(expected(&gateway).await > 500.0);
}
