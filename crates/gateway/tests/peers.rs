//! Gateways before the same backends know what each of them has sent.

use serde_json::json;

use crate::stage::{Backends, Gateway, eventually, unique};

/// A question that nobody has asked before, of some two thousand tokens.
fn long(gateway: &Gateway) -> String {
    let text = format!("{} ", unique()).repeat(8_000);
    let text: String = text.chars().take(8_000).collect();
    gateway.question(json!({"messages": [{"role": "user", "content": text}]}))
}

async fn sends(gateway: &Gateway, backends: &mut Backends, body: &str) -> usize {
    let mut client = gateway.connect().await;
    client.send("POST", "/v1/chat/completions", &[], body).await;
    let call = backends.next().await;
    let backend = call.backend;
    call.say("hi").await;
    assert_eq!(client.answer().await.content(), "hi");
    backend
}

#[tokio::test]
async fn what_one_gateway_sent_somewhere_another_sends_there_too() {
    let mut backends = Backends::start(3).await;
    let first = Gateway::configured(&backends, "").await;
    let asks = format!("peers: {{gateways: [\"http://{}\"], every_ms: 50}}\n", first.admin);
    let yaml = format!("{}{asks}", backends.yaml(&first.model));
    let second = Gateway::start(&first.model, &yaml, None).await;
    let peer = first.admin.to_string();
    let polled = [("gateway", peer.as_str()), ("outcome", "ok")];
    eventually("a question", async || second.metric("plimsoll_peer_polls_total", &polled).await > 0.0).await;
    for told in 1..=6 {
        let body = long(&first);
        let backend = sends(&first, &mut backends, &body).await;
        let prompts =
            async || second.metric("plimsoll_peer_prompts_total", &[("gateway", peer.as_str())]).await;
        eventually("the news", async || prompts().await == f64::from(told)).await;
        assert_eq!(sends(&second, &mut backends, &body).await, backend, "it is cached there");
    }
}

#[tokio::test]
async fn a_gateway_that_cannot_be_asked_is_in_nobodys_way() {
    let mut backends = Backends::start(1).await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let asks = format!("peers: {{gateways: [\"http://{gone}\"], every_ms: 50}}\n");
    let gateway = Gateway::configured(&backends, &asks).await;
    let (peer, failed) = (gone.to_string(), ("outcome", "failed"));
    let polls = [("gateway", peer.as_str()), failed];
    eventually("failures", async || gateway.metric("plimsoll_peer_polls_total", &polls).await > 1.0).await;
    let body = long(&gateway);
    assert_eq!(sends(&gateway, &mut backends, &body).await, 0);
}

#[tokio::test]
async fn an_address_that_cannot_be_one_is_named() {
    let wrong = plimsoll_gateway::config::read(
        "g.yaml",
        "peers:\n  gateways: [10.0.0.2]\n",
        &plimsoll_gateway::config::Overrides::default(),
    );
    let said: Vec<String> = wrong.err().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(said, ["g.yaml:2: peers.gateways: \"10.0.0.2\" is not http://HOST:PORT"]);
}
