//! The backend of the side-by-side bench: answers OpenAI's requests on several ports, plain or as a stream whose tokens
//! come at a steady pace.
//!
//!   answerer --ports 9001,9002 --tokens 128 --interval-ms 20 --delay-ms 0
//!
//! One thread, no parser that deserves the name: what is measured is who stands in front of it. Every event is a write
//! of its own, as engines do it. It counts the streams that are open, which says when a client that left is gone here
//! too: `GET /open`.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use plimsoll_types::{Clock, Instant, TokioClock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

/// Bytes of a request that are read at most.
const MOST: usize = 4 << 20;
const MODELS: &str =
    r#"{"object":"list","data":[{"id":"m","object":"model","created":0,"owned_by":"bench"}]}"#;
/// What routers want to know of a backend before they use it.
const INFO: &str =
    r#"{"model_path":"m","model_id":"m","is_generation":true,"served_model_name":"m","dp_size":1}"#;

/// How answers are made.
#[derive(Debug, Clone)]
struct Answers {
    /// Tokens of an answer whose request does not say.
    tokens: u32,
    /// Between two tokens of a stream.
    interval: Duration,
    /// Before the first of them, or before a plain answer.
    delay: Duration,
    clock: TokioClock,
    open: Rc<Cell<u32>>,
}

/// A stream that is open, counted.
struct Open(Rc<Cell<u32>>);

impl Open {
    fn new(count: &Rc<Cell<u32>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let number = |name: &str, default: u32| value(name).map_or(Ok(default), |text| text.parse());
    let millis = |number: u32| Duration::from_millis(number.into());
    let answers = Answers {
        tokens: number("--tokens", 64)?,
        interval: millis(number("--interval-ms", 0)?),
        delay: millis(number("--delay-ms", 0)?),
        clock: TokioClock::start(),
        open: Rc::default(),
    };
    let ports: Vec<u16> =
        value("--ports").unwrap_or_default().split(',').map(str::parse).collect::<Result<_, _>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(LocalSet::new().block_on(&runtime, serve(&ports, &answers))?)
}

/// Listens on all `ports`, for ever.
async fn serve(ports: &[u16], answers: &Answers) -> io::Result<()> {
    for port in ports {
        let listener = TcpListener::bind(("127.0.0.1", *port)).await?;
        let answers = answers.clone();
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answers = answers.clone();
                spawn_local(async move { converse(stream, &answers).await.ok() });
            }
        });
    }
    std::future::pending().await
}

/// Answers one request after the other, until the client leaves.
async fn converse(mut stream: TcpStream, answers: &Answers) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut seen = Vec::with_capacity(4 << 10);
    loop {
        let Some(end) = read_request(&mut stream, &mut seen).await? else { return Ok(()) };
        let request: Vec<u8> = seen.drain(..end).collect();
        answer(&mut stream, &request, answers).await?;
    }
}

/// Reads until a whole request is there and gives its length; `None` at the end.
async fn read_request(stream: &mut TcpStream, seen: &mut Vec<u8>) -> io::Result<Option<usize>> {
    loop {
        if let Some(head) = find(seen, b"\r\n\r\n") {
            let end =
                head + 4 + number_after(&seen[..head].to_ascii_lowercase(), b"content-length:").unwrap_or(0);
            if seen.len() >= end {
                return Ok(Some(end));
            }
        }
        if seen.len() > MOST || stream.read_buf(seen).await? == 0 {
            return Ok(None);
        }
    }
}

async fn answer(stream: &mut TcpStream, request: &[u8], answers: &Answers) -> io::Result<()> {
    if request.starts_with(b"GET") {
        let body = match () {
            () if request.starts_with(b"GET /v1/models") => MODELS.to_owned(),
            () if request.starts_with(b"GET /open") => answers.open.get().to_string(),
            () => INFO.to_owned(),
        };
        return plain(stream, &body).await;
    }
    let tokens = number_after(request, b"\"max_tokens\":").map_or(answers.tokens, |tokens| tokens as u32);
    if find(request, b"\"stream\":true").is_some() {
        let _open = Open::new(&answers.open);
        return events(stream, tokens, answers).await;
    }
    if !answers.delay.is_zero() {
        answers.clock.sleep_until(answers.clock.now() + answers.delay).await;
    }
    let usage =
        format!(r#"{{"prompt_tokens":75,"completion_tokens":{tokens},"total_tokens":{}}}"#, 75 + tokens);
    let body = format!(
        r#"{{"id":"chatcmpl-bench","object":"chat.completion","created":1750000000,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":"{}"}},"finish_reason":"length"}}],"usage":{usage}}}"#,
        " token".repeat(tokens as usize),
    );
    plain(stream, &body).await
}

async fn plain(stream: &mut TcpStream, body: &str) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).await
}

/// A stream: the role, the tokens, how it ended, what it took, and the end.
async fn events(stream: &mut TcpStream, tokens: u32, answers: &Answers) -> io::Result<()> {
    let choice = |choice: &str, rest: &str| {
        let base =
            r#""id":"chatcmpl-bench","object":"chat.completion.chunk","created":1750000000,"model":"m""#;
        chunk(&format!("{{{base},\"choices\":[{choice}]{rest}}}"))
    };
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let role = choice(r#"{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}"#, "");
    let token =
        choice(r#"{"index":0,"delta":{"content":" token"},"logprobs":null,"finish_reason":null}"#, "");
    let finish = choice(r#"{"index":0,"delta":{},"finish_reason":"length"}"#, "");
    let usage = format!(
        r#","usage":{{"prompt_tokens":75,"completion_tokens":{tokens},"total_tokens":{}}}"#,
        75 + tokens
    );
    let last = finish + &choice("", &usage) + &chunk("[DONE]") + "0\r\n\r\n";

    stream.write_all((head.to_owned() + &role).as_bytes()).await?;
    let mut due = answers.clock.now() + answers.delay;
    for number in 0..tokens {
        if number > 0 {
            due += answers.interval;
        }
        wait(stream, &answers.clock, due).await?;
        stream.write_all(token.as_bytes()).await?;
    }
    stream.write_all(last.as_bytes()).await
}

/// Waits until `due`, or until the client has left.
async fn wait(stream: &mut TcpStream, clock: &TokioClock, due: Instant) -> io::Result<()> {
    while clock.now() < due {
        let gone = tokio::select! {
            () = clock.sleep_until(due) => return Ok(()),
            ready = stream.readable() => ready.and_then(|()| stream.try_read(&mut [0; 1])),
        };
        // It may have seemed readable and not be.
        if !matches!(&gone, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
    }
    Ok(())
}

fn chunk(data: &str) -> String {
    format!("{:x}\r\ndata: {data}\n\n\r\n", data.len() + 8)
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, what)
}

/// The whole number that stands after `key`, spaces apart.
fn number_after(text: &[u8], key: &[u8]) -> Option<usize> {
    let at = find(text, key)? + key.len();
    let digits = text[at..].iter().skip_while(|byte| **byte == b' ').take_while(|byte| byte.is_ascii_digit());
    digits.fold(None, |number, digit| Some(number.unwrap_or(0) * 10 + usize::from(digit - b'0')))
}
