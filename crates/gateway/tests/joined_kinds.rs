//! Rerank, score and completions of different callers that go to a backend as one call.

use serde_json::{Value, json};

use crate::stage::{Backends, Call, Client, Gateway, eventually};

const ON: &str = "batching: {enabled: true, max_wait_ms: 1000}\n";

/// A client that has sent `body` to `path`.
async fn send(gateway: &Gateway, path: &str, mut body: Value) -> Client {
    body["model"] = json!(gateway.model);
    let mut client = gateway.connect().await;
    client.send("POST", path, &[], &body.to_string()).await;
    client
}

async fn being_served(gateway: &Gateway, count: u32) {
    let metric = async || gateway.of_model("plimsoll_requests_in_flight", &[]).await;
    eventually("requests to be served", async || metric().await == f64::from(count)).await;
}

/// The call that holds those of `bodies` that came while another was under way, and those who wait for it.
async fn joined(backends: &mut Backends, path: &str, bodies: &[Value]) -> (Gateway, Vec<Client>, Call) {
    let gateway = Gateway::configured(backends, ON).await;
    let mut clients = vec![send(&gateway, path, bodies[0].clone()).await];
    let first = backends.next().await;
    for body in &bodies[1..] {
        clients.push(send(&gateway, path, body.clone()).await);
    }
    being_served(&gateway, bodies.len() as u32).await;
    assert!(backends.are_idle(), "they wait for the one that is under way");
    first.answer(200, "", r#"{"results":[],"data":[],"choices":[]}"#).await;
    clients.remove(0).answer().await;
    let call = backends.next().await;
    (gateway, clients, call)
}

#[tokio::test]
async fn documents_for_one_query_are_ranked_in_one_call() {
    let mut backends = Backends::start(1).await;
    let of = |documents: Value, top: u32| json!({"query": "q", "documents": documents, "top_n": top});
    let bodies = [of(json!(["x"]), 1), of(json!(["a", "b"]), 1), of(json!(["c", "d"]), 5)];
    let (gateway, mut clients, call) = joined(&mut backends, "/rerank", &bodies).await;
    assert_eq!((&call.json()["documents"], &call.json()["top_n"]), (&json!(["a", "b", "c", "d"]), &json!(4)));
    let results: Vec<Value> = [(3, 0.9), (1, 0.8), (0, 0.5), (2, 0.1)]
        .map(|(index, score)| json!({"index": index, "relevance_score": score}))
        .into();
    let usage = json!({"prompt_tokens": 16, "total_tokens": 16});
    call.answer(200, "", json!({"results": results, "usage": usage}).to_string()).await;
    let result = |index: u32, score: f64| json!({"index": index, "relevance_score": score});
    let usage = json!({"prompt_tokens": 8, "total_tokens": 8});
    for (client, results) in
        clients.iter_mut().zip([json!([result(1, 0.8)]), json!([result(1, 0.9), result(0, 0.1)])])
    {
        assert_eq!(client.answer().await.json(), json!({"results": results, "usage": usage}));
    }
    gateway.is_at_rest().await;
}

#[tokio::test]
async fn documents_for_different_queries_are_not() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::configured(&backends, ON).await;
    for query in ["one", "two"] {
        let _client = send(&gateway, "/v1/rerank", json!({"query": query, "documents": ["a"]})).await;
        assert_eq!(backends.next().await.json()["query"], query);
    }
}

#[tokio::test]
async fn pairs_are_scored_in_one_call_however_they_are_given() {
    let mut backends = Backends::start(1).await;
    let bodies = [
        json!({"text_1": "x", "text_2": "y"}),
        json!({"text_1": "a", "text_2": ["b", "c"]}),
        json!({"text_1": ["d", "e"], "text_2": ["f", "g"]}),
    ];
    let (gateway, mut clients, call) = joined(&mut backends, "/v1/score", &bodies).await;
    assert_eq!(call.json()["text_1"], json!(["a", "a", "d", "e"]));
    assert_eq!(call.json()["text_2"], json!(["b", "c", "f", "g"]));
    let score = |index: u32, score: f64| json!({"index": index, "object": "score", "score": score});
    let data: Vec<Value> = (0..4).map(|index| score(index, f64::from(index))).collect();
    call.answer(200, "", json!({"data": data}).to_string()).await;
    for (client, from) in clients.iter_mut().zip([0.0, 2.0]) {
        let mine = [score(0, from), score(1, from + 1.0)];
        assert_eq!(client.answer().await.json(), json!({"data": mine}));
    }
    gateway.is_at_rest().await;
}

