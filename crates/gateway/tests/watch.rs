//! The fleet is watched in the background: who is dead or loaded is known before a request finds out.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::stage::{Backends, Dns, Gateway, Health, eventually, grpc_server, grpc_server_with, unique};

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
    let seen = gateway.backend(0).await;
    assert_eq!(seen["found_dead_by_probes"], true);
    assert_eq!(seen["last_probe"]["why"], "the connection was refused");
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
    let seen = gateway.backend(0).await;
    assert!(seen["report_age_ms"].as_f64().unwrap() < 5_000.0);
    assert_eq!((&seen["engine"], &seen["reported_by"]), (&json!("vllm"), &json!("poll")));
    assert_eq!(
        (&seen["last_probe"]["found"], &seen["last_probe"]["why"]),
        (&json!("alive"), &json!("it answers"))
    );
    assert!(seen["last_probe"]["age_ms"].as_f64().unwrap() < 5_000.0);
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

#[tokio::test]
async fn each_record_of_a_service_is_a_backend_and_those_of_a_higher_number_stand_in_when_nobody_else_is_well()
 {
    let mut backends = Backends::start(3).await;
    let port = |index: usize| backends.addresses[index].port();
    let (first, second, other) = ((0, 1, port(0)), (0, 1, port(1)), (7, 1, port(2)));
    let dns = Dns::start(&[first, other]).await;
    let (pool, model) = (backends.names[0].clone(), format!("served-{}", unique()));
    let yaml = format!(
        "backends: [{{name: {pool}, url: \"http://_llm._tcp.{pool}.test\", models: [{model}], resolve: true}}]\n\
         fleet: {{poll_ms: 0, probe_ms: 50, name_servers: [\"{}\"]}}\n",
        dns.address
    );
    let gateway = Gateway::start(&model, &yaml, None).await;
    let is = async |records: &[(u16, u16, u16)]| {
        let mut wanted: Vec<_> =
            records.iter().map(|(_, _, port)| format!("{pool}/localhost:{port}")).collect();
        wanted.sort();
        eventually("the records to be in use", async || {
            let fleet = gateway.fleet().await;
            let names = fleet["backends"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap());
            let mut names: Vec<_> = names.map(str::to_owned).collect();
            names.sort();
            names == wanted
        })
        .await;
    };
    is(&[first]).await;
    let mut client = gateway.send_chat(json!({})).await;
    let call = backends.next().await;
    assert_eq!((call.backend, call.field("host")), (0, Some(format!("localhost:{}", first.2).as_str())));
    call.say("hi").await;
    assert_eq!(client.answer().await.content(), "hi");
    dns.says(&[first, second, other]);
    is(&[first, second]).await;
    dns.says(&[second, other]);
    is(&[second]).await;
    backends.close(1).await;
    is(&[second, other]).await;
    let mut client = gateway.send_chat(json!({})).await;
    let call = backends.next().await;
    assert_eq!(call.backend, 2);
    call.say("in its place").await;
    assert_eq!(client.answer().await.content(), "in its place");
    backends.open(1);
    is(&[second]).await;
    dns.says(&[]);
    is(&[second]).await;
}

/// A gateway before one backend that speaks gRPC at `address`, with more keys.
async fn before_grpc(address: std::net::SocketAddr, model: &str, more: &str) -> Gateway {
    let name = format!("grpc-{}", unique());
    let url = format!("grpc://{address}");
    let yaml = format!("backends: [{{name: {name}, url: \"{url}\", models: [{model}]{more}}}]\n{EVERY}");
    Gateway::start(model, &yaml, None).await
}

#[tokio::test]
async fn a_gateway_behind_grpc_is_out_while_it_says_that_it_does_not_serve_and_when_nobody_listens() {
    let mut backends = Backends::start(1).await;
    let inner = Gateway::configured(&backends, EVERY).await;
    let outer = before_grpc(inner.address, &inner.model, "").await;
    let name = outer.backend(0).await["name"].as_str().unwrap().to_owned();
    let probes = async |outcome: &str| {
        outer.metric("plimsoll_probes_total", &[("backend", name.as_str()), ("outcome", outcome)]).await
    };
    eventually("a probe", async || probes("alive").await > 0.0).await;
    backends.close(0).await;
    eventually("the ejection", async || outer.backend(0).await["service"] == "ejected").await;
    assert!(probes("failed").await >= 3.0, "once may be a mistake");
    backends.open(0);
    eventually("its return", async || outer.backend(0).await["service"] == "in_service").await;
    drop(inner);
    eventually("a refusal", async || probes("refused").await > 0.0).await;
    eventually("the ejection", async || outer.backend(0).await["service"] == "ejected").await;
    assert!(outer.backend(0).await["round_trip_ms"].as_f64().unwrap() > 0.0);
}

