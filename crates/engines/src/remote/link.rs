use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use plimsoll_proto::plimsoll::v1::{StepsRequest, StepsResponse};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use super::{Address, CONFUSED, OTHER_VERSION};
use crate::executor::Failed;
use crate::grpc::{Frames, put_frame};

const METHOD: &str = "/plimsoll.v1.ExecutorService/Steps";
/// How long an executor may take for one answer: a step of very long prompts on a slow device is far below.
const ANSWER: Duration = Duration::from_secs(60);
const MAX_MESSAGE: usize = 64 << 20;
/// `FAILED_PRECONDITION`.
const PRECONDITION: &str = "9";

const LOST: Failed = Failed("the connection to the executor was lost");
const SILENT: Failed = Failed("the executor does not answer");

/// One call to an executor.
pub(super) struct Link {
    runtime: Runtime,
    asks: UnboundedSender<Bytes>,
    answers: Answers,
    frames: Frames,
}

/// The response comes with its first answer.
enum Answers {
    Awaited(Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>),
    Coming(Incoming),
}

impl Link {
    /// Connects and calls.
    pub(super) fn open(address: &Address, connect_timeout: Duration) -> Result<Self, Failed> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|_| Failed("the system has no room for a connection"))?;
        let opened = runtime.block_on(async { timeout(connect_timeout, connect(address)).await });
        let mut sender = opened.map_err(|_| Failed("the connection to the executor took too long"))??;
        let (asks, body) = unbounded_channel();
        let request = Request::post(format!("http://executor{METHOD}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Asks(body))
            .map_err(|_| LOST)?;
        let response = async move { sender.send_request(request).await };
        let answers = Answers::Awaited(Box::pin(response));
        Ok(Self { runtime, asks, answers, frames: Frames::new(MAX_MESSAGE) })
    }

    /// Asks one thing and waits for the answer.
    pub(super) fn exchange(&mut self, request: &StepsRequest) -> Result<StepsResponse, Failed> {
        let mut frame = Vec::new();
        put_frame(&mut frame, &request.encode_to_vec());
        self.asks.send(frame.into()).map_err(|_| LOST)?;
        let Self { runtime, answers, frames, .. } = self;
        runtime.block_on(async { timeout(ANSWER, answer(answers, frames)).await }).map_err(|_| SILENT)?
    }
}

async fn connect(address: &Address) -> Result<SendRequest<Asks>, Failed> {
    let refused = |_| Failed("the executor cannot be reached");
    match address {
        Address::Unix(path) => greet(UnixStream::connect(path).await.map_err(refused)?).await,
        Address::Tcp(authority) => {
            let tcp = TcpStream::connect(authority).await.map_err(refused)?;
            tcp.set_nodelay(true).map_err(|_| LOST)?;
            greet(tcp).await
        }
    }
}

async fn greet(
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<SendRequest<Asks>, Failed> {
    let (sender, connection) = handshake(Spawn, TokioIo::new(io)).await.map_err(|_| LOST)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to executor ended");
        }
    });
    Ok(sender)
}

async fn answer(answers: &mut Answers, frames: &mut Frames) -> Result<StepsResponse, Failed> {
    if let Answers::Awaited(response) = answers {
        let response = response.await.map_err(|_| LOST)?;
        if response.status() != http::StatusCode::OK {
            return Err(CONFUSED);
        }
        if response.headers().contains_key("grpc-status") {
            return Err(ended(response.headers()));
        }
        *answers = Answers::Coming(response.into_body());
    }
    let Answers::Coming(body) = answers else { return Err(LOST) };
    loop {
        if let Some(message) = frames.take().map_err(|_| CONFUSED)? {
            if message.compressed {
                return Err(CONFUSED);
            }
            return StepsResponse::decode(message.bytes).map_err(|_| CONFUSED);
        }
        let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await.ok_or(LOST)?;
        match frame.map_err(|_| LOST)?.into_data() {
            Ok(data) => frames.push(&data),
            Err(frame) => return Err(frame.trailers_ref().map_or(LOST, ended)),
        }
    }
}

/// Why an executor ended the call.
fn ended(trailers: &HeaderMap) -> Failed {
    let said = |name| trailers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let status = said("grpc-status");
    tracing::warn!(status, message = said("grpc-message"), "an executor ended its call");
    if status == PRECONDITION { OTHER_VERSION } else { Failed("the executor ended its call") }
}

/// What is asked, as the body of the call.
struct Asks(UnboundedReceiver<Bytes>);

impl Body for Asks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|ask| ask.map(|ask| Ok(Frame::data(ask))))
    }
}

/// Runs hyper's tasks on the link's own runtime.
#[derive(Clone, Copy)]
pub(super) struct Spawn;

impl<F> hyper::rt::Executor<F> for Spawn
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        tokio::spawn(future);
    }
}
