//! Whatever protocol a caller speaks and whatever a backend speaks, the same happens: every cell of one table.

use bytes::Bytes;
use http_body_util::BodyExt;
use plimsoll_engines::grpc::{Code, Status};
use plimsoll_proto::plimsoll::v1;
use serde_json::{Value, json};

use crate::stage::{Backends, Call, Client, Gateway, Grpc, Http2, Messages, within};

const CHAT: &str = "/v1/chat/completions";

#[derive(Debug, Clone, Copy, PartialEq)]
enum Front {
    Http1,
    Http2,
    Grpc,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Back {
    OpenAi,
    /// Another gateway, over gRPC, with the same backends behind it.
    Plimsoll,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Ok,
    BackendError,
    Cancel,
    Deadline,
    Refused,
}

/// What a caller was told, in the words of any protocol.
#[derive(Debug, PartialEq)]
enum Told {
    Answer { text: String, tool: String, finish: String, usage: [u64; 3] },
    Error { status: u16, code: String, param: Option<String>, message: String },
}

/// A request on its way. Dropping it is how the caller leaves.
enum Asking {
    Http1(Client),
    Http2(Http2, Box<dyn Future<Output = hyper::Result<http::Response<hyper::body::Incoming>>> + Unpin>),
    Grpc(Grpc, Box<Messages>),
}

async fn ask(front: Front, gateway: &Gateway, stream: bool, patience: Option<u32>) -> Asking {
    let body = gateway.question(json!({"stream": stream, "stream_options": {"include_usage": true}}));
    let millis = patience.map(|millis| format!("{millis}m"));
    let seconds = patience.map(|millis| format!("{}", f64::from(millis) / 1e3));
    let json = [("content-type", "application/json")];
    let timeout = seconds.as_deref().map(|seconds| ("x-stainless-read-timeout", seconds));
    let fields: Vec<_> = json.into_iter().chain(timeout).collect();
    match front {
        Front::Http1 => {
            let mut client = gateway.connect().await;
            client.send("POST", CHAT, &fields, &body).await;
            Asking::Http1(client)
        }
        Front::Http2 => {
            let mut client = Http2::connect(gateway.address).await;
            let answer = client.send(CHAT, &fields, Bytes::from(body));
            Asking::Http2(client, Box::new(Box::pin(answer)))
        }
        Front::Grpc => {
            let mut client = Grpc::connect(gateway.address).await;
            let content = v1::content::Form::Text("Hello?".into());
            let message = v1::ChatMessage {
                role: Some("user".into()),
                content: Some(v1::Content { form: Some(content) }),
                ..Default::default()
            };
            let request = v1::ChatRequest {
                model: gateway.model.clone(),
                messages: vec![message],
                ..Default::default()
            };
            let metadata: Vec<_> =
                millis.as_deref().map(|millis| ("grpc-timeout", millis)).into_iter().collect();
            let method = if stream { "ChatStream" } else { "Chat" };
            let messages = client.call(method, &metadata, &request);
            Asking::Grpc(client, Box::new(messages))
        }
    }
}

impl Asking {
    /// Leaves: at once, or after the first token of a stream.
    async fn leave(self, stream: bool) {
        match self {
            Self::Http1(mut client) if stream => {
                client.begun().await;
                client.token().await;
            }
            Self::Http2(_client, answer) if stream => {
                let answer = within("a head", answer).await.unwrap();
                assert!(within("a token", answer.into_body().frame()).await.is_some());
            }
            Self::Grpc(_client, mut messages) if stream => {
                assert!(messages.next::<v1::ChatStreamResponse>().await.is_some());
            }
            _ => {}
        }
    }

    async fn told(self, stream: bool) -> Told {
        match self {
            Self::Http1(mut client) => {
                let answer = client.answer().await;
                of_http(answer.status, &answer.body, stream)
            }
            Self::Http2(_client, answer) => {
                let (parts, body) = within("a head", answer).await.unwrap().into_parts();
                let body = within("the body", body.collect()).await.unwrap().to_bytes();
                of_http(parts.status.as_u16(), &body, stream)
            }
            Self::Grpc(_client, messages) if stream => {
                let (messages, status) = messages.all::<v1::ChatStreamResponse>().await;
                of_grpc(messages.iter().map(of_chunk).collect(), status)
            }
            Self::Grpc(_client, messages) => {
                let (messages, status) = messages.all::<v1::ChatResponse>().await;
                of_grpc(messages.iter().map(of_response).collect(), status)
            }
        }
    }
}

fn of_http(status: u16, body: &[u8], stream: bool) -> Told {
    let text = std::str::from_utf8(body).unwrap();
    if status != 200 {
        let document: Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("{status} {text}"));
        let said = |name: &str| document["error"][name].as_str().map(str::to_owned);
        let (code, message) = (said("code").unwrap(), said("message").unwrap());
        return Told::Error { status, code, param: said("param"), message };
    }
    if !stream {
        return joined(&[serde_json::from_str(text).unwrap()]);
    }
    let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let (last, data) = data.split_last().unwrap();
    assert_eq!(*last, "[DONE]");
    joined(&data.iter().map(|data| serde_json::from_str(data).unwrap()).collect::<Vec<_>>())
}

