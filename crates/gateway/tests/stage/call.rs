use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::{Value, json};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedSender;

use super::within;

/// A connection of the gateway.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {
    fn tcp(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Wire for tokio_rustls::server::TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// A request that came to a backend, and the connection to answer it on. Dropping it closes the connection.
pub(crate) struct Call {
    /// Which backend.
    pub(crate) backend: usize,
    /// Which connection, of all there ever were.
    pub(crate) connection: u32,
    /// The request line and the fields, as they came.
    pub(crate) head: String,
    /// The body, as it came.
    pub(crate) body: Vec<u8>,
    wire: Box<dyn Wire>,
    told: UnboundedSender<Call>,
    background: Background,
}

/// What a backend answers by itself: questions that the gateway asks in the background.
#[derive(Clone, Default)]
pub(crate) struct Background(Arc<Mutex<Said>>);

#[derive(Default)]
struct Said {
    metrics: Option<String>,
    health: Health,
}

/// How a backend answers when it is asked whether it is well.
#[derive(Clone, Copy, Default, PartialEq)]
pub(crate) enum Health {
    #[default]
    Well,
    Unwell,
    /// It does not get round to answering.
    Late,
}

impl Background {
    /// From now on it has these metrics.
    pub(crate) fn says(&self, metrics: &str) {
        self.0.lock().unwrap().metrics = Some(metrics.to_owned());
    }

    /// From now on it is like that.
    pub(crate) fn is(&self, health: Health) {
        self.0.lock().unwrap().health = health;
    }

    /// What it answers to a request with this head; nothing at all where that is empty.
    fn answer(&self, head: &str) -> Option<String> {
        let path = head.strip_prefix("GET ")?.split([' ', '?']).next()?;
        let answer = |status, body: &str| {
            format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        };
        let said = self.0.lock().unwrap();
        if path.ends_with("/health") {
            return Some(match said.health {
                Health::Well => answer(200, ""),
                Health::Unwell => answer(503, ""),
                Health::Late => String::new(),
            });
        }
        let metrics = || said.metrics.as_ref().map_or(answer(404, ""), |metrics| answer(200, metrics));
        path.ends_with("/metrics").then(metrics)
    }
}

const STREAM: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

impl Call {
    /// Reads a request from `wire` and gives it to the test.
    pub(crate) async fn read(
        mut wire: Box<dyn Wire>,
        (backend, connection): (usize, u32),
        (told, background): (UnboundedSender<Self>, Background),
    ) {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if !matches!(wire.read_buf(&mut bytes).await, Ok(1..)) {
                return;
            }
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let length = field(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = bytes.split_off(end);
        while body.len() < length {
            if !matches!(wire.read_buf(&mut body).await, Ok(1..)) {
                return;
            }
        }
        assert_eq!(body.len(), length, "the gateway sends nothing after a request");
        let mut call = Self {
            backend,
            connection,
            head,
            body,
            wire,
            told: told.clone(),
            background: background.clone(),
        };
        if let Some(answer) = background.answer(&call.head) {
            if answer.is_empty() {
                return call.is_left().await;
            }
            call.write(answer).await;
            return call.keep();
        }
        // The test may be over.
        let _ = told.send(call);
    }

    /// The value of a header field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    /// The body, as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Writes tokens without end, until the gateway leaves; counts the bytes that were taken.
    pub(crate) async fn flood(mut self, taken: Arc<AtomicUsize>) {
        let event = event(&token(&"x".repeat(16 << 10)));
        let piece = [format!("{:x}\r\n", event.len()).as_bytes(), &event[..], b"\r\n"].concat();
        while self.try_write(&piece).await.is_ok() {
            taken.fetch_add(piece.len(), SeqCst);
        }
    }

    /// Sends bytes. That the gateway may have left is for the test to find out.
    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.try_write(bytes.as_ref()).await;
    }

    /// Sends bytes.
    pub(crate) async fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.write_all(bytes).await?;
        self.wire.flush().await
    }

    /// Answers as a whole; the connection waits for the next request.
    pub(crate) async fn answer(mut self, status: u16, fields: &str, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let head = format!(
            "HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{fields}\r\n",
            body.len()
        );
        self.write([head.as_bytes(), body].concat()).await;
        self.keep();
    }

    /// Answers a question with `text`.
    pub(crate) async fn say(self, text: &str) {
        let message = json!({"role": "assistant", "content": text});
        let body = json!({
            "id": "c", "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
        });
        self.answer(200, "", body.to_string()).await;
    }

    /// Begins a stream of events, without any.
    pub(crate) async fn begin(&mut self) {
        self.write(STREAM).await;
    }

    /// Sends a piece of a stream, whatever it is.
    pub(crate) async fn piece(&mut self, text: &str) {
        self.write(format!("{:x}\r\n{text}\r\n", text.len())).await;
    }

    /// Sends an event.
    pub(crate) async fn event(&mut self, data: &str) {
        self.piece(&format!("data: {data}\n\n")).await;
    }

    /// Sends a token.
    pub(crate) async fn token(&mut self, text: &str) {
        self.event(&token(text)).await;
    }

    /// Begins a stream and sends its first token.
    pub(crate) async fn begin_with(&mut self, text: &str) {
        self.begin().await;
        self.token(text).await;
    }

    /// Ends a stream as it should be; the connection waits for the next request.
    pub(crate) async fn finish(mut self) {
        self.event(&finish()).await;
        self.event("[DONE]").await;
        self.close_stream().await;
    }

    /// Ends the transfer of a stream, whatever was said in it.
    pub(crate) async fn close_stream(mut self) {
        self.write("0\r\n\r\n").await;
        self.keep();
    }

    /// Tells a short story as a stream.
    pub(crate) async fn tell(mut self) {
        self.begin_with("once").await;
        self.token(" upon").await;
        self.finish().await;
    }

    /// Lets the next request come on this connection.
    fn keep(self) {
        let from = (self.backend, self.connection);
        tokio::spawn(Self::read(self.wire, from, (self.told, self.background)));
    }

    /// Breaks the connection.
    pub(crate) fn reset(self) {
        SockRef::from(self.wire.tcp()).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }

    /// Waits until the gateway has closed the connection.
    pub(crate) async fn is_left(&mut self) {
        let read = within("the gateway to leave", self.wire.read(&mut [0; 1])).await;
        assert!(!matches!(read, Ok(1..)), "the gateway sends nothing after a request");
    }
}

/// An event with this data.
pub(crate) fn event(data: &str) -> Bytes {
    Bytes::from(format!("data: {data}\n\n"))
}

/// The data of an event with a token.
pub(crate) fn token(text: &str) -> String {
    json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]}).to_string()
}

/// The data of the event that says why a stream ends.
pub(crate) fn finish() -> String {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}).to_string()
}

/// The value of a field in a head.
pub(crate) fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().skip(1).find_map(|line| {
        let (this, value) = line.split_once(':')?;
        this.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