#[tokio::test]
async fn an_engine_says_over_grpc_how_loaded_it_is_and_one_that_knows_no_health_is_alive() {
    // Two ranks: 3 and 4 run, 2 wait, and a quarter of the memory of one is in use.
    const LOADS: &[u8] = b"\x22\x0d\x10\x03\x18\x02\x39\0\0\0\0\0\0\xd0\x3f\x22\x02\x10\x04";
    let engine = grpc_server(&[("/sglang.grpc.scheduler.SglangScheduler/GetLoads", LOADS)]).await;
    let gateway = before_grpc(engine, "m", &format!(", metrics: \"grpc://{engine}\"")).await;
    let others = json!({"waiting": 2.0, "running": 7.0, "kv_used": 0.25});
    eventually("its load", async || gateway.backend(0).await["others"] == others).await;
    let name = gateway.backend(0).await["name"].as_str().unwrap().to_owned();
    let alive = [("backend", name.as_str()), ("outcome", "alive")];
    eventually("a probe", async || gateway.metric("plimsoll_probes_total", &alive).await > 0.0).await;
    assert_eq!(gateway.backend(0).await["service"], "in_service");
}

/// Waits until the first backend is watched: what it says before that is heard by nobody.
async fn is_watched(gateway: &Gateway) {
    eventually("a probe", async || !gateway.backend(0).await["last_probe"].is_null()).await;
}

const REPORT: &str = "endpoint-load-metrics: TEXT named_metrics.kv_cache_usage_perc=0.5, named_metrics.num_requests_waiting=3\r\n";

#[tokio::test]
async fn what_a_backend_says_of_its_load_with_an_answer_is_taken_and_not_shown_to_the_caller() {
    let mut backends = Backends::start(1).await.and("orca: text, metrics: \"\"");
    let gateway = Gateway::configured(&backends, EVERY).await;
    is_watched(&gateway).await;
    let report = |outcome| [("backend", backends.names[0].clone()), ("outcome", String::from(outcome))];
    let (ok, malformed) = (report("ok"), report("malformed"));
    let counted = async |of: &[(&str, String); 2]| {
        let labels = [(of[0].0, of[0].1.as_str()), (of[1].0, of[1].1.as_str())];
        gateway.metric("plimsoll_load_reports_total", &labels).await
    };
    for fields in [REPORT, "endpoint-load-metrics: TEXT \u{1f40c}\r\nendpoint-load-metrics-bin: !\r\n"] {
        let mut client = gateway.send_chat(json!({})).await;
        let call = backends.next().await;
        assert_eq!(call.field("endpoint-load-metrics-format"), Some("TEXT"));
        call.answer(200, fields, "{}").await;
        let answer = client.answer().await;
        assert_eq!(answer.field("endpoint-load-metrics"), None);
        assert_eq!(answer.field("endpoint-load-metrics-bin"), None);
        assert_eq!(
            gateway.backend(0).await["others"],
            json!({"waiting": 3.0, "running": 0.0, "kv_used": 0.5}),
            "the request that it came with is over and is nobody else's; garbage says nothing"
        );
    }
    assert_eq!((counted(&ok).await, counted(&malformed).await), (1.0, 2.0));
}

#[tokio::test]
async fn who_is_not_to_be_asked_is_not_and_is_heard_nevertheless() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::configured(&backends, EVERY).await;
    is_watched(&gateway).await;
    let mut client = gateway.send_chat(json!({})).await;
    let call = backends.next().await;
    assert_eq!(call.field("endpoint-load-metrics-format"), None);
    call.answer(200, REPORT, "{}").await;
    client.answer().await;
    let seen = gateway.backend(0).await;
    assert_eq!((&seen["others"]["waiting"], &seen["reported_by"]), (&json!(3.0), &json!("answer")));
}

#[tokio::test]
async fn a_backend_over_grpc_says_its_load_in_trailers() {
    // `kv_cache_usage_perc` is 0.5.
    const LOAD: &str = "Qh4KE2t2X2NhY2hlX3VzYWdlX3BlcmMRAAAAAAAA4D8";
    let engine = grpc_server_with(
        &[("/plimsoll.v1.InferenceService/Chat", b"")],
        &[("endpoint-load-metrics-bin", LOAD)],
    )
    .await;
    let gateway = before_grpc(engine, "m", "").await;
    is_watched(&gateway).await;
    let mut client = gateway.send_chat(json!({})).await;
    client.answer().await;
    eventually("its load", async || gateway.backend(0).await["others"]["kv_used"] == 0.5).await;
}
