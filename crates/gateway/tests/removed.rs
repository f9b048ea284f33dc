//! Metrics are about what serves: what is removed by a reload leaves them.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::stage::{Backends, Gateway, eventually, file, unique};

/// A gateway that runs a file which says `yaml` and serves `model`.
async fn running(model: &str, yaml: &str) -> (Gateway, PathBuf) {
    let path = file("plimsoll.yaml", yaml);
    (Gateway::start(model, yaml, Some(path.clone())).await, path)
}

/// Replaces the file at a stroke, and waits until the last of its backends is `name`.
async fn change(gateway: &Gateway, path: &Path, (yaml, name): (&str, &str)) {
    std::fs::rename(file("next.yaml", yaml), path).unwrap();
    assert_eq!(gateway.admin("POST", "/reload").await.status, 202);
    eventually("the new file to be in force", async || {
        gateway.fleet().await["backends"].as_array().unwrap().last().unwrap()["name"] == name
    })
    .await;
}

/// The series in whose labels `name` stands, without their values. None is NaN.
async fn series(gateway: &Gateway, name: &str) -> Vec<String> {
    let text = gateway.metrics().await;
    let lines = text.lines().filter(|line| !line.starts_with('#') && line.contains(name));
    lines
        .map(|line| {
            assert!(!line.ends_with(" NaN"), "{line}");
            line.rsplit_once(' ').unwrap().0.to_owned()
        })
        .collect()
}

#[tokio::test]
async fn series_of_thirty_backends_that_came_and_went_stayed_and_their_gauges_were_nan() {
    let backends = Backends::start(1).await.play(async |call| call.say("hi").await);
    let (url, id) = (format!("http://{}", backends.addresses[0]), unique());
    let (model, stays) = (format!("m-of-{id}-"), format!("b-of-{id}-"));
    let yaml =
        format!("backends:\n  - {{name: {stays}, url: \"{url}\", models: [{model}], cloud: c-of-{id}-}}\n");
    let (gateway, path) = running(&model, &yaml).await;
    gateway.chat().await;
    let of_test = format!("of-{id}-");
    let mut before = Vec::new();
    eventually("its backend to be watched", async || {
        before = series(&gateway, &of_test).await;
        before.iter().any(|one| one.starts_with("plimsoll_polls_total"))
    })
    .await;
    for pod in 0..30 {
        let name = format!("pod-of-{id}-{pod}");
        let place = format!(
            "cloud: c-of-{id}-{pod}, region: r-of-{id}-{pod}, commitment: co-of-{id}-{pod}, gpu_hour_dollars: 2"
        );
        let commitment = format!("routing: {{commitments: [{{name: co-of-{id}-{pod}, dollars: 5}}]}}\n");
        let one = format!("  - {{name: {name}, url: \"{url}\", models: [{name}], {place}}}\n{commitment}");
        change(&gateway, &path, (&format!("{yaml}{one}"), &name)).await;
        let body = gateway.question(json!({"model": name}));
        assert_eq!(gateway.ask("POST", "/v1/chat/completions", &[], &body).await.content(), "hi");
        let there = series(&gateway, &format!("\"{name}\"")).await;
        assert!(there.iter().any(|one| one.starts_with("plimsoll_backend_in_flight")), "{there:?}");
        assert!(there.len() > 50, "{there:?}");
    }
    change(&gateway, &path, (&yaml, &stays)).await;
    eventually("all series of what is gone to end", async || series(&gateway, &of_test).await == before)
        .await;
    assert_eq!(gateway.fleet().await["domains"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_backend_that_came_back_while_its_last_request_ran_counted_that_into_nothing() {
    let mut backends = Backends::start(2).await;
    let model = format!("back-{}", unique());
    let of = |backend: usize, more: &str| {
        let (name, address) = (&backends.names[backend], backends.addresses[backend]);
        format!("  - {{name: {name}, url: \"http://{address}\", models: [{model}]{more}}}\n")
    };
    let only = |backend: String| format!("backends:\n{backend}");
    let (leaves, other) = (only(of(1, "")), only(of(0, "")));
    let comes_back = format!("{other}{}", of(1, ", max_in_flight: 50"));
    let (name, other_name) = (backends.names[1].clone(), backends.names[0].clone());
    let quoted = format!("\"{name}\"");
    let (gateway, path) = running(&model, &leaves).await;
    let mut client = gateway.stream().await;
    let mut call = backends.next().await;
    call.begin_with("once").await;
    client.begun().await;
    client.token().await;
    let in_flight = async || gateway.metric("plimsoll_backend_in_flight", &[("backend", &name)]).await;
    assert_eq!(in_flight().await, 1.0);

    change(&gateway, &path, (&other, &other_name)).await;
    let gauges = async || {
        let all = series(&gateway, &quoted).await;
        all.into_iter().filter(|one| one.contains("in_flight") || one.contains("connections")).count()
    };
    assert_eq!(gauges().await, 0, "the gauges of a backend that left");
    eventually("its counters to end", async || series(&gateway, &quoted).await.is_empty()).await;

    change(&gateway, &path, (&comes_back, &name)).await;
    assert_eq!(in_flight().await, 0.0, "it is another backend");
    let ok =
        async || gateway.metric("plimsoll_attempts_total", &[("backend", &name), ("outcome", "ok")]).await;
    assert_eq!(ok().await, 0.0);
    call.finish().await;
    client.rest().await;
    eventually("the old request to be counted", async || ok().await == 1.0).await;
}
