//! Requests that go to several backends in parts.

use serde_json::{Value, json};

use crate::stage::{Answer, Backends, Call, Client, Gateway, eventually};

const ON: &str = "batching: {enabled: true, max_items: 3}\nrouting: {policy: round_robin}\n";

/// A client that has asked for the vectors of so many texts.
async fn embed(gateway: &Gateway, texts: u32) -> Client {
    send(
        gateway,
        "/v1/embeddings",
        json!({"input": (0..texts).map(|n| format!("text {n}")).collect::<Vec<_>>()}),
    )
    .await
}

async fn send(gateway: &Gateway, path: &str, mut body: Value) -> Client {
    body["model"] = json!(gateway.model);
    let mut client = gateway.connect().await;
    client.send("POST", path, &[], &body.to_string()).await;
    client
}

fn texts(call: &Call) -> Vec<Value> {
    call.json()["input"].as_array().unwrap().clone()
}

/// Answers a part, with the text itself for its vector, the last result first.
async fn answer(call: Call) {
    let item = |(index, text)| json!({"index": index, "embedding": text});
    let data: Vec<Value> = texts(&call).into_iter().enumerate().map(item).rev().collect();
    let usage = json!({"prompt_tokens": 2 * data.len(), "total_tokens": 2 * data.len()});
    call.answer(200, "", json!({"data": data, "model": "engine", "usage": usage}).to_string()).await;
}

/// Checks that an answer has the vectors of so many texts in their order, and pays for all of them.
fn is_about(answer: &Answer, count: u32) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let data: Vec<Value> =
        (0..count).map(|index| json!({"index": index, "embedding": format!("text {index}")})).collect();
    let usage = json!({"prompt_tokens": 2 * count, "total_tokens": 2 * count});
    assert_eq!(answer.json(), json!({"data": data, "model": "engine", "usage": usage}));
}

#[tokio::test]
async fn a_large_request_goes_to_several_backends_at_once_and_comes_back_as_one() {
    let mut backends = Backends::start(3).await;
    let gateway = Gateway::configured(&backends, ON).await;
    let mut client = embed(&gateway, 8).await;
    let mut parts = Vec::new();
    for _ in 0..3 {
        parts.push(backends.next().await);
    }
    let mut by = parts.iter().map(|part| part.backend).collect::<Vec<_>>();
    by.sort_unstable();
    assert_eq!(by, [0, 1, 2], "all at the same time");
    for part in parts.into_iter().rev() {
        answer(part).await;
    }
    is_about(&client.answer().await, 8);
    gateway.is_at_rest().await;
    assert_eq!(gateway.of_model("plimsoll_requests_total", &[("outcome", "ok")]).await, 1.0);
    assert_eq!(gateway.of_model("plimsoll_request_parts_total", &[]).await, 3.0);
    assert_eq!(gateway.of_model("plimsoll_tokens_total", &[("type", "input")]).await, 16.0);
}

#[tokio::test]
async fn more_parts_than_backends_are_all_answered() {
    let backends = Backends::start(2).await.play(answer);
    let gateway = Gateway::configured(&backends, ON).await;
    is_about(&embed(&gateway, 250).await.answer().await, 250);
    gateway.is_at_rest().await;
}

