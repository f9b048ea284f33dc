//! Embeddings of different callers that go to a backend as one call.

use serde_json::{Value, json};

use crate::stage::{Answer, Backends, Call, Client, Gateway, eventually, within};

/// With a wait so long that a slow machine does not send on those who are to wait for a call.
const ON: &str = "batching: {enabled: true, max_wait_ms: 1000}\n";

/// A client that has asked for the vectors of `input`.
async fn embed(gateway: &Gateway, input: Value) -> Client {
    embed_with(gateway, input, json!({}), &[]).await
}

async fn embed_with(gateway: &Gateway, input: Value, more: Value, fields: &[(&str, &str)]) -> Client {
    let mut body = json!({"model": gateway.model, "input": input});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut client = gateway.connect().await;
    client.send("POST", "/v1/embeddings", fields, &body.to_string()).await;
    client
}

/// Waits until so many requests are being served.
async fn being_served(gateway: &Gateway, count: u32) {
    let metric = async || gateway.of_model("plimsoll_requests_in_flight", &[]).await;
    eventually("requests to be served", async || metric().await == f64::from(count)).await;
}

/// The vector of a text.
fn vector(text: &Value) -> Value {
    let text = text.to_string();
    json!([text.len(), text.bytes().map(u64::from).sum::<u64>()])
}

fn texts(call: &Call) -> Vec<Value> {
    match call.json()["input"].clone() {
        Value::Array(texts) if texts.iter().all(Value::is_u64) => vec![Value::Array(texts)],
        Value::Array(texts) => texts,
        text => vec![text],
    }
}

/// Answers a call as an engine does, the last result first, since the order says nothing.
async fn answer(call: Call) {
    let texts = texts(&call);
    let item = |(index, text)| json!({"object": "embedding", "index": index, "embedding": vector(text)});
    let data: Vec<Value> = texts.iter().enumerate().map(item).rev().collect();
    let tokens = 10 * texts.len();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    let body = json!({"object": "list", "data": data, "model": "engine", "usage": usage});
    call.answer(200, "", body.to_string()).await;
}

/// Checks that an answer has the vectors of these texts, in their order.
fn is_about(answer: &Answer, texts: &[Value]) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    let mut data = answer["data"].as_array().unwrap().clone();
    data.sort_by_key(|item| item["index"].as_u64());
    let expected: Vec<Value> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| json!({"object": "embedding", "index": index, "embedding": vector(text)}))
        .collect();
    assert_eq!(data, expected);
    assert_eq!((&answer["object"], &answer["model"]), (&json!("list"), &json!("engine")));
}

/// A gateway with a call under way at its backend, and whoever waits for it.
async fn busy(backends: &mut Backends, more: &str) -> (Gateway, Client, Call) {
    let gateway = Gateway::configured(backends, more).await;
    let first = embed(&gateway, json!("first")).await;
    let call = backends.next().await;
    (gateway, first, call)
}

#[tokio::test]
async fn those_who_come_while_a_call_is_under_way_leave_as_one_and_get_what_is_theirs() {
    let mut backends = Backends::start(1).await;
    let (gateway, mut first, call) = busy(&mut backends, ON).await;
    assert_eq!(call.json()["input"], "first", "a backend with nothing to do is not kept waiting");
    let inputs = [json!("a"), json!(["bb", "ccc"]), json!("dd\"d")];
    let mut clients = Vec::new();
    for input in &inputs {
        clients.push(embed(&gateway, input.clone()).await);
    }
    being_served(&gateway, 4).await;
    assert!(backends.are_idle());
    answer(call).await;
    is_about(&first.answer().await, &[json!("first")]);
    let call = backends.next().await;
    assert_eq!(texts(&call).len(), 4, "{:?}", call.json());
    answer(call).await;
    let mut tokens = 0;
    for (client, input) in clients.iter_mut().zip(&inputs) {
        let answer = client.answer().await;
        is_about(&answer, input.as_array().unwrap_or(&vec![input.clone()]));
        tokens += answer.json()["usage"]["prompt_tokens"].as_u64().unwrap();
    }
    assert_eq!(tokens, 40, "what the engine counted, divided among them");
    gateway.is_at_rest().await;
    let batches = async |reason| {
        gateway.metric("plimsoll_batches_total", &[("backend", &backends.names[0]), ("reason", reason)]).await
    };
    assert_eq!((batches("idle").await, batches("returned").await), (1.0, 1.0));
    assert_eq!(gateway.of_model("plimsoll_requests_total", &[("outcome", "ok")]).await, 4.0);
    assert_eq!(gateway.of_model("plimsoll_tokens_total", &[("type", "input")]).await, 50.0);
}