/// A completion of so many tokens.
fn choice(index: u32, tokens: usize) -> Value {
    json!({"index": index, "text": "t", "logprobs": {"tokens": vec!["t"; tokens]}, "finish_reason": "stop"})
}

#[tokio::test]
async fn short_completions_are_written_in_one_call_and_each_pays_for_his() {
    let mut backends = Backends::start(1).await;
    let of = |prompt: Value| json!({"prompt": prompt, "max_tokens": 8, "logprobs": 0});
    let bodies = [of(json!("xxxx")), of(json!("aaaa")), of(json!(["bbbb", "cccc"]))];
    let (gateway, mut clients, call) = joined(&mut backends, "/v1/completions", &bodies).await;
    assert_eq!(call.json()["prompt"], json!(["aaaa", "bbbb", "cccc"]));
    let usage = json!({"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21});
    let choices = [choice(0, 2), choice(1, 3), choice(2, 7)];
    call.answer(200, "", json!({"choices": choices, "usage": usage}).to_string()).await;
    let usage = |prompt: u64, written: u64| json!({"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written});
    let expected = [
        json!({"choices": [choice(0, 2)], "usage": usage(3, 2)}),
        json!({"choices": [choice(0, 3), choice(1, 7)], "usage": usage(6, 10)}),
    ];
    for (client, expected) in clients.iter_mut().zip(expected) {
        assert_eq!(client.answer().await.json(), expected);
    }
    gateway.is_at_rest().await;
    assert_eq!(gateway.of_model("plimsoll_tokens_total", &[("type", "output")]).await, 12.0);
}

#[tokio::test]
async fn completions_of_which_nobody_can_tell_how_long_each_is_are_asked_for_alone_from_then_on() {
    let mut backends = Backends::start(1).await;
    let of = |prompt: &str| json!({"prompt": prompt, "max_tokens": 8, "logprobs": 0});
    let bodies = [of("x"), of("a"), of("b")];
    let (gateway, mut clients, call) = joined(&mut backends, "/v1/completions", &bodies).await;
    let plain = |index: u32| json!({"index": index, "text": "t", "logprobs": null});
    let answer = |choices: Value, written: u32| {
        let usage = json!({"prompt_tokens": 4, "completion_tokens": written});
        json!({"choices": choices, "usage": usage}).to_string()
    };
    call.answer(200, "", answer(json!([plain(0), plain(1)]), 5)).await;
    for _ in 0..2 {
        backends.next().await.answer(200, "", answer(json!([plain(0)]), 2)).await;
    }
    for client in &mut clients {
        assert_eq!(client.answer().await.json()["usage"]["completion_tokens"], 2);
    }
    let _one = send(&gateway, "/v1/completions", of("c")).await;
    let _open = backends.next().await;
    let _other = send(&gateway, "/v1/completions", of("d")).await;
    assert_eq!(backends.next().await.json()["prompt"], "d", "nobody waits for the other");
}

#[tokio::test]
async fn what_is_streamed_or_long_or_has_a_seed_is_sent_as_it_came() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::configured(&backends, ON).await;
    for more in
        [json!({"stream": true}), json!({"max_tokens": 500}), json!({"seed": 1}), json!({"echo": true})]
    {
        let mut open = Vec::new();
        for prompt in ["a", "b"] {
            let mut body = json!({"prompt": prompt, "max_tokens": 8, "logprobs": 0});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            open.push(send(&gateway, "/v1/completions", body).await);
            assert_eq!(backends.next().await.json()["prompt"], prompt);
        }
    }
}