#[tokio::test]
async fn documents_that_were_ranked_in_parts_come_back_in_one_order_the_best_first() {
    let mut backends = Backends::start(2).await;
    let gateway = Gateway::configured(&backends, ON).await;
    let body = json!({"query": "q", "documents": ["2", "9", "4", "7"], "top_n": 3});
    let mut client = send(&gateway, "/v1/rerank", body).await;
    for _ in 0..2 {
        let part = backends.next().await;
        let documents = part.json()["documents"].as_array().unwrap().clone();
        assert_eq!((documents.len(), &part.json()["top_n"]), (2, &json!(2)));
        let score = |document: &Value| document.as_str().unwrap().parse::<f64>().unwrap();
        let mut results: Vec<Value> = documents
            .iter()
            .enumerate()
            .map(|(index, document)| json!({"index": index, "relevance_score": score(document)}))
            .collect();
        results.sort_by(|a, b| {
            b["relevance_score"].as_f64().partial_cmp(&a["relevance_score"].as_f64()).unwrap()
        });
        part.answer(200, "", json!({"results": results, "usage": {"total_tokens": 5}}).to_string()).await;
    }
    let answer = client.answer().await.json();
    let order: Vec<(u64, f64)> = answer["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| (result["index"].as_u64().unwrap(), result["relevance_score"].as_f64().unwrap()))
        .collect();
    assert_eq!(order, [(1, 9.0), (3, 7.0), (2, 4.0)]);
    assert_eq!(answer["usage"]["total_tokens"], 10);
}

#[tokio::test]
async fn a_part_that_fails_is_tried_elsewhere_whenever_it_does() {
    for fails_late in [false, true] {
        let mut backends = Backends::start(3).await;
        let gateway = Gateway::configured(&backends, ON).await;
        let mut client = embed(&gateway, 6).await;
        let (mut bad, good) = (backends.next().await, backends.next().await);
        let failed = (bad.backend, texts(&bad));
        if fails_late {
            bad.write("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"data\":[").await;
            bad.reset();
        } else {
            bad.answer(200, "", r#"{"data":[{"index":0}]}"#).await;
        }
        let again = backends.next().await;
        assert_eq!(texts(&again), failed.1);
        assert_ne!(again.backend, failed.0);
        answer(again).await;
        answer(good).await;
        is_about(&client.answer().await, 6);
        gateway.is_at_rest().await;
    }
}

#[tokio::test]
async fn what_is_refused_of_one_part_is_refused_of_all_and_the_others_end() {
    let mut backends = Backends::start(2).await;
    let gateway = Gateway::configured(&backends, ON).await;
    let mut client = embed(&gateway, 6).await;
    let (bad, mut other) = (backends.next().await, backends.next().await);
    bad.answer(400, "", r#"{"error":{"message":"a text is too long","code":"too_long"}}"#).await;
    let refused = client.answer().await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "too_long"));
    other.is_left().await;
    gateway.is_at_rest().await;
    assert_eq!(gateway.of_model("plimsoll_requests_total", &[("outcome", "client_error")]).await, 1.0);
}

#[tokio::test]
async fn who_leaves_ends_all_parts() {
    let mut backends = Backends::start(2).await;
    let gateway = Gateway::configured(&backends, ON).await;
    let client = embed(&gateway, 6).await;
    let (mut one, mut other) = (backends.next().await, backends.next().await);
    drop(client);
    one.is_left().await;
    other.is_left().await;
    gateway.is_at_rest().await;
}

#[tokio::test]
async fn parts_join_what_others_want() {
    let mut backends = Backends::start(2).await;
    let more = "batching: {enabled: true, max_items: 4, max_wait_ms: 1000}\nrouting: {policy: round_robin}\n";
    let gateway = Gateway::configured(&backends, more).await;
    let mut first = [embed(&gateway, 1).await, embed(&gateway, 1).await];
    let open = [backends.next().await, backends.next().await];
    let mut large = embed(&gateway, 5).await;
    let mut small = embed(&gateway, 1).await;
    let served =
        async || gateway.backend(0).await["in_flight"] == 3 && gateway.backend(1).await["in_flight"] == 2;
    eventually("all to wait", served).await;
    for call in open {
        answer(call).await;
    }
    for client in &mut first {
        is_about(&client.answer().await, 1);
    }
    let joined = [backends.next().await, backends.next().await];
    let mut sizes = joined.iter().map(|call| texts(call).len()).collect::<Vec<_>>();
    sizes.sort_unstable();
    assert_eq!(sizes, [2, 4], "three of the large one and the small one");
    for call in joined {
        answer(call).await;
    }
    is_about(&large.answer().await, 5);
    is_about(&small.answer().await, 1);
    gateway.is_at_rest().await;
}

#[tokio::test]
async fn it_goes_as_one_where_splitting_is_off_or_there_is_one_backend() {
    for (count, of_backend, more) in [
        (1, "batch: true", ON),
        (2, "batch: false", ON),
        (2, "batch: true", "batching: {enabled: true, max_items: 3, split: false}\n"),
        (2, "batch: true", "batching: {max_items: 3}\n"),
    ] {
        let mut backends = Backends::start(count).await.and(of_backend);
        let gateway = Gateway::configured(&backends, more).await;
        let mut client = embed(&gateway, 7).await;
        let whole = backends.next().await;
        assert_eq!(texts(&whole).len(), 7);
        answer(whole).await;
        assert_eq!(client.answer().await.status, 200);
    }
}
