//! gRPC at the front door: what is let in, what is refused with which status, health, reflection, compression.

use bytes::Bytes;
use http_body_util::BodyExt;
use plimsoll_engines::grpc::{Code, Status, put_frame};
use plimsoll_proto::grpc::health::v1::health_check_response::ServingStatus;
use plimsoll_proto::grpc::health::v1::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
use plimsoll_proto::grpc::reflection::v1 as reflection;
use plimsoll_proto::plimsoll::v1;
use serde_json::json;

use crate::stage::{Backends, Certificates, Gateway, Grpc, Http2, unique};

const CHAT: &str = "/plimsoll.v1.InferenceService/Chat";
const HEALTH: &str = "/grpc.health.v1.Health/";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const KEYS: &str = "keys: [{tenant: team-a, key: sk-test-0123456789abcdef}]\n";
const KEY: (&str, &str) = ("authorization", "Bearer sk-test-0123456789abcdef");

fn question(gateway: &Gateway) -> v1::ChatRequest {
    let content = v1::Content { form: Some(v1::content::Form::Text("Hello?".into())) };
    let message = v1::ChatMessage { role: Some("user".into()), content: Some(content), ..Default::default() };
    v1::ChatRequest { model: gateway.model.clone(), messages: vec![message], ..Default::default() }
}

async fn chat(gateway: &Gateway, request: &v1::ChatRequest) -> Result<v1::ChatResponse, Status> {
    Grpc::connect(gateway.address).await.ask("Chat", &[], request).await
}

fn gzip(message: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packer, message).unwrap();
    packer.finish().unwrap()
}

/// A message that says it is compressed.
fn compressed(packed: &[u8]) -> Vec<u8> {
    [&[1][..], &(packed.len() as u32).to_be_bytes(), packed].concat()
}

#[tokio::test]
async fn what_is_no_call_gets_its_status_and_never_reaches_a_backend() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::configured(&backends, "requests: {max_body_bytes: 2000}\n").await;
    let mut client = Grpc::connect(gateway.address).await;
    let long = [&[0, 0, 0, 8, 0][..], &[b'a'; 2048]].concat();
    let bodies: [(&[u8], Code); 10] = [
        (b"", Code::InvalidArgument),
        (&[0, 0, 0], Code::InvalidArgument),
        (&[0, 0, 0, 0, 9, 1], Code::InvalidArgument),
        (&[7, 0, 0, 0, 0], Code::InvalidArgument),
        (&[1, 0, 0, 0, 0], Code::Internal),
        (&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Code::InvalidArgument),
        (&[0, 0, 0, 0, 0, 9], Code::InvalidArgument),
        (&[0, 0, 0, 0, 2, 0xff, 0xff], Code::InvalidArgument),
        (&[0, 0xff, 0xff, 0xff, 0xff], Code::ResourceExhausted),
        (&long, Code::ResourceExhausted),
    ];
    for (body, code) in bodies {
        assert_eq!(client.send(CHAT, &[], body.to_vec()).status().await.code, code, "{body:?}");
    }
    let metadata = [
        (("grpc-timeout", "soon"), Code::InvalidArgument),
        (("grpc-timeout", "123456789m"), Code::InvalidArgument),
        (("grpc-timeout", "5x"), Code::InvalidArgument),
        (("grpc-encoding", "br"), Code::Unimplemented),
        (("trace-bin", "%%%"), Code::InvalidArgument),
    ];
    for (field, code) in metadata {
        let mut messages = client.call("Chat", &[field], &question(&gateway));
        assert_eq!(messages.status().await.code, code, "{field:?}");
        assert_eq!(messages.fields["grpc-accept-encoding"], "identity,gzip");
    }
    let twice = [("grpc-timeout", "5S"), ("grpc-timeout", "6S")];
    let status = client.call("Chat", &twice, &question(&gateway)).status().await;
    assert_eq!(status.code, Code::InvalidArgument);
    for (packed, code) in
        [(gzip(&[b'a'; 1 << 17]), Code::ResourceExhausted), (b"no gzip".to_vec(), Code::InvalidArgument)]
    {
        assert!(packed.len() < 2_000, "small on the wire");
        let status = client.send(CHAT, &[("grpc-encoding", "gzip")], compressed(&packed)).status().await;
        assert_eq!(status.code, code);
    }
    for path in ["/plimsoll.v1.InferenceService/Sing", "/other.Service/Chat", REFLECTION] {
        assert_eq!(client.send(path, &[], vec![0; 5]).status().await.code, Code::Unimplemented);
    }
    assert!(backends.are_idle());
}

