//! How often is tried again, and when a backend is left alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

use serde_json::json;

use crate::stage::{Backends, Gateway, eventually};

#[tokio::test]
async fn three_attempts_are_made_and_no_more() {
    let mut backends = Backends::start(5).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.send_chat(json!({})).await;
    let mut tried = Vec::new();
    for _ in 0..3 {
        let call = backends.next().await;
        tried.push(call.backend);
        call.reset();
    }
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.code()), (502, "upstream_error".into()));
    tried.sort_unstable();
    tried.dedup();
    assert_eq!(tried.len(), 3, "each at another backend");
    assert!(backends.are_idle());
}

#[tokio::test]
async fn a_refused_request_is_passed_on_after_one_attempt_and_nobody_is_blamed() {
    let mut backends = Backends::start(2).await;
    let gateway = Gateway::before(&backends).await;
    for status in [400, 404, 413, 422, 400, 400] {
        let mut client = gateway.send_chat(json!({})).await;
        let said = r#"{"error":{"message":"not like this","type":"x","param":null,"code":null}}"#;
        backends.next().await.answer(status, "", said).await;
        let answer = client.answer().await;
        assert_eq!(
            (answer.status, answer.json()["error"]["message"].as_str()),
            (status, Some("not like this"))
        );
        assert!(backends.are_idle());
    }
    gateway.is_at_rest().await;
    for index in 0..2 {
        let backend = gateway.backend(index).await;
        assert_eq!((&backend["failures_in_a_row"], &backend["service"]), (&json!(0), &json!("in_service")));
    }
    assert_eq!(gateway.of_model("plimsoll_requests_total", &[("outcome", "client_error")]).await, 6.0);
}

#[tokio::test]
async fn in_a_storm_retries_stay_within_their_budget() {
    let backends = Backends::start(3).await;
    let gateway = Gateway::configured(&backends, "pipeline: {retry_per_second: 0}\n").await;
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    backends.play(move |call| {
        counted.fetch_add(1, SeqCst);
        async { call.answer(503, "", "{}").await }
    });
    for _ in 0..100 {
        assert_eq!(gateway.chat().await.status, 503);
    }
    // Each request deposits a fifth of a try.
    let calls = calls.load(SeqCst);
    assert!((100..=120).contains(&calls), "{calls} attempts for 100 requests");
    assert!(gateway.of_model("plimsoll_retries_denied_total", &[]).await >= 80.0);
}

#[tokio::test]
async fn after_a_storm_the_first_healthy_backend_is_found_at_once() {
    let backends = Backends::start(2).await;
    let gateway =
        Gateway::configured(&backends, "routing: {base_ejection_ms: 600000, max_ejection_ms: 600000}\n")
            .await;
    let well = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&well);
    backends.play(move |call| {
        let well = seen.load(SeqCst);
        async move { if well { call.say("well").await } else { call.answer(503, "", "{}").await } }
    });
    for _ in 0..20 {
        assert_eq!(gateway.chat().await.status, 503);
    }
    // All are ejected for ten minutes, which is not believed: that many failing at once is rarely their fault.
    well.store(true, SeqCst);
    assert_eq!(gateway.chat().await.content(), "well");
}

#[tokio::test]
async fn an_ejected_backend_is_left_alone_and_comes_back() {
    let backends = Backends::start(2).await;
    let gateway =
        Gateway::configured(&backends, "routing: {base_ejection_ms: 200, max_ejection_ms: 200}\n").await;
    let sick = Arc::new(AtomicBool::new(true));
    let seen = Arc::clone(&sick);
    backends.play(move |call| {
        let fails = call.backend == 0 && seen.load(SeqCst);
        async move { if fails { call.reset() } else { call.say("hi").await } }
    });
    eventually("the backend to be ejected", async || {
        assert_eq!(gateway.chat().await.content(), "hi");
        gateway.backend(0).await["service"] != "in_service"
    })
    .await;
    sick.store(false, SeqCst);
    eventually("the backend to come back", async || {
        assert_eq!(gateway.chat().await.content(), "hi");
        gateway.backend(0).await["service"] == "in_service"
    })
    .await;
    assert_eq!(gateway.backend(0).await["failures_in_a_row"], 0);
    assert_eq!(gateway.of_model("plimsoll_requests_total", &[("outcome", "backend_error")]).await, 0.0);
}

#[tokio::test]
async fn a_probation_whose_client_leaves_is_given_to_the_next() {
    let mut backends = Backends::start(1).await;
    let more = "routing: {base_ejection_ms: 100, max_ejection_ms: 100, panic_threshold: 0.0}\n";
    let gateway = Gateway::configured(&backends, more).await;
    for _ in 0..3 {
        let mut client = gateway.send_chat(json!({})).await;
        backends.next().await.reset();
        assert_eq!(client.answer().await.status, 502);
    }
    eventually("probation", async || gateway.backend(0).await["service"] == "probation").await;
    let client = gateway.send_chat(json!({})).await;
    let mut call = backends.next().await;
    assert_eq!(gateway.backend(0).await["service"], "ejected", "its one place is taken");
    drop(client);
    call.is_left().await;
    gateway.is_at_rest().await;
    assert_eq!(gateway.backend(0).await["service"], "probation");
    let mut client = gateway.send_chat(json!({})).await;
    backends.next().await.say("well").await;
    assert_eq!(client.answer().await.content(), "well");
    assert_eq!(gateway.backend(0).await["service"], "in_service");
}

#[tokio::test]
async fn a_backend_that_pushed_back_is_left_alone_for_as_long_as_it_asked() {
    let mut backends = Backends::start(2).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.send_chat(json!({})).await;
    let call = backends.next().await;
    let busy = call.backend;
    call.answer(429, "retry-after: 600\r\n", "{}").await;
    backends.next().await.say("hi").await;
    client.answer().await;
    for _ in 0..10 {
        let mut client = gateway.send_chat(json!({})).await;
        let call = backends.next().await;
        assert_ne!(call.backend, busy);
        call.say("hi").await;
        client.answer().await;
    }
    let backend = gateway.backend(busy).await;
    assert!(backend["pushback_ms"].as_u64().unwrap() > 500_000);
    assert_eq!(backend["failures_in_a_row"], 0, "to be busy is no failure");
}

#[tokio::test]
async fn readiness_is_lost_with_the_last_backend_in_service() {
    let backends = Backends::start(1).await;
    let more = "routing: {base_ejection_ms: 600000, max_ejection_ms: 600000}\n";
    let gateway = Gateway::configured(&backends, more).await;
    assert_eq!(gateway.admin("GET", "/readyz").await.status, 200);
    backends.play(async |call| call.reset());
    for _ in 0..3 {
        assert_eq!(gateway.chat().await.status, 502);
    }
    assert_eq!(gateway.backend(0).await["service"], "ejected");
    assert_eq!(gateway.admin("GET", "/readyz").await.status, 503);
    assert_eq!(gateway.admin("GET", "/livez").await.status, 200);
}
