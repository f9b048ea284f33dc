//! A client that leaves frees its backend at once, and everything that was counted is given back.

use serde_json::json;

use crate::stage::{Backends, Gateway, Http2, within};

async fn is_given_back(gateway: &Gateway, backend: &str) {
    gateway.is_at_rest().await;
    assert_eq!(gateway.of_model("plimsoll_requests_total", &[("outcome", "cancelled")]).await, 1.0);
    let cancelled = [("backend", backend), ("outcome", "cancelled")];
    assert_eq!(gateway.metric("plimsoll_attempts_total", &cancelled).await, 1.0);
    assert_eq!(gateway.of_model("plimsoll_retries_total", &[]).await, 0.0);
    assert_eq!(gateway.backend(0).await["failures_in_a_row"], 0, "that a client leaves is nobody's failure");
}

#[tokio::test]
async fn leaving_a_stream_closes_it_at_the_backend() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.stream().await;
    let mut call = backends.next().await;
    call.begin_with("once").await;
    client.begun().await;
    client.token().await;
    assert_eq!(gateway.backend(0).await["in_flight"], 1);
    drop(client);
    call.is_left().await;
    is_given_back(&gateway, &backends.names[0]).await;
}

#[tokio::test]
async fn leaving_before_the_head_closes_the_request_at_the_backend() {
    for stream in [false, true] {
        let mut backends = Backends::start(2).await;
        let gateway = Gateway::before(&backends).await;
        let client = gateway.send_chat(json!({"stream": stream})).await;
        let mut call = backends.next().await;
        let fleet = gateway.fleet().await;
        assert_eq!(
            (&fleet["in_flight"], &fleet["backends"][call.backend]["in_flight"]),
            (&json!(1), &json!(1))
        );
        // When a plain answer's prompt has been read nobody sees.
        let queued = fleet["backends"][call.backend]["queued_prompt_tokens"].as_u64().unwrap();
        assert_eq!(queued > 0, stream);
        drop(client);
        call.is_left().await;
        is_given_back(&gateway, &backends.names[call.backend]).await;
        assert!(backends.are_idle(), "nobody else is asked");
    }
}

#[tokio::test]
async fn leaving_in_the_middle_of_a_plain_answer_closes_it_at_the_backend() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let client = gateway.send_chat(json!({})).await;
    let mut call = backends.next().await;
    call.write("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{").await;
    drop(client);
    call.is_left().await;
    is_given_back(&gateway, &backends.names[0]).await;
}

#[tokio::test]
async fn leaving_while_signs_of_life_come_closes_the_request_at_the_backend() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::configured(&backends, "pipeline: {hold_headers_ms: 0}\n").await;
    let mut client = gateway.stream().await;
    let mut call = backends.next().await;
    client.begun().await;
    drop(client);
    call.is_left().await;
    is_given_back(&gateway, &backends.names[0]).await;
}

#[tokio::test]
async fn leaving_while_the_last_of_several_attempts_runs_gives_everything_back() {
    let mut backends = Backends::start(2).await;
    let gateway = Gateway::before(&backends).await;
    let client = gateway.stream().await;
    backends.next().await.reset();
    let mut call = backends.next().await;
    drop(client);
    call.is_left().await;
    gateway.is_at_rest().await;
    assert_eq!(gateway.of_model("plimsoll_requests_total", &[("outcome", "cancelled")]).await, 1.0);
}

#[tokio::test]
async fn leaving_after_done_is_a_success() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.stream().await;
    let mut call = backends.next().await;
    call.begin_with("once").await;
    call.event("[DONE]").await;
    client.begun().await;
    client.token().await;
    assert_eq!(client.event().await.unwrap(), "data: [DONE]");
    drop(client);
    call.is_left().await;
    gateway.is_at_rest().await;
    assert_eq!(gateway.of_model("plimsoll_requests_total", &[("outcome", "ok")]).await, 1.0);
}

#[tokio::test]
async fn resetting_a_stream_of_http2_closes_it_at_the_backend_and_no_other() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = Http2::connect(gateway.address).await;
    let question = gateway.question(json!({"stream": true}));
    let (left, stays) =
        (client.post("/v1/chat/completions", &question), client.post("/v1/chat/completions", &question));
    let (mut first, mut second) = (backends.next().await, backends.next().await);
    first.begin_with("once").await;
    second.begin_with("once").await;
    let (left, stays) = (within("a head", left).await.unwrap(), within("a head", stays).await.unwrap());
    drop(left);
    // Which call was whose is not known: one of the two is left.
    let stays_at = tokio::select! {
        () = first.is_left() => second,
        () = second.is_left() => first,
    };
    stays_at.finish().await;
    let body = http_body_util::BodyExt::collect(stays.into_body());
    let body = within("the other stream", body).await.unwrap().to_bytes();
    assert!(body.ends_with(b"data: [DONE]\n\n"));
    is_given_back(&gateway, &backends.names[0]).await;
}

#[tokio::test]
async fn resetting_a_request_of_http2_before_its_head_closes_it_at_the_backend() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = Http2::connect(gateway.address).await;
    let mut asking = Box::pin(client.post("/v1/chat/completions", &gateway.question(json!({}))));
    let mut call = tokio::select! {
        call = backends.next() => call,
        _ = &mut asking => panic!("nothing was answered"),
    };
    drop(asking);
    call.is_left().await;
    is_given_back(&gateway, &backends.names[0]).await;
}

#[tokio::test]
async fn many_clients_that_leave_at_once_leave_nothing_behind() {
    let mut backends = Backends::start(2).await;
    let gateway = Gateway::before(&backends).await;
    let (mut clients, mut calls) = (Vec::new(), Vec::new());
    for index in 0..40 {
        let mut client = gateway.send_chat(json!({"stream": index % 2 == 0})).await;
        let mut call = backends.next().await;
        if index % 4 == 0 {
            call.begin_with("once").await;
            client.begun().await;
        }
        clients.push(client);
        calls.push(call);
    }
    assert_eq!(gateway.fleet().await["in_flight"], 40);
    drop(clients);
    for call in &mut calls {
        call.is_left().await;
    }
    gateway.is_at_rest().await;
    assert_eq!(gateway.of_model("plimsoll_requests_total", &[("outcome", "cancelled")]).await, 40.0);
}