#[tokio::test]
async fn a_call_that_cannot_be_one_is_refused_as_http_refuses() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let answer = gateway.ask("POST", CHAT, &[("content-type", "application/grpc")], "").await;
    assert_eq!((answer.status, &*answer.code()), (415, "unsupported_media_type"));
    for content_type in ["application/grpc-web", "application/grpc+json"] {
        let mut client = Http2::connect(gateway.address).await;
        let answer = client.send(CHAT, &[("content-type", content_type)], Bytes::new()).await.unwrap();
        assert_eq!(answer.status(), 415, "{content_type}");
    }
    assert!(backends.are_idle());
}

#[tokio::test]
async fn a_caller_who_forgets_te_and_sends_binary_metadata_is_served() {
    let backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    backends.play(async |call| call.say("hi").await);
    let mut frame = Vec::new();
    put_frame(&mut frame, &prost::Message::encode_to_vec(&question(&gateway)));
    let fields = [("content-type", "application/grpc+proto"), ("trace-bin", "AAEC,/w==")];
    let answer = Http2::connect(gateway.address).await.send(CHAT, &fields, Bytes::from(frame)).await.unwrap();
    let body = answer.into_body().collect().await.unwrap();
    assert_eq!(Status::read(body.trailers().unwrap()).unwrap().code, Code::Ok);
}

#[tokio::test]
async fn an_answer_that_is_no_text_is_no_message_either() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = Grpc::connect(gateway.address).await;
    let answer = client.call("ChatStream", &[], &question(&gateway));
    let ((messages, status), ()) = tokio::join!(answer.all::<v1::ChatStreamResponse>(), async {
        let mut call = backends.next().await;
        call.begin_with("once").await;
        let text: &[u8] = b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\xff\"}}]}\n\n";
        call.write([format!("{:x}\r\n", text.len()).as_bytes(), text, b"\r\n"].concat()).await;
        call.is_left().await;
    });
    assert_eq!((messages.len(), status.code), (1, Code::Unavailable));
}

