//! Bodies pass as they are, but for splices that have a reason.

use serde_json::json;

use crate::stage::{Backends, Gateway};

/// A body that no two JSON libraries would write alike.
fn odd(model: &str) -> String {
    format!(
        " {{\n\t\"future_field\" : {{\"a\":[1 ,2],\"big\":123456789012345678901234567890,\"e\":1E+400}},\r\n\
         \"model\"\t:\"{model}\" ,\"messages\":[{{\"content\":\"h\\u00e9llo \\ud83d\\ude00 日本 \\/\",\"role\":\"user\"}}],\
         \"temperature\":1.0,\"zero\":-0.0,\"x\":1,\"x\":2 }}\n"
    )
}

#[tokio::test]
async fn every_byte_of_a_body_reaches_the_backend() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let body = odd(&gateway.model);
    let mut client = gateway.connect().await;
    for path in ["/v1/chat/completions", "/v1/embeddings", "/v1/responses", "/v1/messages"] {
        client.send("POST", path, &[], &body).await;
        let call = backends.next().await;
        assert_eq!(String::from_utf8_lossy(&call.body), body, "{path}");
        call.say("hi").await;
        client.answer().await;
    }
}

#[tokio::test]
async fn a_body_in_chunks_arrives_whole_and_with_its_length() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let body = odd(&gateway.model);
    let mut client = gateway.connect().await;
    client.write("POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for piece in body.as_bytes().chunks(7) {
        client.write([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()).await;
    }
    client.write("0\r\n\r\n").await;
    let call = backends.next().await;
    assert_eq!(call.body, body.as_bytes());
    assert_eq!(call.field("transfer-encoding"), None);
    call.say("hi").await;
    client.answer().await;
}

#[tokio::test]
async fn a_large_body_arrives_whole() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let body = gateway.question(json!({"padding": "0123456789abcdef".repeat(128 << 10)}));
    let mut client = gateway.connect().await;
    let asking = client.send("POST", "/v1/chat/completions", &[], &body);
    let (call, ()) = tokio::join!(backends.next(), asking);
    assert!(call.body == body.as_bytes());
    call.say("hi").await;
    client.answer().await;
}

#[tokio::test]
async fn an_alias_takes_the_place_of_the_name_and_of_nothing_else() {
    let mut backends = Backends::start(1).await;
    let (model, address) = ("house-name", backends.addresses[0]);
    let yaml = format!(
        "backends:\n  - {{name: aliased, url: \"http://{address}\", models: [{model}], aliases: {{{model}: \"org/\\\"Real\\\"-7B\"}}}}\n"
    );
    let gateway = Gateway::start(model, &yaml, None).await;
    let body = odd(model);
    let mut client = gateway.connect().await;
    client.send("POST", "/v1/chat/completions", &[], &body).await;
    let call = backends.next().await;
    let expected = body.replacen("\"house-name\"", "\"org/\\\"Real\\\"-7B\"", 1);
    assert_eq!(String::from_utf8_lossy(&call.body), expected);
    call.say("hi").await;
    client.answer().await;
}

#[tokio::test]
async fn every_byte_of_a_plain_answer_reaches_the_client() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let said = " {\"n\":12345678901234567890, \"t\":\"\\u00e9 😀\" ,\"x\":1,\"x\":2}\n\n";
    let mut client = gateway.send_chat(json!({})).await;
    backends.next().await.answer(200, "", said).await;
    assert_eq!(client.answer().await.text(), said);

    let mut client = gateway.send_chat(json!({})).await;
    let mut call = backends.next().await;
    call.write("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    call.piece(&said[..9]).await;
    call.piece(&said[9..]).await;
    call.close_stream().await;
    let answer = client.answer().await;
    assert_eq!((answer.text().as_str(), answer.field("content-type")), (said, Some("application/json")));
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_whole() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.send_chat(json!({})).await;
    let mut call = backends.next().await;
    call.write("HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{\"a\":1}").await;
    drop(call);
    assert_eq!(client.answer().await.text(), "{\"a\":1}");
}

#[tokio::test]
async fn every_byte_of_a_stream_reaches_the_client_however_it_was_cut() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    // With usage asked for, nothing is taken out.
    let more = json!({"stream": true, "stream_options": {"include_usage": true}});
    let mut client = gateway.send_chat(more).await;
    let mut call = backends.next().await;
    let stream = ": hello\r\n\r\nid: 7\r\nevent: x\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"é😀\"}}], \"n\":1e400}\r\n\r\n\
                  data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n";
    call.begin().await;
    let mut rest = stream;
    while !rest.is_empty() {
        let cut =
            (1..=rest.len()).find(|at| *at >= 11.min(rest.len()) && rest.is_char_boundary(*at)).unwrap();
        call.piece(&rest[..cut]).await;
        rest = &rest[cut..];
    }
    call.close_stream().await;
    assert_eq!(client.answer().await.text(), stream);
}
