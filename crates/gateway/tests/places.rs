//! Where a request may be served, and what operators take out as one.

use serde_json::json;

use crate::stage::{Backends, Gateway, eventually, unique};

/// One backend in Ireland and one in Virginia.
async fn two_regions(more: &str) -> (Backends, Gateway) {
    let backends = Backends::start(2).await;
    let model = format!("model-{}", unique());
    let places = ["region: eu-west-1, residency: [eu]", "region: us-east-1, residency: [us]"];
    let one = |index: usize| {
        let (name, address, place) = (&backends.names[index], backends.addresses[index], places[index]);
        format!("  - {{name: {name}, url: \"http://{address}\", models: [{model}], cloud: aws, {place}}}\n")
    };
    let yaml = format!("backends:\n{}{}{more}", one(0), one(1));
    let gateway = Gateway::start(&model, &yaml, None).await;
    (backends, gateway)
}

/// How often each backend was asked by six callers with these fields.
async fn asked(backends: &mut Backends, gateway: &Gateway, fields: &[(&str, &str)]) -> [usize; 2] {
    let mut asked = [0; 2];
    for _ in 0..6 {
        let mut client = gateway.connect().await;
        client.send("POST", "/v1/chat/completions", fields, &gateway.question(json!({}))).await;
        let call = backends.next().await;
        asked[call.backend] += 1;
        call.say("hi").await;
        assert_eq!(client.answer().await.content(), "hi");
    }
    asked
}

const EU: (&str, &str) = ("x-plimsoll-residency", "eu, ch");
const VIRGINIA: (&str, &str) = ("x-plimsoll-residency", "us-east-1");

#[tokio::test]
async fn a_request_is_served_only_where_it_allows() {
    let (mut backends, gateway) = two_regions("routing: {policy: round_robin}\n").await;
    assert_eq!(asked(&mut backends, &gateway, &[]).await, [3, 3]);
    assert_eq!(asked(&mut backends, &gateway, &[EU]).await, [6, 0]);
    assert_eq!(asked(&mut backends, &gateway, &[VIRGINIA]).await, [0, 6]);
}

#[tokio::test]
async fn it_is_not_tried_elsewhere_even_if_that_is_the_only_one_that_works() {
    let (mut backends, gateway) = two_regions("").await;
    let mut client = gateway.connect().await;
    client.send("POST", "/v1/chat/completions", &[EU], &gateway.question(json!({}))).await;
    let call = backends.next().await;
    assert_eq!(call.backend, 0);
    call.answer(503, "", "{}").await;
    assert_eq!(client.answer().await.status, 503);
    assert!(backends.are_idle());
}

#[tokio::test]
async fn a_tenant_s_rule_holds_beside_the_request_s() {
    let key = "sk-test-0123456789abcdef";
    let keys = format!("keys: [{{tenant: a, residency: [eu], key: {key}}}]\n");
    let (mut backends, gateway) = two_regions(&keys).await;
    let bearer = ("authorization", "Bearer sk-test-0123456789abcdef");
    assert_eq!(asked(&mut backends, &gateway, &[bearer]).await, [6, 0]);
    let answer =
        gateway.ask("POST", "/v1/chat/completions", &[bearer, VIRGINIA], &gateway.question(json!({}))).await;
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (400, Some("residency")));
    assert!(backends.are_idle());
}

#[tokio::test]
async fn a_rule_that_cannot_be_kept_or_read_is_refused() {
    let (mut backends, gateway) = two_regions("").await;
    for (field, why) in [("moon", "residency"), ("eu,,us", "list of places"), ("", "list of places")] {
        let fields = [("x-plimsoll-residency", field)];
        let answer = gateway.ask("POST", "/v1/chat/completions", &fields, &gateway.question(json!({}))).await;
        assert_eq!(answer.status, 400, "{field}");
        assert!(answer.text().contains(why), "{}", answer.text());
    }
    assert!(backends.are_idle());
}

