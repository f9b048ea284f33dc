//! What an engine tells of its KV cache is heard, and what was missed is asked for.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::stage::{Backends, Gateway, eventually, within};

/// One end of a connection as libzmq speaks it.
struct Zmq(TcpStream);

impl Zmq {
    /// Takes a connection and greets who comes, as a socket of this type.
    async fn accept(listener: &TcpListener, socket: &[u8]) -> Self {
        let (mut stream, _) = within("a connection", listener.accept()).await.unwrap();
        let mut greeting = vec![0; 64];
        greeting[..12].copy_from_slice(&[0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 1]);
        greeting[12..16].copy_from_slice(b"NULL");
        let length = (socket.len() as u32).to_be_bytes();
        let ready = [b"\x05READY\x0bSocket-Type".as_slice(), &length, socket].concat();
        stream.write_all(&[greeting, vec![4, ready.len() as u8], ready].concat()).await.unwrap();
        Self(stream)
    }

    /// Publishes a batch with one event.
    async fn tell(&mut self, sequence: u64, event: &[u8]) {
        self.say(
            &[b"\x01\x02kv".as_slice()],
            sequence,
            &[[0x92, sequence as u8 + 1, 0x91].as_slice(), event].concat(),
        )
        .await;
    }

    async fn say(&mut self, before: &[&[u8]], sequence: u64, payload: &[u8]) {
        let number = [[1, 8].as_slice(), &sequence.to_be_bytes()].concat();
        let frame = [[0, payload.len() as u8].as_slice(), payload].concat();
        self.0.write_all(&[before.concat(), number, frame].concat()).await.unwrap();
    }

    /// Reads until the peer has asked for a number that is not zero.
    async fn asked_for(&mut self) -> u64 {
        // Greeting, the command READY with DEALER, an empty frame, the head of the number.
        let mut said = vec![0; 64 + 2 + 6 + 12 + 4 + 6 + 2 + 2];
        self.0.read_exact(&mut said).await.unwrap();
        self.0.read_u64().await.unwrap()
    }
}

/// `BlockRemoved` of so many of ten blocks.
fn removed(blocks: u8) -> Vec<u8> {
    let hashes: Vec<u8> = (1..=blocks).collect();
    [b"\x93\xacBlockRemoved".as_slice(), &[0x90 | blocks], &hashes, b"\xa3GPU"].concat()
}

fn stored() -> Vec<u8> {
    let hashes: &[u8] = &[0x9a, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
    [b"\x97\xabBlockStored".as_slice(), hashes, &[0xc0, 0x90, 16, 0xc0], b"\xa3GPU"].concat()
}

/// A gateway before a backend that has got a prompt of some forty blocks, and the publisher of its events.
async fn told() -> (Gateway, TcpListener, TcpListener) {
    let events = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let replay = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, again) = (events.local_addr().unwrap(), replay.local_addr().unwrap());
    let keys = format!("kv_events: \"tcp://{at}\", kv_replay: \"tcp://{again}\"");
    let mut backends = Backends::start(1).await.and(&keys);
    let gateway = Gateway::before(&backends).await;
    let words = "the same long beginning ".repeat(900);
    let messages = json!({"messages": [{"role": "user", "content": words}]});
    let mut client = gateway.send_chat(messages).await;
    backends.next().await.say("hi").await;
    assert_eq!(client.answer().await.content(), "hi");
    drop(backends);
    (gateway, events, replay)
}

async fn cached(gateway: &Gateway) -> u64 {
    gateway.backend(0).await["cached_blocks"].as_u64().unwrap()
}

#[tokio::test]
async fn what_an_engine_evicts_is_thought_to_be_there_no_more() {
    let (gateway, events, _replay) = told().await;
    let all = cached(&gateway).await;
    assert!(all >= 40, "{all}");
    let mut publisher = Zmq::accept(&events, b"PUB").await;
    publisher.tell(0, &stored()).await;
    publisher.tell(1, &removed(5)).await;
    eventually("half of it to be gone", async || cached(&gateway).await == all - all / 2).await;
    publisher.tell(2, b"\x91\xb0AllBlocksCleared").await;
    eventually("all of it to be gone", async || cached(&gateway).await == 0).await;
    let name = gateway.backend(0).await["name"].as_str().unwrap().to_owned();
    let taken = [("backend", name.as_str()), ("outcome", "taken")];
    assert_eq!(gateway.metric("plimsoll_kv_event_batches_total", &taken).await, 3.0);
}

#[tokio::test]
async fn what_was_missed_is_asked_for_and_what_cannot_be_had_is_forgotten() {
    let (gateway, events, replay) = told().await;
    let all = cached(&gateway).await;
    let mut publisher = Zmq::accept(&events, b"PUB").await;
    publisher.tell(0, &stored()).await;
    // The one with number 1 is lost on the way, and said again when it is asked for.
    publisher.tell(2, &removed(1)).await;
    let mut repeater = Zmq::accept(&replay, b"ROUTER").await;
    assert_eq!(repeater.asked_for().await, 1);
    repeater.say(&[b"\x01\x00"], 1, &[[0x92, 2, 0x91].as_slice(), &removed(5)].concat()).await;
    repeater.say(&[b"\x01\x00"], u64::MAX, b"").await;
    let left = all - all / 2;
    eventually("both to be taken", async || cached(&gateway).await < left).await;
    assert!(cached(&gateway).await > 0);
    // Nobody has the ones after that any more.
    publisher.tell(9, &stored()).await;
    let mut repeater = Zmq::accept(&replay, b"ROUTER").await;
    assert_eq!(repeater.asked_for().await, 3);
    repeater.say(&[b"\x01\x00"], u64::MAX, b"").await;
    eventually("all to be forgotten", async || cached(&gateway).await == 0).await;
}
