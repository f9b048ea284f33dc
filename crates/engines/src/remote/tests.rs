//! What is asked of an executor that answers as a test wants it, over a socket.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use plimsoll_proto::plimsoll::v1::{ExecutorStepped, ExecutorToken, ExecutorTokens, StepsResponse};
use prost::Message;

use super::link::Spawn;
use super::*;
use crate::executor::Sampling;
use crate::grpc::{Frames, put_frame};

/// What an executor answers; `None` ends the call as one of another version would.
type Answers = dyn Fn(StepsRequest) -> Option<Answer> + Send + Sync;

/// One call, as its executor sees it.
struct Answering {
    asks: Incoming,
    frames: Frames,
    answers: Arc<Answers>,
    over: bool,
}

impl Body for Answering {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            if self.over {
                return Poll::Ready(None);
            }
            if let Some(message) = self.frames.take().unwrap() {
                let answer = (self.answers)(StepsRequest::decode(message.bytes).unwrap());
                self.over = answer.is_none();
                let Some(answer) = answer else {
                    let status =
                        HeaderMap::from_iter([("grpc-status".parse().unwrap(), "9".parse().unwrap())]);
                    return Poll::Ready(Some(Ok(Frame::trailers(status))));
                };
                let mut frame = Vec::new();
                let response = StepsResponse { load: None, answer: Some(answer) };
                put_frame(&mut frame, &response.encode_to_vec());
                return Poll::Ready(Some(Ok(Frame::data(frame.into()))));
            }
            match ready!(Pin::new(&mut self.asks).poll_frame(cx)) {
                Some(Ok(frame)) => self.frames.push(&frame.into_data().unwrap()),
                _ => self.over = true,
            }
        }
    }
}

/// An executor with `answers`, for one connection, on a thread of its own.
fn executor(answers: impl Fn(StepsRequest) -> Option<Answer> + Send + Sync + 'static) -> Remote {
    static SOCKETS: AtomicU32 = AtomicU32::new(0);
    let name = format!("plimsoll-{}-{}.sock", std::process::id(), SOCKETS.fetch_add(1, Relaxed));
    let path = std::env::temp_dir().join(name);
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    let (answers, socket): (Arc<Answers>, _) = (Arc::new(answers), path.clone());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (io, _) = tokio::net::UnixListener::from_std(listener).unwrap().accept().await.unwrap();
            std::fs::remove_file(socket).unwrap();
            let service = service_fn(|request: http::Request<Incoming>| {
                let (asks, frames) = (request.into_body(), Frames::new(1 << 20));
                let answers = Arc::clone(&answers);
                async { Ok::<_, Infallible>(Response::new(Answering { asks, frames, answers, over: false })) }
            });
            let server = hyper::server::conn::http2::Builder::new(Spawn);
            let _ = server.serve_connection(TokioIo::new(io), service).await;
        });
    });
    Remote::new(Address::Unix(path), Duration::from_secs(5))
}

/// Tokens are bytes, and the next one is the last one's successor.
fn counts(request: StepsRequest) -> Option<Answer> {
    Some(match request.ask? {
        Ask::Hello(_) => Answer::Welcome(welcome()),
        Ask::Prompt(prompt) => match prompt.prompt? {
            Said::Text(text) => Answer::Tokens(ExecutorTokens {
                ids: text.bytes().map(u32::from).collect(),
                ..Default::default()
            }),
            _ => Answer::Tokens(ExecutorTokens { refusal: "texts only".into(), ..Default::default() }),
        },
        Ask::Step(step) => {
            let token = |piece: &ExecutorPiece| {
                let id = piece.tokens.last()? + 1;
                let end = request.forget.contains(&piece.sequence);
                piece.writes.then_some(ExecutorToken { id, text: vec![id as u8], end })
            };
            let tokens = step.pieces.iter().filter_map(token).collect();
            Answer::Stepped(ExecutorStepped { tokens, micros: 1 })
        }
    })
}

const GREEDY: Sampling =
    Sampling { temperature: 0.0, top_p: 1.0, top_k: 0, seed: 0, likely: None, endless: false };

fn piece(number: Number, tokens: &[u32], writes: bool) -> Piece<'_> {
    Piece { number, position: 0, tokens, blocks: &[], writes, sampling: &GREEDY }
}