#[tokio::test]
async fn callers_on_different_cores_share_a_call() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::on_two_cores(&backends, ON).await;
    let mut first = embed(&gateway, json!("first")).await;
    let call = backends.next().await;
    // A connection goes to the core that has the fewest.
    let all: Vec<Value> = (0..9).map(|n| json!(format!("text {n}"))).collect();
    let mut clients = Vec::new();
    for text in &all {
        clients.push(embed(&gateway, text.clone()).await);
    }
    let waiting = async || gateway.metric("plimsoll_client_connections", &[("core", "1")]).await;
    eventually("connections on both cores", async || waiting().await >= 4.0).await;
    being_served(&gateway, 10).await;
    // Whoever came last has been counted, but may be about to enter the lane on the other core.
    eventually("all to wait", async || gateway.backend(0).await["in_flight"] == 10).await;
    answer(call).await;
    is_about(&first.answer().await, &[json!("first")]);
    let call = backends.next().await;
    let mut sent = texts(&call).len();
    assert!(sent > 5, "those of both cores: {:?}", call.json());
    answer(call).await;
    while sent < all.len() {
        let late = backends.next().await;
        sent += texts(&late).len();
        answer(late).await;
    }
    for (client, text) in clients.iter_mut().zip(&all) {
        is_about(&client.answer().await, std::slice::from_ref(text));
    }
    gateway.is_at_rest().await;
}

#[tokio::test]
async fn arrays_of_tokens_are_joined_with_their_like() {
    let mut backends = Backends::start(1).await;
    let (gateway, mut first, call) = busy(&mut backends, ON).await;
    let mut tokens = embed(&gateway, json!([1, 2, 3])).await;
    let alone = backends.next().await;
    let (mut one, mut two) =
        (embed(&gateway, json!([4, 5])).await, embed(&gateway, json!([[6], [7, 8]])).await);
    being_served(&gateway, 4).await;
    assert!(backends.are_idle(), "texts and tokens do not go in one array");
    answer(alone).await;
    is_about(&tokens.answer().await, &[json!([1, 2, 3])]);
    let call_of_two = backends.next().await;
    assert_eq!(call_of_two.json()["input"], json!([[4, 5], [6], [7, 8]]));
    answer(call_of_two).await;
    is_about(&one.answer().await, &[json!([4, 5])]);
    is_about(&two.answer().await, &[json!([6]), json!([7, 8])]);
    answer(call).await;
    is_about(&first.answer().await, &[json!("first")]);
}

#[tokio::test]
async fn what_differs_in_anything_but_its_texts_is_not_joined() {
    let mut backends = Backends::start(1).await;
    let (gateway, _first, _call) = busy(&mut backends, ON).await;
    for more in [json!({"dimensions": 3}), json!({"encoding_format": "base64"}), json!({"user": "u"})] {
        let _client = embed_with(&gateway, json!("x"), more.clone(), &[]).await;
        let call = backends.next().await;
        assert_eq!((texts(&call), &call.json()["input"]), (vec![json!("x")], &json!("x")), "{more}");
        let name = more.as_object().unwrap().keys().next().unwrap();
        assert_eq!(call.json()[name], more[name]);
    }
}

