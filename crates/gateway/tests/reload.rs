//! A changed file is put in force as a whole, or not at all; what runs is not touched.

use std::path::Path;

use serde_json::json;

use crate::stage::{Backends, Gateway, eventually, file, unique};

/// A gateway that runs a file which says `yaml` and serves `model`.
async fn running(model: &str, yaml: &str) -> (Gateway, std::path::PathBuf) {
    let path = file("plimsoll.yaml", yaml);
    (Gateway::start(model, yaml, Some(path.clone())).await, path)
}

/// Replaces the file at a stroke and says so.
async fn say(gateway: &Gateway, path: &Path, yaml: &str) {
    std::fs::rename(file("next.yaml", yaml), path).unwrap();
    assert_eq!(gateway.admin("POST", "/reload").await.status, 202);
}

async fn has_backend(gateway: &Gateway, name: &str) {
    eventually("the new file to be in force", async || gateway.backend(0).await["name"] == name).await;
}

#[tokio::test]
async fn a_changed_file_is_applied_and_a_running_stream_does_not_notice() {
    let (mut old, mut new) = (Backends::start(1).await, Backends::start(1).await);
    let model = format!("reloaded-{}", unique());
    let (gateway, path) = running(&model, &old.yaml(&model)).await;
    let mut client = gateway.stream().await;
    let mut call = old.next().await;
    call.begin_with("once").await;
    client.begun().await;
    client.token().await;

    say(&gateway, &path, &new.yaml(&model)).await;
    has_backend(&gateway, &new.names[0]).await;
    let mut newcomer = gateway.send_chat(json!({})).await;
    new.next().await.say("I am new").await;
    assert_eq!(newcomer.answer().await.content(), "I am new");

    call.token("upon").await;
    assert_eq!(client.token().await, "upon");
    call.finish().await;
    assert_eq!(client.rest().await.last().unwrap(), "data: [DONE]");
    gateway.is_at_rest().await;
    assert!(old.are_idle());
}

#[tokio::test]
async fn a_request_between_two_attempts_outlives_the_change_of_its_backends() {
    let (mut old, new) = (Backends::start(2).await, Backends::start(1).await);
    let model = format!("reloaded-{}", unique());
    let (gateway, path) = running(&model, &old.yaml(&model)).await;
    let mut client = gateway.send_chat(json!({})).await;
    let call = old.next().await;
    say(&gateway, &path, &new.yaml(&model)).await;
    has_backend(&gateway, &new.names[0]).await;
    call.reset();
    old.next().await.say("as it was").await;
    assert_eq!(client.answer().await.content(), "as it was");
}

#[tokio::test]
async fn a_bad_file_changes_nothing() {
    let backends = Backends::start(1).await;
    let model = format!("reloaded-{}", unique());
    let good = backends.yaml(&model);
    let (gateway, path) = running(&model, &good).await;
    let name = backends.names[0].clone();
    backends.play(async |call| call.say("hi").await);
    let bad = [
        "backends: [".to_owned(),
        String::new(),
        "backends: []\nkeys: []\n".to_owned(),
        good.replace("models:", "modles:"),
        good.replace("http://", "gopher://"),
        format!("{good}pipeline: {{max_attempts: 0}}\n"),
        good.replace("]}", "], ca_file: /nonexistent/ca.pem}").replace("http://", "https://"),
        format!("{good}keys: [{{tenant: a, key_file: /nonexistent/key}}]\n"),
    ];
    // The counter is the whole process's, and others refuse files too.
    let refused = async || gateway.metric("plimsoll_config_reloads_total", &[("outcome", "refused")]).await;
    for text in &bad {
        assert_ne!(*text, good);
        let before = refused().await;
        say(&gateway, &path, text).await;
        // Twice where the gateway looks by itself between the two halves of that.
        eventually("the file to be refused", async || refused().await > before).await;
        assert_eq!(gateway.backend(0).await["name"], name.as_str());
        assert_eq!(gateway.chat().await.content(), "hi", "{text}");
    }
    let before = refused().await;
    std::fs::remove_file(&path).unwrap();
    gateway.admin("POST", "/reload").await;
    eventually("the lack of a file to be refused", async || refused().await > before).await;
    assert_eq!(gateway.chat().await.content(), "hi");

    say(&gateway, &path, &good.replace(&name, "well-again")).await;
    has_backend(&gateway, "well-again").await;
    assert_eq!(gateway.chat().await.content(), "hi");
}

#[tokio::test]
async fn a_file_that_changes_is_noticed_without_a_word() {
    let backends = Backends::start(1).await;
    let model = format!("reloaded-{}", unique());
    let yaml = backends.yaml(&model);
    let (gateway, path) = running(&model, &yaml).await;
    std::fs::rename(file("next.yaml", &yaml.replace(&backends.names[0], "noticed")), &path).unwrap();
    has_backend(&gateway, "noticed").await;
}