#[test]
fn prompts_are_read_and_steps_computed_over_a_socket() {
    let mut remote = executor(counts);
    assert_eq!(remote.load().unwrap().name, "toy");
    assert_eq!(remote.read(&Prompt::Text("ab".into())), Ok(vec![97, 98]));
    assert_eq!(remote.read(&Prompt::Tokens(vec![1])), Err(Unread::Refused("texts only".into())));
    let mut output = Output::default();
    remote.forget(3);
    remote
        .step(&[piece(1, &[97], true), piece(2, &[98], false), piece(3, &[99], true)], &mut output)
        .unwrap();
    let written: Vec<_> =
        output.tokens().iter().map(|token| (token.id, output.text(token).to_vec(), token.end)).collect();
    assert_eq!(written, [(98, b"b".to_vec(), false), (100, b"d".to_vec(), true)]);
}

#[test]
fn an_executor_that_ends_the_call_over_its_version_is_told_from_one_that_is_lost() {
    assert_eq!(executor(|_| None).load(), Err(OTHER_VERSION));
    let mut remote =
        executor(|request| counts(request).filter(|answer| matches!(answer, Answer::Welcome(_))));
    remote.load().unwrap();
    assert!(remote.step(&[piece(1, &[97], true)], &mut Output::default()).is_err());
    let lost = remote.step(&[piece(1, &[97], true)], &mut Output::default());
    assert_eq!(lost, Err(Failed("the executor is not connected")));
}

#[test]
fn an_executor_that_answers_something_else_is_let_go() {
    let mut remote = executor(|_| Some(Answer::Stepped(ExecutorStepped::default())));
    assert_eq!(remote.load(), Err(CONFUSED));
}

fn welcome() -> ExecutorWelcome {
    ExecutorWelcome {
        version: VERSION,
        model: "toy".into(),
        context_tokens: 64,
        step_tokens: 16,
        chunk_tokens: 0,
        sequences: 4,
        kv_blocks: 32,
        block_tokens: 4,
        paged: true,
    }
}

#[test]
fn an_address_is_a_socket_or_a_host_and_a_port() {
    assert_eq!(Address::parse("engine+unix:///run/x.sock"), Ok(Address::Unix("/run/x.sock".into())));
    assert_eq!(Address::parse("engine+tcp://127.0.0.1:7000"), Ok(Address::Tcp("127.0.0.1:7000".into())));
    assert_eq!(Address::parse("engine+tcp://[::1]:7000"), Ok(Address::Tcp("[::1]:7000".into())));
    for wrong in [
        "engine+unix://x.sock",
        "engine+unix:///run/",
        "engine+tcp://host",
        "engine+tcp://u@h:1",
        "engine+x:",
    ] {
        assert_eq!(Address::parse(wrong).err().map(|invalid| invalid.key), Some("url"), "{wrong}");
    }
}

#[test]
fn an_executor_of_another_version_or_without_room_is_refused_in_words() {
    let said = |change: fn(&mut ExecutorWelcome)| {
        let mut welcome = welcome();
        change(&mut welcome);
        model(welcome).map_err(|failed| failed.0)
    };
    assert_eq!(said(|_| {}).unwrap().limits.chunk_tokens, u32::MAX);
    assert_eq!(said(|welcome| welcome.version = 2), Err(OTHER_VERSION.0));
    assert_eq!(said(|welcome| welcome.model.clear()), Err("the executor does not name its model"));
    for change in [
        |welcome: &mut ExecutorWelcome| welcome.kv_blocks = u32::MAX,
        |welcome: &mut ExecutorWelcome| welcome.block_tokens = 0,
        |welcome: &mut ExecutorWelcome| welcome.context_tokens = 1,
        |welcome: &mut ExecutorWelcome| welcome.sequences = 0,
    ] {
        assert!(said(change).is_err_and(|why| why.contains("limits")));
    }
}

#[test]
fn an_executor_that_is_not_there_is_told_at_once() {
    let mut remote = Remote::new(Address::Unix("/nonexistent/x.sock".into()), Duration::from_secs(1));
    assert_eq!(remote.load(), Err(Failed("the executor cannot be reached")));
    assert_eq!(remote.read(&Prompt::Text("x".into())), Err(Failed("the executor is not connected").into()));
}