#[tokio::test]
async fn where_it_is_off_or_the_backend_takes_no_arrays_everybody_goes_alone() {
    for (of_backend, more) in [("batch: true", ""), ("batch: false", ON)] {
        let mut backends = Backends::start(1).await.and(of_backend);
        let (gateway, _first, _call) = busy(&mut backends, more).await;
        let mut client = embed(&gateway, json!("second")).await;
        answer(backends.next().await).await;
        is_about(&client.answer().await, &[json!("second")]);
    }
}

#[tokio::test]
async fn one_callers_bad_input_fails_nobody_else() {
    for status in [400, 413, 422, 500] {
        let mut backends = Backends::start(1).await;
        let (gateway, mut first, call) = busy(&mut backends, ON).await;
        let mut good = embed(&gateway, json!("good")).await;
        let mut bad = embed(&gateway, json!("bad")).await;
        let mut better = embed(&gateway, json!(["very", "good"])).await;
        being_served(&gateway, 4).await;
        answer(call).await;
        first.answer().await;
        let joined = backends.next().await;
        assert_eq!(texts(&joined).len(), 4);
        joined.answer(status, "", r#"{"error":{"message":"bad","type":"invalid_request_error"}}"#).await;
        for _ in 0..3 {
            let call = backends.next().await;
            match texts(&call).contains(&json!("bad")) {
                true => call.answer(400, "", r#"{"error":{"message":"bad text","code":"bad"}}"#).await,
                false => answer(call).await,
            }
        }
        is_about(&good.answer().await, &[json!("good")]);
        is_about(&better.answer().await, &[json!("very"), json!("good")]);
        let refused = bad.answer().await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "bad"), "after {status}");
        let undone = [("backend", backends.names[0].as_str())];
        assert_eq!(gateway.metric("plimsoll_batches_undone_total", &undone).await, 1.0);
        gateway.is_at_rest().await;
    }
}

#[tokio::test]
async fn where_an_answer_is_not_one_for_each_everybody_asks_alone_and_goes_on_to() {
    let item = |index: u64| json!({"index": index, "embedding": [1.0]});
    for data in [
        json!({"data": [item(0)]}),
        json!({"data": [item(0), item(0)]}),
        json!({"data": [item(0), item(2)]}),
        json!({"data": [item(0), item(1), item(2)]}),
        json!({"data": [{"embedding": [1.0]}, item(1)]}),
        json!({"object": "list"}),
        json!([{"data": [item(0)]}, {"data": [item(0)]}]),
    ] {
        let mut backends = Backends::start(1).await;
        let (gateway, mut first, call) = busy(&mut backends, ON).await;
        let mut clients = [embed(&gateway, json!("a")).await, embed(&gateway, json!("b")).await];
        being_served(&gateway, 3).await;
        answer(call).await;
        first.answer().await;
        backends.next().await.answer(200, "", data.to_string()).await;
        for _ in 0..2 {
            answer(backends.next().await).await;
        }
        is_about(&clients[0].answer().await, &[json!("a")]);
        is_about(&clients[1].answer().await, &[json!("b")]);
        let _one = embed(&gateway, json!("c")).await;
        let _open = backends.next().await;
        let _other = embed(&gateway, json!("d")).await;
        assert_eq!(texts(&backends.next().await), [json!("d")], "nobody waits for the other");
    }
}

#[tokio::test]
async fn a_call_that_breaks_is_held_against_its_backend_once() {
    for broken in [true, false] {
        let mut backends = Backends::start(2).await;
        let more = format!("{ON}routing: {{policy: round_robin, consecutive_failures: 2}}\n");
        let gateway = Gateway::configured(&backends, &more).await;
        // One at each of the two, and then three more at each.
        let mut clients = Vec::new();
        for text in ["a", "b", "c", "d", "e", "f", "g", "h"] {
            clients.push(embed(&gateway, json!(text)).await);
            being_served(&gateway, clients.len() as u32).await;
        }
        let (one, other) = (backends.next().await, backends.next().await);
        let failing = one.backend;
        answer(one).await;
        let mut joined = backends.next().await;
        assert_eq!((joined.backend, texts(&joined).len()), (failing, 3));
        if broken {
            joined.write("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{").await;
            joined.reset();
        } else {
            joined.answer(503, "", "{}").await;
        }
        for _ in 0..3 {
            let again = backends.next().await;
            assert_eq!(again.backend, other.backend);
            answer(again).await;
        }
        assert_eq!(
            gateway.backend(failing).await["service"],
            "in_service",
            "it failed once, not three times"
        );
        answer(other).await;
        answer(backends.next().await).await;
        for client in &mut clients {
            assert_eq!(client.answer().await.status, 200);
        }
        gateway.is_at_rest().await;
    }
}