#[tokio::test]
async fn a_domain_that_an_operator_drains_gets_nothing_new_and_ends_what_it_has() {
    let (mut backends, gateway) = two_regions("routing: {policy: round_robin}\n").await;
    let mut client = gateway.connect().await;
    client.send("POST", "/v1/chat/completions", &[EU], &gateway.question(json!({}))).await;
    let running = backends.next().await;
    assert_eq!(gateway.admin("POST", "/fleet/drain?domain=aws/eu-west-1").await.status, 200);
    assert_eq!(asked(&mut backends, &gateway, &[]).await, [0, 6]);
    assert_eq!(gateway.metric("plimsoll_domain_in_service_ratio", &[("domain", "aws/eu-west-1")]).await, 0.0);
    running.say("still here").await;
    assert_eq!(client.answer().await.content(), "still here");
    let fleet = gateway.fleet().await;
    assert_eq!(
        (&fleet["backends"][0]["drained"], &fleet["backends"][1]["drained"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(gateway.admin("POST", "/fleet/resume?domain=aws%2Feu-west-1").await.status, 200);
    assert_eq!(asked(&mut backends, &gateway, &[]).await, [3, 3]);
}

#[tokio::test]
async fn a_backend_is_drained_by_its_name_and_a_wrong_name_is_said() {
    let (mut backends, gateway) = two_regions("").await;
    let name = backends.names[1].clone();
    assert_eq!(gateway.admin("POST", &format!("/fleet/drain?backend={name}")).await.status, 200);
    assert_eq!(asked(&mut backends, &gateway, &[]).await, [6, 0]);
    assert_eq!(gateway.admin("POST", "/fleet/drain?backend=nobody").await.status, 404);
    assert_eq!(gateway.admin("POST", "/fleet/drain").await.status, 400);
    assert_eq!(gateway.admin("GET", "/fleet/drain").await.status, 405);
    // With nobody left who may be asked, callers are told to come again.
    assert_eq!(gateway.admin("POST", "/fleet/drain?domain=aws").await.status, 200);
    let answer = gateway.chat().await;
    assert_eq!((answer.status, answer.field("retry-after").is_some()), (503, true));
    assert_eq!(gateway.admin("GET", "/readyz").await.status, 503);
}

#[tokio::test]
async fn what_is_paid_for_is_burnt_down_and_then_its_backend_costs_what_it_costs() {
    let paid = "million_prompt_dollars: 2, million_answer_dollars: 8, commitment: ptu";
    let backends = Backends::start(1).await.and(paid);
    let name = format!("ptu-{}", unique());
    let yaml = backends.yaml("m").replace("ptu", &name)
        + &format!("routing: {{commitments: [{{name: {name}, tokens: 30, until: 2999-12-31}}]}}\n");
    let gateway = Gateway::start("m", &yaml, None).await;
    let backends = backends.play(async |call| call.say("hi").await);
    let left = async || {
        let fleet = gateway.fleet().await;
        let ptu = fleet["commitments"][0].clone();
        (ptu["left"].as_f64().unwrap(), ptu["in_force"].as_bool().unwrap(), ptu["used"].as_f64().unwrap())
    };
    let money = async || {
        let told = gateway.admin("GET", "/explain?model=m").await;
        told.json()["backends"][0]["of_which_ms"]["money"].as_f64().unwrap()
    };
    assert_eq!((left().await, money().await), ((30.0, true, 0.0), 0.0));
    gateway.chat().await;
    eventually("its tokens to be counted", async || left().await == (12.0, true, 18.0)).await;
    gateway.chat().await;
    eventually("it to be used up", async || left().await == (0.0, false, 36.0)).await;
    assert!(money().await > 0.0);
    let labels = [("commitment", name.as_str()), ("unit", "tokens")];
    assert_eq!(gateway.metric("plimsoll_commitment_used", &labels).await, 36.0);
    assert_eq!(gateway.metric("plimsoll_commitment_left", &labels).await, 0.0);
    let end = gateway.metric("plimsoll_commitment_end_timestamp_seconds", &labels[..1]).await;
    assert!(end > 3e10, "{end}");
    let worth = [("backend", backends.names[0].as_str()), ("paid", "committed")];
    assert!(gateway.metric("plimsoll_backend_worth_microdollars_total", &worth).await > 0.0);
}
