//! TLS towards clients and towards backends; never plain text instead.

use plimsoll_gateway::config::{self, Overrides};
use plimsoll_gateway::{Source, run};
use rustls_pki_types::ServerName;
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::stage::{
    Backends, Certificates, Client, Gateway, Http2, Http2Backend, event, token, unique, within,
};

const CHAT: &str = "/v1/chat/completions";

async fn secure_gateway(backends: &Backends) -> (Gateway, Certificates) {
    let certificates = Certificates::of("localhost");
    let (certificate, key) = (certificates.certificate.display(), certificates.key.display());
    let gateway =
        Gateway::configured(backends, &format!("tls: {{certificate: {certificate}, key: {key}}}\n")).await;
    (gateway, certificates)
}

async fn connect(gateway: &Gateway, certificates: &Certificates, protocols: &[&str]) -> TlsStream<TcpStream> {
    let tcp = TcpStream::connect(gateway.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    within("the handshake", certificates.connector(protocols).connect(name, tcp)).await.unwrap()
}

#[tokio::test]
async fn a_client_with_tls_streams_over_http1() {
    let mut backends = Backends::start(1).await;
    let (gateway, certificates) = secure_gateway(&backends).await;
    for protocols in [&["http/1.1"][..], &[]] {
        let wire = connect(&gateway, &certificates, protocols).await;
        assert_eq!(wire.get_ref().1.alpn_protocol(), protocols.first().map(|name| name.as_bytes()));
        let mut client = Client::over(wire);
        client.send("POST", CHAT, &[], &gateway.question(json!({"stream": true}))).await;
        let mut call = backends.next().await;
        call.begin_with("once").await;
        client.begun().await;
        assert_eq!(client.token().await, "once");
        call.token("upon").await;
        assert_eq!(client.token().await, "upon");
        call.finish().await;
        client.rest().await;
    }
}

#[tokio::test]
async fn a_client_with_tls_is_offered_http2() {
    let mut backends = Backends::start(1).await;
    let (gateway, certificates) = secure_gateway(&backends).await;
    let wire = connect(&gateway, &certificates, &["h2", "http/1.1"]).await;
    assert_eq!(wire.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut client = Http2::over(wire).await;
    let question = gateway.question(json!({}));
    let (answer, ()) = tokio::join!(client.ask(CHAT, &question), async {
        backends.next().await.say("hi").await;
    });
    assert_eq!(answer.0.status(), 200);
}

#[tokio::test]
async fn a_client_with_tls_that_leaves_frees_its_backend() {
    let mut backends = Backends::start(1).await;
    let (gateway, certificates) = secure_gateway(&backends).await;
    let mut client = Client::over(connect(&gateway, &certificates, &[]).await);
    client.send("POST", CHAT, &[], &gateway.question(json!({"stream": true}))).await;
    let mut call = backends.next().await;
    call.begin_with("once").await;
    client.begun().await;
    drop(client);
    call.is_left().await;
    gateway.is_at_rest().await;
}

#[tokio::test]
async fn plain_text_where_tls_is_spoken_is_not_answered() {
    let mut backends = Backends::start(1).await;
    let (gateway, _) = secure_gateway(&backends).await;
    let mut client = gateway.send_chat(json!({})).await;
    let came = client.until_closed().await;
    assert!(!came.starts_with(b"HTTP"), "{came:?}");
    assert!(backends.are_idle());
}

#[tokio::test]
async fn a_backend_with_a_certificate_that_is_trusted_is_served_by() {
    let certificates = Certificates::of("127.0.0.1");
    let backends = Backends::secure(certificates.acceptor(&["http/1.1"])).await;
    let mut backends = backends.and(&format!("ca_file: {}", certificates.certificate.display()));
    let gateway = Gateway::before(&backends).await;
    let mut client = gateway.stream().await;
    let mut call = backends.next().await;
    call.begin_with("once").await;
    client.begun().await;
    assert_eq!(client.token().await, "once");
    call.finish().await;
    client.rest().await;
    let mut client = gateway.send_chat(json!({})).await;
    backends.next().await.say("again").await;
    assert_eq!(client.answer().await.content(), "again");
}

#[tokio::test]
async fn a_backend_with_tls_may_speak_http2() {
    let certificates = Certificates::of("127.0.0.1");
    let mut backend = Http2Backend::start(Some(certificates.acceptor(&["h2"]))).await;
    let model = format!("tls-model-{}", unique());
    let more = format!(", ca_file: {}", certificates.certificate.display());
    let gateway = Gateway::start(&model, &backend.yaml("https", &model, &more), None).await;
    let mut client = gateway.stream().await;
    let call = backend.next().await;
    assert_eq!(call.request.uri.scheme_str(), Some("https"));
    let tell = call.begin(200, "text/event-stream");
    tell.send(Some(event(&token("once")))).await.unwrap();
    client.begun().await;
    assert_eq!(client.token().await, "once");
    tell.send(Some(event("[DONE]"))).await.unwrap();
    drop(tell);
    client.rest().await;
}

#[tokio::test]
async fn a_backend_whose_certificate_is_not_trusted_or_not_its_own_gets_nothing() {
    let (own, stranger) = (Certificates::of("127.0.0.1"), Certificates::of("127.0.0.1"));
    let misnamed = Certificates::of("other.example");
    for (shown, trusted) in [(&own, &stranger), (&misnamed, &misnamed)] {
        let backends = Backends::secure(shown.acceptor(&["http/1.1"])).await;
        let mut backends = backends.and(&format!("ca_file: {}", trusted.certificate.display()));
        let gateway = Gateway::before(&backends).await;
        let answer = gateway.chat().await;
        assert_eq!((answer.status, answer.code()), (503, "no_backend".into()));
        assert!(backends.are_idle());
    }
}

#[tokio::test]
async fn a_certificate_that_does_not_fit_its_key_keeps_the_gateway_from_starting() {
    let (one, other) = (Certificates::of("localhost"), Certificates::of("localhost"));
    let yaml = format!(
        "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\ntls: {{certificate: {}, key: {}}}\n",
        one.certificate.display(),
        other.key.display()
    );
    let config = config::read("test.yaml", &yaml, &Overrides::default()).unwrap();
    let source = Source { config, file: None };
    let starting = tokio::task::spawn_blocking(|| run(source, None, |_, _| panic!("it must not start")));
    let why = within("the gateway to give up", starting).await.unwrap().unwrap_err();
    assert!(why.contains(one.certificate.to_str().unwrap()), "{why}");
}
