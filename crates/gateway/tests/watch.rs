//! The fleet is watched in the background: who is dead or loaded is known before a request finds out.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::stage::{Backends, Gateway, Health, eventually};

const EVERY: &str = "fleet: {poll_ms: 50, probe_ms: 200}\n";

fn busy(requests: u32) -> String {
    format!(
        "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{{engine=\"0\"}} {requests}.0\n\
         vllm:num_requests_waiting{{engine=\"0\"}} {requests}.0\nvllm:kv_cache_usage_perc{{engine=\"0\"}} 0.5\n"
    )
}

#[tokio::test]
async fn a_backend_that_stops_listening_is_out_within_a_second_and_back_after_its_return_without_a_request() {
    let mut backends = Backends::start(3).await;
    let gateway = Gateway::configured(&backends, "routing: {policy: round_robin}\n").await;
    let name = backends.names[0].clone();
    let probed = [("backend", name.as_str()), ("outcome", "alive")];
    eventually("a probe", async || gateway.metric("plimsoll_probes_total", &probed).await > 0.0).await;
    backends.close(0).await;
    #[expect(clippy::disallowed_methods, reason = "how long it takes in reality is the question")]
    let closed = Instant::now();
    eventually("the ejection", async || gateway.backend(0).await["service"] == "ejected").await;
    assert!(
        closed.elapsed() < Duration::from_secs(2),
        "{:?}, of which a busy machine may be a part",
        closed.elapsed()
    );
    assert_eq!(gateway.backend(0).await["found_dead_by_probes"], true);
    let closed_one = [("backend", name.as_str())];
    let attempts = async || gateway.metric("plimsoll_attempts_total", &closed_one).await;
    let mut backends = backends.play(async |call| call.say("hi").await);
    for _ in 0..12 {
        assert_eq!(gateway.chat().await.content(), "hi");
    }
    assert_eq!(attempts().await, 0.0, "no request is sent to find out");
    backends.open(0);
    eventually("its return", async || gateway.backend(0).await["service"] == "in_service").await;
    assert_eq!(attempts().await, 0.0, "no request had to try");
    for _ in 0..6 {
        assert_eq!(gateway.chat().await.content(), "hi");
    }
    assert_eq!(attempts().await, 2.0);
    assert_eq!(gateway.of_model("plimsoll_retries_total", &[]).await, 0.0, "nobody was sent twice");
}

#[tokio::test]
async fn a_stream_goes_on_though_its_backend_takes_no_more_connections() {
    let mut backends = Backends::start(2).await;
    let gateway = Gateway::configured(&backends, EVERY).await;
    let mut client = gateway.stream().await;
    let mut call = backends.next().await;
    call.begin_with("once").await;
    client.begun().await;
    assert_eq!(client.token().await, "once");
    let leaving = call.backend;
    backends.close(leaving).await;
    eventually("the ejection", async || gateway.backend(leaving).await["service"] == "ejected").await;
    call.token(" upon").await;
    call.finish().await;
    assert_eq!(client.token().await, " upon");
    assert_eq!(client.rest().await.last().map(String::as_str), Some("data: [DONE]"));
    let client = gateway.send_chat(json!({})).await;
    assert_ne!(backends.next().await.backend, leaving, "what is new goes elsewhere");
    drop(client);
}

#[tokio::test]
async fn a_backend_that_says_it_is_not_well_is_out_until_it_is() {
    let backends = Backends::start(2).await;
    let gateway = Gateway::configured(&backends, EVERY).await;
    backends.is(1, Health::Unwell);
    eventually("the ejection", async || gateway.backend(1).await["service"] == "ejected").await;
    let failed = [("backend", backends.names[1].as_str()), ("outcome", "failed")];
    assert!(gateway.metric("plimsoll_probes_total", &failed).await >= 3.0, "once may be a mistake");
    assert_eq!(gateway.backend(0).await["service"], "in_service");
    backends.is(1, Health::Well);
    eventually("its return", async || gateway.backend(1).await["service"] == "in_service").await;
}