#[tokio::test]
async fn a_backend_that_stays_keeps_what_is_known_of_it() {
    let mut backends = Backends::start(2).await;
    let model = format!("reloaded-{}", unique());
    let yaml = backends.yaml(&model);
    let (gateway, path) = running(&model, &yaml).await;
    let mut client = gateway.send_chat(json!({})).await;
    let call = backends.next().await;
    let busy = call.backend;
    call.answer(429, "retry-after: 600\r\n", "{}").await;
    backends.next().await.say("hi").await;
    client.answer().await;

    say(&gateway, &path, &format!("{yaml}pipeline: {{max_in_flight: 7}}\n# changed\n")).await;
    say(&gateway, &path, &yaml.replace(&backends.names[1 - busy], "another")).await;
    eventually("the new file to be in force", async || gateway.fleet().await.to_string().contains("another"))
        .await;
    assert!(gateway.backend(busy).await["pushback_ms"].as_u64().unwrap() > 500_000);
}

#[tokio::test]
async fn a_backend_that_tells_its_models_after_a_change_does_not_undo_it() {
    let (mut silent, known) = (Backends::start(1).await, Backends::start(1).await);
    let model = format!("reloaded-{}", unique());
    let asked = format!("  - {{name: silent, url: \"http://{}\"}}\n", silent.addresses[0]);
    let before = format!("{}{asked}", known.yaml(&model));
    let (starting, call) = tokio::join!(running(&model, &before), async {
        silent.next().await.answer(503, "", "{}").await;
        // It is asked again, and thinks for a while.
        silent.next().await
    });
    let (gateway, path) = starting;
    say(&gateway, &path, &before.replace(&known.names[0], "changed")).await;
    has_backend(&gateway, "changed").await;
    call.answer(200, "", r#"{"data":[{"id":"told-late"}]}"#).await;
    eventually("its models to be known", async || gateway.fleet().await.to_string().contains("told-late"))
        .await;
    assert_eq!(gateway.backend(0).await["name"], "changed");
}

#[tokio::test]
async fn keys_change_with_the_file_for_connections_that_are_open_too() {
    let backends = Backends::start(1).await;
    let model = format!("reloaded-{}", unique());
    let with = |key: &str| format!("{}keys: [{{tenant: a, key: {key}}}]\n", backends.yaml(&model));
    let (gateway, path) = running(&model, &with("sk-first-0123456789")).await;
    let mut client = gateway.connect().await;
    let first = [("x-api-key", "sk-first-0123456789")];
    client.send("GET", "/v1/models", &first, "").await;
    assert_eq!(client.answer().await.status, 200);

    say(&gateway, &path, &with("sk-second-0123456789")).await;
    let second = [("x-api-key", "sk-second-0123456789")];
    eventually("the new key to be good", async || {
        gateway.ask("GET", "/v1/models", &second, "").await.status == 200
    })
    .await;
    client.send("GET", "/v1/models", &first, "").await;
    assert_eq!(client.answer().await.status, 401);
}

#[tokio::test]
async fn a_gateway_without_a_file_says_that_it_has_none() {
    let backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    assert_eq!(gateway.admin("POST", "/reload").await.status, 409);
    assert_eq!(gateway.admin("GET", "/reload").await.status, 405);
}

#[tokio::test]
async fn backends_of_a_file_come_and_go_without_a_reload_and_a_broken_file_changes_nothing() {
    let (mut first, mut second) = (Backends::start(1).await, Backends::start(1).await);
    let model = format!("listed-{}", unique());
    let list = file("fleet.yaml", &first.yaml(&model));
    let write = |text: &str| std::fs::rename(file("next.yaml", text), &list).unwrap();
    let yaml = format!("backends_file: {}\n", list.display());
    let gateway = Gateway::start(&model, &yaml, None).await;
    let mut running = gateway.stream().await;
    let mut call = first.next().await;
    call.begin_with("once").await;
    running.begun().await;
    running.token().await;

    let refused = async || gateway.metric("plimsoll_config_reloads_total", &[("outcome", "refused")]).await;
    let before = refused().await;
    write("backends: [{name: x, url: \"ftp://h\"}]\n");
    eventually("the refusal", async || refused().await > before).await;
    has_backend(&gateway, &first.names[0]).await;

    write(&second.yaml(&model));
    has_backend(&gateway, &second.names[0]).await;
    assert_eq!(gateway.fleet().await["backends"].as_array().unwrap().len(), 1);
    let mut newcomer = gateway.send_chat(json!({})).await;
    second.next().await.say("I am new").await;
    assert_eq!(newcomer.answer().await.content(), "I am new");

    call.token("upon").await;
    assert_eq!(running.token().await, "upon", "what runs at a backend that left is finished");
    call.finish().await;
    assert_eq!(running.rest().await.last().unwrap(), "data: [DONE]");
    assert!(first.are_idle());
}

#[tokio::test]
async fn a_list_of_backends_that_was_refused_for_a_name_is_taken_once_the_name_is_free() {
    let (own, listed) = (Backends::start(1).await, Backends::start(1).await);
    let model = format!("listed-{}", unique());
    let clash = listed.yaml(&model).replace(&listed.names[0], &own.names[0]);
    let list = file("fleet.yaml", &clash);
    let with_list = |backends: &str| format!("backends_file: {}\n{backends}", list.display());
    let (gateway, path) = running(&model, &with_list(&own.yaml(&model))).await;
    assert_eq!(gateway.fleet().await["backends"].as_array().unwrap().len(), 1);
    say(&gateway, &path, &with_list(&own.yaml(&model).replace(&own.names[0], "renamed"))).await;
    eventually("the list to be read again", async || {
        gateway.fleet().await["backends"].as_array().unwrap().len() == 2
    })
    .await;
}