#[tokio::test]
async fn a_wrong_request_is_told_what_to_change() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let why = async |request: v1::ChatRequest| {
        let status = chat(&gateway, &request).await.unwrap_err();
        (status.code, status.error.unwrap().code.unwrap(), status.message)
    };
    let request = || question(&gateway);
    let (code, reason, message) = why(v1::ChatRequest { model: "x".into(), ..request() }).await;
    assert_eq!((code, &*reason), (Code::NotFound, "model_not_found"), "{message}");
    let (code, _, message) = why(v1::ChatRequest { extra_json: Some("{\"a\":".into()), ..request() }).await;
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.contains("extra_json is not the text of a JSON object"), "{message}");
    let call = Some(v1::CallOptions { priority: Some(1), ..Default::default() });
    for (twice, name) in [(r#"{"seed":2}"#, "seed"), (r#"{"priority":2}"#, "priority")] {
        let wrong = v1::ChatRequest {
            seed: Some(1),
            call: call.clone(),
            extra_json: Some(twice.into()),
            ..request()
        };
        let (code, reason, message) = why(wrong).await;
        assert_eq!((code, &*reason), (Code::InvalidArgument, "invalid_message"));
        assert!(message.contains(&format!("{name}: stands in extra_json and is said already")), "{message}");
    }
    for extra in ["[1]", "7", "", &format!("{{\"a\":{}", "[".repeat(100_000))] {
        let (code, _, message) = why(v1::ChatRequest { extra_json: Some(extra.into()), ..request() }).await;
        assert_eq!(code, Code::InvalidArgument);
        assert!(message.contains("extra_json is not the text of a JSON object"), "{message}");
    }
    let (_, _, message) =
        why(v1::ChatRequest { extra_json: Some(r#"{"stream":true}"#.into()), ..request() }).await;
    assert!(message.contains("`stream` is said by the method"), "{message}");
    let closed = Some(r#"{"chat_template":"{{ 7*7 }}"}"#.into());
    assert_eq!(why(v1::ChatRequest { extra_json: closed, ..request() }).await.1, "field_not_allowed");
    assert!(backends.are_idle());
}

#[tokio::test]
async fn members_that_are_not_typed_reach_the_backend_and_come_back() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let call = Some(v1::CallOptions { priority: Some(-3), tenant: Some("t".into()), ..Default::default() });
    let extra_json = Some(r#"{"ignore_eos":true,"big":18446744073709551615}"#.into());
    let request = v1::ChatRequest {
        call,
        extra_json,
        temperature: Some(0.0),
        seed: Some(i64::MAX),
        ..question(&gateway)
    };
    let (answer, ()) = tokio::join!(chat(&gateway, &request), async {
        let call = backends.next().await;
        let body = call.json();
        assert_eq!(
            (&body["priority"], &body["temperature"], &body["seed"]),
            (&json!(-3), &json!(0), &json!(i64::MAX))
        );
        assert_eq!((&body["ignore_eos"], &body["big"]), (&json!(true), &json!(u64::MAX)));
        assert_eq!(body.get("call"), None);
        let body = r#"{"id":"c","choices":[{"index":0,"message":{"content":"hi","annotations":[1]},"finish_reason":"weird"}],"timings":{"ms":1.5}}"#;
        call.answer(200, "", body).await;
    });
    let answer = answer.unwrap();
    assert_eq!(answer.extra_json.as_deref(), Some(r#"{"timings":{"ms":1.5}}"#));
    let choice = &answer.choices[0];
    assert_eq!(choice.finish_reason.as_deref(), Some("weird"));
    assert_eq!(choice.message.as_ref().unwrap().extra_json.as_deref(), Some(r#"{"annotations":[1]}"#));
}

#[tokio::test]
async fn the_other_methods_are_served_too() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = Grpc::connect(gateway.address).await;
    let model = || gateway.model.clone();
    let texts = v1::Texts { values: vec!["a".into(), "b".into()] };
    let input = Some(v1::TextsOrTokens { form: Some(v1::texts_or_tokens::Form::Texts(texts)) });
    let request = v1::EmbedRequest { model: model(), input, ..Default::default() };
    let (embed, ()) = tokio::join!(client.ask::<v1::EmbedResponse>("Embed", &[], &request), async {
        let call = backends.next().await;
        assert_eq!(call.json()["input"], json!(["a", "b"]));
        let body = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5,-1]},{"index":1,"embedding":"AAA="}],"model":"m","usage":{"prompt_tokens":2,"total_tokens":2}}"#;
        call.answer(200, "", body).await;
    });
    let embed = embed.unwrap();
    let form = |at: usize| embed.data[at].embedding.clone().unwrap().form.unwrap();
    assert_eq!(form(0), v1::vector::Form::Floats(v1::Floats { values: vec![0.5, -1.0] }));
    assert_eq!(form(1), v1::vector::Form::Base64("AAA=".into()));
    let document = |form| v1::Document { form: Some(form) };
    let documents = vec![document(v1::document::Form::Text("d".into()))];
    let request =
        v1::RerankRequest { model: model(), query: Some("q".into()), documents, ..Default::default() };
    let (rerank, ()) = tokio::join!(client.ask::<v1::RerankResponse>("Rerank", &[], &request), async {
        let call = backends.next().await;
        assert_eq!((&call.json()["query"], &call.json()["documents"]), (&json!("q"), &json!(["d"])));
        call.answer(200, "", r#"{"results":[{"index":0,"relevance_score":0.25}]}"#).await;
    });
    assert_eq!(rerank.unwrap().results[0].relevance_score, 0.25);
    let models: v1::ModelsResponse = client.ask("Models", &[], &v1::ModelsRequest {}).await.unwrap();
    assert_eq!((models.data[0].id.as_str(), models.extra_json), (gateway.model.as_str(), None));
}

#[tokio::test]
async fn a_stream_that_breaks_ends_with_a_status_and_one_that_is_late_too() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = Grpc::connect(gateway.address).await;
    let mut messages = client.call("ChatStream", &[], &question(&gateway));
    let mut call = backends.next().await;
    call.begin_with("once").await;
    assert!(messages.next::<v1::ChatStreamResponse>().await.is_some());
    drop(call);
    assert_eq!(messages.status().await.code, Code::Unavailable);
    let mut messages = client.call("ChatStream", &[("grpc-timeout", "300m")], &question(&gateway));
    let mut call = backends.next().await;
    call.begin_with("once").await;
    assert!(messages.next::<v1::ChatStreamResponse>().await.is_some());
    assert_eq!(messages.status().await.code, Code::DeadlineExceeded);
    call.is_left().await;
    assert_eq!(
        gateway.backend(0).await["failures_in_a_row"],
        1,
        "what the caller had no time for is no failure"
    );
}

#[tokio::test]
async fn pushback_says_when_to_try_again() {
    let mut backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let request = question(&gateway);
    let (answer, ()) = tokio::join!(chat(&gateway, &request), async {
        backends.next().await.answer(429, "retry-after: 7\r\n", "{}").await;
    });
    let status = answer.unwrap_err();
    assert_eq!(status.code, Code::ResourceExhausted);
    assert_eq!(status.retry_after.unwrap().as_secs(), 7);
}

#[tokio::test]
async fn keys_let_in_as_over_http() {
    let backends = Backends::start(1).await;
    let gateway = Gateway::configured(&backends, KEYS).await;
    backends.play(async |call| call.say("hi").await);
    let mut client = Grpc::connect(gateway.address).await;
    let request = question(&gateway);
    for metadata in [&[][..], &[("authorization", "Bearer sk-wrong-0123456789abc")]] {
        let status = client.ask::<v1::ChatResponse>("Chat", metadata, &request).await.unwrap_err();
        assert_eq!(status.code, Code::Unauthenticated);
    }
    assert!(client.ask::<v1::ChatResponse>("Chat", &[KEY], &request).await.is_ok());
    let call = Some(v1::CallOptions { tenant: Some("team-b".into()), ..Default::default() });
    let other = v1::ChatRequest { call, ..request };
    let status = client.ask::<v1::ChatResponse>("Chat", &[KEY], &other).await.unwrap_err();
    assert_eq!(status.code, Code::PermissionDenied);
    let health: HealthCheckResponse =
        client.ask(&format!("{HEALTH}Check"), &[], &HealthCheckRequest::default()).await.unwrap();
    assert_eq!(health.status(), ServingStatus::Serving, "a probe has no key");
    let list = client.ask::<HealthListResponse>(&format!("{HEALTH}List"), &[], &HealthListRequest {}).await;
    assert_eq!(list.unwrap_err().code, Code::Unauthenticated);
}

#[tokio::test]
async fn health_is_told_of_the_whole_the_service_and_each_model_and_watched_until_the_end() {
    let backends = Backends::start(1).await;
    let gateway = Gateway::before(&backends).await;
    let mut client = Grpc::connect(gateway.address).await;
    let model = format!("plimsoll.v1.InferenceService/{}", gateway.model);
    for service in ["", "plimsoll.v1.InferenceService", &model] {
        let asked = HealthCheckRequest { service: service.into() };
        let health: HealthCheckResponse = client.ask(&format!("{HEALTH}Check"), &[], &asked).await.unwrap();
        assert_eq!(health.status(), ServingStatus::Serving, "{service}");
    }
    let list: HealthListResponse =
        client.ask(&format!("{HEALTH}List"), &[], &HealthListRequest {}).await.unwrap();
    assert!(list.statuses.contains_key(&model) && list.statuses.len() == 3);
    let unknown = HealthCheckRequest { service: "no.Service".into() };
    let status = client.ask::<HealthCheckResponse>(&format!("{HEALTH}Check"), &[], &unknown).await;
    assert_eq!(status.unwrap_err().code, Code::NotFound);
    let mut watch = client.call(&format!("{HEALTH}Watch"), &[], &HealthCheckRequest::default());
    let mut unknown = client.call(&format!("{HEALTH}Watch"), &[], &unknown);
    let status = |health: Option<HealthCheckResponse>| health.unwrap().status();
    assert_eq!(status(watch.next().await), ServingStatus::Serving);
    assert_eq!(status(unknown.next().await), ServingStatus::ServiceUnknown);
    assert_eq!(gateway.admin("POST", "/drain").await.status, 202);
    assert_eq!(status(watch.next().await), ServingStatus::NotServing);
    assert_eq!(watch.status().await.code, Code::Unavailable);
}

#[tokio::test]
async fn reflection_tells_of_services_where_the_operator_wants_it() {
    let backends = Backends::start(1).await;
    let gateway = Gateway::configured(&backends, "grpc: {reflection: true}\n").await;
    let mut client = Grpc::connect(gateway.address).await;
    let list = reflection::server_reflection_request::MessageRequest::ListServices(String::new());
    let question = reflection::ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    for path in [REFLECTION, &REFLECTION.replace("v1", "v1alpha")] {
        let answer: reflection::ServerReflectionResponse = client.ask(path, &[], &question).await.unwrap();
        let said = format!("{:?}", answer.message_response);
        assert!(
            said.contains("plimsoll.v1.InferenceService") && said.contains("grpc.health.v1.Health"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn answers_are_compressed_where_both_sides_want_it_and_requests_may_always_be() {
    let backends = Backends::start(1).await;
    let gateway = Gateway::configured(&backends, "grpc: {gzip: true}\n").await;
    backends.play(async |call| call.say(&"hi ".repeat(300)).await);
    let mut client = Grpc::connect(gateway.address).await;
    for (accepts, compressed) in [("identity, gzip", true), ("deflate", false)] {
        let mut messages = client.call("Chat", &[("grpc-accept-encoding", accepts)], &question(&gateway));
        assert_eq!(messages.bytes().await.unwrap().compressed, compressed);
        assert_eq!(messages.fields.contains_key("grpc-encoding"), compressed);
        assert_eq!(messages.status().await.code, Code::Ok);
    }
    let frame = compressed(&gzip(&prost::Message::encode_to_vec(&question(&gateway))));
    let answer = client.send(CHAT, &[("grpc-encoding", "gzip")], frame).only::<v1::ChatResponse>().await;
    assert!(answer.is_ok());
}

#[tokio::test]
async fn a_gateway_behind_a_gateway_over_tls_is_asked_what_it_serves() {
    let mut backends = Backends::start(1).await;
    let certificates = Certificates::of("localhost");
    let (certificate, key) = (certificates.certificate.display(), certificates.key.display());
    let tls = format!("tls: {{certificate: {certificate}, key: {key}}}\n{KEYS}");
    let inner = Gateway::configured(&backends, &tls).await;
    let url = format!("grpcs://localhost:{}", inner.address.port());
    let name = unique();
    let yaml = format!(
        "backends:\n  - {{name: g-{name}, url: \"{url}\", ca_file: {certificate}, bearer: sk-test-0123456789abcdef}}\n"
    );
    let outer = Gateway::start(&inner.model, &yaml, None).await;
    let (answer, ()) = tokio::join!(outer.chat(), async { backends.next().await.say("hi").await });
    assert_eq!(answer.content(), "hi");
    assert_eq!(answer.json()["usage"]["total_tokens"], 18);
    let refused = outer.ask("POST", "/v1/score", &[], &outer.question(json!({}))).await;
    assert_eq!((refused.status, &*refused.code()), (404, "not_found"));
    assert_eq!(outer.backend(0).await["failures_in_a_row"], 0, "what it cannot be asked is not its failure");
}