#[tokio::test]
async fn a_late_answer_to_a_probe_is_death_for_an_idle_backend_and_not_for_one_that_reads_a_prompt() {
    let mut backends = Backends::start(2).await;
    let gateway = Gateway::configured(&backends, "fleet: {probe_ms: 50, timeout_ms: 50}\n").await;
    let mut client = gateway.send_chat(json!({})).await;
    let call = backends.next().await;
    let (busy, idle) = (call.backend, 1 - call.backend);
    backends.is(busy, Health::Late);
    backends.is(idle, Health::Late);
    eventually("the ejection", async || gateway.backend(idle).await["service"] == "ejected").await;
    let silent = [("backend", backends.names[busy].as_str()), ("outcome", "silent")];
    eventually("silence", async || gateway.metric("plimsoll_probes_total", &silent).await >= 8.0).await;
    assert_eq!(gateway.backend(busy).await["service"], "in_service");
    call.say("at last").await;
    assert_eq!(client.answer().await.content(), "at last");
}

#[tokio::test]
async fn what_an_engine_says_of_its_load_decides_where_the_next_request_goes() {
    let mut backends = Backends::start(2).await;
    let gateway = Gateway::configured(&backends, EVERY).await;
    for (loaded, idle) in [(0, 1), (1, 0)] {
        backends.says(loaded, &busy(40));
        backends.says(idle, &busy(0));
        let others = async |index: usize| gateway.backend(index).await["others"]["running"].clone();
        eventually("the reports", async || others(loaded).await == 40.0 && others(idle).await == 0.0).await;
        for _ in 0..8 {
            let mut client = gateway.send_chat(json!({})).await;
            let call = backends.next().await;
            assert_eq!(call.backend, idle);
            call.say("hi").await;
            assert_eq!(client.answer().await.content(), "hi");
        }
    }
    assert!(gateway.backend(0).await["report_age_ms"].as_f64().unwrap() < 5_000.0);
    let age = [("backend", backends.names[0].as_str())];
    assert!(gateway.metric("plimsoll_backend_report_age_seconds", &age).await < 5.0);
    assert!(gateway.metric("plimsoll_polls_total", &[age[0], ("outcome", "ok")]).await >= 1.0);
}

#[tokio::test]
async fn a_backend_without_metrics_is_chosen_by_what_is_known_here() {
    let backends = Backends::start(2).await;
    let gateway = Gateway::configured(&backends, EVERY).await;
    let name = backends.names[0].clone();
    let none = [("backend", name.as_str()), ("outcome", "none")];
    eventually("a question in vain", async || gateway.metric("plimsoll_polls_total", &none).await >= 2.0)
        .await;
    assert!(gateway.backend(0).await["report_age_ms"].is_null());
    backends.play(async |call| call.say("hi").await);
    assert_eq!(gateway.chat().await.content(), "hi");
    assert_eq!(gateway.metric("plimsoll_polls_total", &none).await, 2.0, "both paths once, then seldom");
}

#[tokio::test]
async fn the_round_trip_is_measured() {
    let backends = Backends::start(1).await.and("round_trip_ms: 500");
    let gateway = Gateway::configured(&backends, EVERY).await;
    eventually("a handshake", async || gateway.backend(0).await["round_trip_ms"].as_f64().unwrap() < 100.0)
        .await;
}

#[tokio::test]
async fn each_address_of_a_host_is_a_backend_where_that_is_wanted() {
    let mut backends = Backends::start(1).await;
    let (model, port) = ("resolved", backends.addresses[0].port());
    let name = backends.names[0].clone();
    let yaml = format!(
        "backends: [{{name: {name}, url: \"http://localhost:{port}\", models: [{model}], resolve: true}}]\n{EVERY}"
    );
    let gateway = Gateway::start(model, &yaml, None).await;
    let mut client = gateway.send_chat(json!({})).await;
    let call = backends.next().await;
    assert_eq!(call.field("host"), Some(format!("localhost:{port}").as_str()), "the host stays what it is");
    call.say("hi").await;
    assert_eq!(client.answer().await.content(), "hi");
    let fleet = gateway.fleet().await;
    let names: Vec<_> = fleet["backends"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert!(names.contains(&json!(format!("{name}/127.0.0.1"))), "{names:?}");
}