#[tokio::test]
async fn a_call_that_breaks_is_tried_elsewhere_by_each_alone() {
    let mut backends = Backends::start(2).await;
    let more = format!("{ON}routing: {{policy: round_robin}}\n");
    let gateway = Gateway::configured(&backends, &more).await;
    // One at each of the two, and then two more at each.
    let mut clients = Vec::new();
    for text in ["a", "b", "c", "d", "e", "f"] {
        clients.push((embed(&gateway, json!(text)).await, text));
        being_served(&gateway, clients.len() as u32).await;
    }
    let (one, other) = (backends.next().await, backends.next().await);
    assert_ne!(one.backend, other.backend);
    answer(one).await;
    let mut joined = backends.next().await;
    assert_eq!(texts(&joined).len(), 2);
    joined.write("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{").await;
    joined.reset();
    for _ in 0..2 {
        let again = backends.next().await;
        assert_eq!((again.backend, texts(&again).len()), (other.backend, 1), "elsewhere and alone");
        answer(again).await;
    }
    answer(other).await;
    answer(backends.next().await).await;
    for (client, text) in &mut clients {
        is_about(&client.answer().await, &[json!(text)]);
    }
    gateway.is_at_rest().await;
}

#[tokio::test]
async fn all_are_told_to_come_later_where_the_backend_pushes_back() {
    let mut backends = Backends::start(1).await;
    let (gateway, mut first, call) = busy(&mut backends, ON).await;
    let mut clients = [embed(&gateway, json!("a")).await, embed(&gateway, json!("b")).await];
    being_served(&gateway, 3).await;
    answer(call).await;
    first.answer().await;
    backends.next().await.answer(429, "retry-after: 7\r\n", "{}").await;
    for client in &mut clients {
        let refused = client.answer().await;
        assert_eq!((refused.status, refused.field("retry-after")), (429, Some("7")));
    }
}

#[tokio::test]
async fn who_leaves_before_the_batch_does_is_not_in_it() {
    let mut backends = Backends::start(1).await;
    let (gateway, mut first, call) = busy(&mut backends, ON).await;
    let mut clients = Vec::new();
    for text in ["oldest", "stays", "leaves", "stays too"] {
        clients.push(embed(&gateway, json!(text)).await);
    }
    being_served(&gateway, 5).await;
    drop(clients.remove(2));
    drop(clients.remove(0));
    being_served(&gateway, 3).await;
    answer(call).await;
    first.answer().await;
    let call = backends.next().await;
    assert_eq!(call.json()["input"], json!(["stays", "stays too"]));
    answer(call).await;
    is_about(&clients[0].answer().await, &[json!("stays")]);
    is_about(&clients[1].answer().await, &[json!("stays too")]);
    gateway.is_at_rest().await;
}