/// The answer that these documents make.
fn joined(documents: &[Value]) -> Told {
    let (mut text, mut tool, mut finish, mut usage) = (String::new(), String::new(), String::new(), [0; 3]);
    for document in documents {
        for choice in document["choices"].as_array().unwrap() {
            let said = if choice["delta"].is_object() { &choice["delta"] } else { &choice["message"] };
            text += said["content"].as_str().unwrap_or("");
            let function = &said["tool_calls"][0]["function"];
            tool += function["name"].as_str().unwrap_or("");
            tool += function["arguments"].as_str().unwrap_or("");
            finish += choice["finish_reason"].as_str().unwrap_or("");
        }
        if document["usage"].is_object() {
            let cached = &document["usage"]["prompt_tokens_details"]["cached_tokens"];
            let figures =
                [&document["usage"]["prompt_tokens"], &document["usage"]["completion_tokens"], cached];
            usage = figures.map(|figure| figure.as_u64().unwrap());
        }
    }
    Told::Answer { text, tool, finish, usage }
}

fn of_grpc(messages: Vec<Value>, status: Status) -> Told {
    if status.code == Code::Ok {
        return joined(&messages);
    }
    assert!(messages.is_empty());
    let error = status.error.expect("an ErrorInfo");
    assert_eq!(status.code, Code::of_http(error.status));
    let code = error.code.unwrap();
    Told::Error { status: error.status, code, param: error.param, message: status.message }
}

fn of_answer(answer: Option<&v1::ChatAnswer>) -> Value {
    let answer = answer.cloned().unwrap_or_default();
    let function = answer.tool_calls.first().and_then(|call| call.function.clone()).unwrap_or_default();
    let function = json!({"name": function.name, "arguments": function.arguments});
    json!({"content": answer.content, "tool_calls": [{"function": function}]})
}

fn of_usage(usage: Option<&v1::Usage>) -> Value {
    let Some(usage) = usage else { return Value::Null };
    let cached = usage.prompt_tokens_details.as_ref().and_then(|details| details.cached_tokens);
    json!({
        "prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached},
    })
}

fn of_chunk(chunk: &v1::ChatStreamResponse) -> Value {
    let choices = chunk.choices.iter().map(
        |choice| json!({"delta": of_answer(choice.delta.as_ref()), "finish_reason": choice.finish_reason}),
    );
    json!({"choices": choices.collect::<Value>(), "usage": of_usage(chunk.usage.as_ref())})
}

fn of_response(response: &v1::ChatResponse) -> Value {
    let choices = response.choices.iter().map(|choice| {
        json!({"message": of_answer(choice.message.as_ref()), "finish_reason": choice.finish_reason})
    });
    json!({"choices": choices.collect::<Value>(), "usage": of_usage(response.usage.as_ref())})
}

const USAGE: &str = r#""usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18,"prompt_tokens_details":{"cached_tokens":4}}"#;
const REFUSAL: &str = r#"{"error":{"message":"no such heat","type":"invalid_request_error","param":"temperature","code":"too_hot"}}"#;

