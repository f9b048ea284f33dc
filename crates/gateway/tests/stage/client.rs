use std::net::SocketAddr;

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::call::field;
use super::within;

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// A client's connection over HTTP/1.1, byte by byte. Dropping it is how a client leaves.
pub(crate) struct Client {
    wire: Box<dyn Duplex>,
    read: Vec<u8>,
    /// What of a stream has come but is not a whole event yet.
    events: String,
}

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{} is not JSON", self.text()))
    }

    /// What a plain answer says.
    pub(crate) fn content(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    }

    /// The code of an error.
    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_else(|| panic!("{}", self.text())).to_owned()
    }
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let tcp = within("a connection", TcpStream::connect(address)).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        Self::over(tcp)
    }

    /// A client whose system takes in little before it reads.
    pub(crate) async fn connect_narrow(address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        socket.connect(&address.into()).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self::over(TcpStream::from_std(socket.into()).unwrap())
    }

    pub(crate) fn over(wire: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        Self { wire: Box::new(wire), read: Vec::new(), events: String::new() }
    }

    /// Sends a request with a body of known length.
    pub(crate) async fn send(&mut self, method: &str, path: &str, fields: &[(&str, &str)], body: &str) {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n");
        if !fields.iter().any(|(name, _)| *name == "content-type") {
            head += "content-type: application/json\r\n";
        }
        for (name, value) in fields {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("content-length: {}\r\n\r\n", body.len());
        self.write(head + body).await;
    }

    /// The status of the list of models, if the gateway answers at all.
    pub(crate) async fn ask_models(&mut self) -> Option<u16> {
        let _ = self.wire.write_all(b"GET /v1/models HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        let answer = self.until_closed().await;
        std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.write_all(bytes.as_ref()).await.unwrap();
        self.wire.flush().await.unwrap();
    }

    /// Reads more; false at the end.
    async fn more(&mut self, what: &str) -> bool {
        let read = within(what, self.wire.read_buf(&mut self.read)).await;
        matches!(read, Ok(1..))
    }

    /// The status and the head of the answer.
    pub(crate) async fn head(&mut self) -> (u16, String) {
        loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.read.drain(..end + 4).collect();
                let head = String::from_utf8(head).unwrap();
                return (head[9..12].parse().unwrap(), head);
            }
            assert!(self.more("the head of an answer").await, "the gateway closed before it answered");
        }
    }

    /// The answer as a whole.
    pub(crate) async fn answer(&mut self) -> Answer {
        let (status, head) = self.head().await;
        let mut body = Vec::new();
        if status == 204 {
            return Answer { status, head, body };
        }
        if let Some(length) = field(&head, "content-length") {
            let length: usize = length.parse().unwrap();
            while self.read.len() < length {
                assert!(self.more("the body of an answer").await, "the body was cut short");
            }
            body.extend(self.read.drain(..length));
        } else {
            while let Some(piece) = self.piece().await {
                body.extend(piece);
            }
        }
        Answer { status, head, body }
    }

    /// The head of a stream that is one.
    pub(crate) async fn begun(&mut self) -> String {
        let (status, head) = self.head().await;
        assert_eq!((status, field(&head, "content-type")), (200, Some("text/event-stream")), "{head}");
        head
    }

    /// The next chunk of the body; `None` at its end.
    async fn piece(&mut self) -> Option<Vec<u8>> {
        let end = loop {
            if let Some(end) = self.read.windows(2).position(|two| two == b"\r\n") {
                break end;
            }
            assert!(self.more("a chunk").await, "the body was not ended");
        };
        let size = std::str::from_utf8(&self.read[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        while self.read.len() < end + 2 + size + 2 {
            assert!(self.more("the rest of a chunk").await, "the body was cut inside a chunk");
        }
        let piece = self.read[end + 2..end + 2 + size].to_vec();
        self.read.drain(..end + 2 + size + 2);
        (size > 0).then_some(piece)
    }

    /// The next event of a stream, without its blank line; `None` at its end.
    pub(crate) async fn event(&mut self) -> Option<String> {
        loop {
            // A comment ends with its line.
            if let Some(end) = self.events.find('\n').filter(|_| self.events.starts_with(':')) {
                let comment = self.events.drain(..=end).collect::<String>();
                return Some(comment.trim_end().to_owned());
            }
            if let Some(end) = self.events.find("\n\n") {
                let event = self.events.drain(..end + 2).collect::<String>();
                return Some(event.trim_end().to_owned());
            }
            let piece = self.piece().await;
            let Some(piece) = piece else {
                assert_eq!(self.events, "", "the stream ended inside an event");
                return None;
            };
            self.events += std::str::from_utf8(&piece).unwrap();
        }
    }

    /// The text of the next event, which must be a token.
    pub(crate) async fn token(&mut self) -> String {
        let event = self.event().await.expect("a token, not the end");
        let data: Value = serde_json::from_str(event.strip_prefix("data: ").expect("a token")).unwrap();
        data["choices"][0]["delta"]["content"].as_str().unwrap_or_else(|| panic!("{event}")).to_owned()
    }

    /// The rest of a stream.
    pub(crate) async fn rest(&mut self) -> Vec<String> {
        let mut events = Vec::new();
        while let Some(event) = self.event().await {
            events.push(event);
        }
        events
    }

    /// The text of a stream that ends as it should.
    pub(crate) async fn story(&mut self) -> String {
        self.begun().await;
        let events = self.rest().await;
        assert_eq!(events.last().map(String::as_str), Some("data: [DONE]"), "{events:?}");
        let text = |event: &String| {
            let data: Value = serde_json::from_str(event.strip_prefix("data: ")?).ok()?;
            data["choices"][0]["delta"]["content"].as_str().map(str::to_owned)
        };
        events.iter().filter_map(text).collect()
    }

    /// The code of the error that ends a stream: one event, nothing after it, no `[DONE]`.
    pub(crate) async fn error_at_end(&mut self) -> String {
        let events = self.rest().await;
        let [only] = &events[..] else { panic!("{events:?}") };
        let data: Value = serde_json::from_str(only.strip_prefix("data: ").unwrap()).unwrap();
        let error = data["error"].as_object().unwrap_or_else(|| panic!("{only}"));
        let mut keys: Vec<&str> = error.keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["code", "message", "param", "type"]);
        error["code"].as_str().unwrap().to_owned()
    }

    /// Reads to the end of the connection; what came.
    pub(crate) async fn until_closed(&mut self) -> Vec<u8> {
        while self.more("the gateway to close the connection").await {}
        std::mem::take(&mut self.read)
    }
}