#[tokio::test]
async fn who_leaves_after_it_costs_nobody_his_answer_and_the_last_one_ends_the_call() {
    let mut backends = Backends::start(1).await;
    let (gateway, mut first, call) = busy(&mut backends, ON).await;
    let mut clients = Vec::new();
    for text in ["a", "b", "c"] {
        clients.push(embed(&gateway, json!(text)).await);
    }
    being_served(&gateway, 4).await;
    answer(call).await;
    first.answer().await;
    let call = backends.next().await;
    drop(clients.remove(0));
    being_served(&gateway, 2).await;
    answer(call).await;
    is_about(&clients[0].answer().await, &[json!("b")]);
    is_about(&clients[1].answer().await, &[json!("c")]);

    let (mut second, call) = (embed(&gateway, json!("second")).await, backends.next().await);
    let clients = [embed(&gateway, json!("d")).await, embed(&gateway, json!("e")).await];
    being_served(&gateway, 3).await;
    answer(call).await;
    second.answer().await;
    let mut call = backends.next().await;
    drop(clients);
    call.is_left().await;
    gateway.is_at_rest().await;
    let mut after = embed(&gateway, json!("after")).await;
    answer(backends.next().await).await;
    is_about(&after.answer().await, &[json!("after")]);
}

#[tokio::test]
async fn a_full_batch_leaves_while_another_is_under_way() {
    let mut backends = Backends::start(1).await;
    let more = "batching: {enabled: true, max_items: 2}\n";
    let (gateway, mut first, call) = busy(&mut backends, more).await;
    let mut clients = [embed(&gateway, json!("a")).await, embed(&gateway, json!("b")).await];
    let full = backends.next().await;
    assert_eq!(full.json()["input"], json!(["a", "b"]));
    answer(full).await;
    is_about(&clients[0].answer().await, &[json!("a")]);
    is_about(&clients[1].answer().await, &[json!("b")]);
    answer(call).await;
    first.answer().await;
    let mut large = embed(&gateway, json!(["a", "b", "c"])).await;
    answer(backends.next().await).await;
    is_about(&large.answer().await, &[json!("a"), json!("b"), json!("c")]);
}

#[tokio::test]
async fn tenants_share_a_call_only_where_they_may() {
    let keys = "keys: [{tenant: one, key: key-of-tenant-one}, {tenant: two, key: key-of-tenant-two}]\n";
    for (mix, calls) in [(false, 2), (true, 1)] {
        let mut backends = Backends::start(1).await;
        let more = format!("{keys}batching: {{enabled: true, mix_tenants: {mix}, max_wait_ms: 1000}}\n");
        let gateway = Gateway::configured(&backends, &more).await;
        let by = [
            [("authorization", "Bearer key-of-tenant-one")],
            [("authorization", "Bearer key-of-tenant-two")],
        ];
        let mut clients = Vec::new();
        let mut open = Vec::new();
        for key in by.iter().take(calls) {
            clients.push(embed_with(&gateway, json!("first"), json!({}), key).await);
            open.push(backends.next().await);
        }
        for key in &by {
            clients.push(embed_with(&gateway, json!("second"), json!({}), key).await);
        }
        being_served(&gateway, calls as u32 + 2).await;
        for call in open {
            answer(call).await;
        }
        for _ in 0..calls {
            let call = backends.next().await;
            assert_eq!(texts(&call).len(), 2 / calls);
            answer(call).await;
        }
        for client in &mut clients {
            assert_eq!(client.answer().await.status, 200);
        }
    }
}

#[tokio::test]
async fn the_embedded_fleet_gives_each_the_vectors_that_it_gives_him_alone() {
    let gateway = Gateway::start("sim-embed", ON, None).await;
    let ask = async |text: &str| {
        let mut client = embed_with(&gateway, json!([text]), json!({"dimensions": 16}), &[]).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["data"].clone()
    };
    let all: Vec<String> = (0..48).map(|n| format!("harbour number {n} ").repeat(1 + n % 7)).collect();
    let mut alone = Vec::new();
    for text in &all {
        alone.push(ask(text).await);
    }
    let mut clients = Vec::new();
    for text in &all {
        clients.push(embed_with(&gateway, json!([text]), json!({"dimensions": 16}), &[]).await);
    }
    for (client, alone) in clients.iter_mut().zip(alone) {
        let answer = within("a part", client.answer()).await;
        assert_eq!(answer.json()["data"], alone);
    }
    gateway.is_at_rest().await;
}