/// Text with what must be escaped, and a tool call.
async fn answer(mut call: Call, stream: bool) {
    let tool = r#""tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]"#;
    if !stream {
        let message = format!(r#"{{"role":"assistant","content":"once\n„upon“",{tool}}}"#);
        let choice = format!(r#"{{"index":0,"message":{message},"finish_reason":"tool_calls"}}"#);
        let body = format!(r#"{{"id":"c","object":"chat.completion","choices":[{choice}],{USAGE}}}"#);
        return call.answer(200, "", body).await;
    }
    call.begin_with("once\n").await;
    call.token("„upon“").await;
    call.event(&format!(r#"{{"choices":[{{"index":0,"delta":{{{tool}}},"finish_reason":null}}]}}"#)).await;
    call.event(r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#).await;
    call.event(&format!(r#"{{"choices":[],{USAGE}}}"#)).await;
    call.event("[DONE]").await;
    call.close_stream().await;
}

async fn outcome_of(gateway: &Gateway, front: Front, outcome: &str) -> f64 {
    let protocol = if front == Front::Grpc { "grpc" } else { "http" };
    gateway.of_model("plimsoll_requests_total", &[("outcome", outcome), ("protocol", protocol)]).await
}

async fn cell(front: Front, back: Back, stream: bool, fate: Fate) {
    let mut backends = Backends::start(1).await;
    let nearest = Gateway::before(&backends).await;
    let (gateway, _inner) = match back {
        Back::OpenAi => (nearest, None),
        Back::Plimsoll => (nearest.relay().await, Some(nearest)),
    };
    let asking = ask(front, &gateway, stream, (fate == Fate::Deadline).then_some(300)).await;
    let mut call = backends.next().await;
    let body = call.json();
    assert_eq!(body["messages"], json!([{"role": "user", "content": "Hello?"}]));
    assert_eq!(body.get("stream").unwrap_or(&json!(false)), stream);
    assert_eq!(body["model"], gateway.model);
    let error = |status: u16, code: &str, message: &str| Told::Error {
        status,
        code: code.into(),
        param: (code == "too_hot").then(|| "temperature".into()),
        message: message.into(),
    };
    let (told, outcome) = match fate {
        Fate::Ok => {
            let (told, ()) = tokio::join!(asking.told(stream), answer(call, stream));
            let text = "once\n„upon“".to_owned();
            let tool = "f{\"a\":1}".to_owned();
            let expected = Told::Answer { text, tool, finish: "tool_calls".into(), usage: [11, 7, 4] };
            assert_eq!(told, expected);
            assert_eq!(
                outcome_of(&gateway, front, "ok").await,
                if is_twice(front, back) { 2.0 } else { 1.0 }
            );
            return;
        }
        Fate::BackendError => {
            let (told, ()) = tokio::join!(asking.told(stream), call.answer(500, "", "{}"));
            let expected =
                error(502, "upstream_error", "the backend failed: it answered with an error of its own");
            assert_eq!(told, expected);
            (told, "backend_error")
        }
        Fate::Refused => {
            let (told, ()) = tokio::join!(asking.told(stream), call.answer(422, "", REFUSAL));
            assert_eq!(told, error(422, "too_hot", "no such heat"));
            (told, "client_error")
        }
        Fate::Deadline => {
            let told = asking.told(stream).await;
            assert_eq!(told, error(504, "deadline_exceeded", "the time that the caller allows is over"));
            call.is_left().await;
            (told, "timeout")
        }
        Fate::Cancel => {
            if stream {
                call.begin_with("once").await;
            }
            asking.leave(stream).await;
            call.is_left().await;
            gateway.is_at_rest().await;
            assert!(outcome_of(&gateway, front, "cancelled").await >= 1.0);
            return;
        }
    };
    gateway.is_at_rest().await;
    assert!(outcome_of(&gateway, front, outcome).await >= 1.0, "{told:?}");
}

/// Whether both gateways, which count in one process, count the request under one protocol.
fn is_twice(front: Front, back: Back) -> bool {
    front == Front::Grpc && back == Back::Plimsoll
}

async fn row(front: Front, back: Back) {
    for stream in [false, true] {
        for fate in [Fate::Ok, Fate::BackendError, Fate::Cancel, Fate::Deadline, Fate::Refused] {
            println!("{front:?}, {back:?}, {}, {fate:?}", if stream { "stream" } else { "plain" });
            cell(front, back, stream, fate).await;
        }
    }
}

#[tokio::test]
async fn http1_in_front_of_openai() {
    row(Front::Http1, Back::OpenAi).await;
}

#[tokio::test]
async fn http2_in_front_of_openai() {
    row(Front::Http2, Back::OpenAi).await;
}

#[tokio::test]
async fn grpc_in_front_of_openai() {
    row(Front::Grpc, Back::OpenAi).await;
}

#[tokio::test]
async fn http1_in_front_of_grpc() {
    row(Front::Http1, Back::Plimsoll).await;
}

#[tokio::test]
async fn http2_in_front_of_grpc() {
    row(Front::Http2, Back::Plimsoll).await;
}

#[tokio::test]
async fn grpc_in_front_of_grpc() {
    row(Front::Grpc, Back::Plimsoll).await;
}
