//! One client connection: which protocol it speaks, and its requests until it ends.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use crate::body::Body;
use crate::client_io::{ClientIo, Watched};
use crate::core::Core;
use crate::janitor::Kept;
use crate::serve;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Serves a connection to its end.
pub(crate) async fn serve_connection(core: Rc<Core>, tcp: TcpStream) {
    let kept = core.janitor.keep();
    let late = core
        .clock
        .sleep_until(core.clock.now() + HANDSHAKE.max(core.settings().config.requests.head_timeout));
    let opened = tokio::select! {
        opened = open(&core, tcp, &kept) => opened,
        () = late => return,
        () = closed(&kept.watched) => return,
    };
    let Some((io, http2)) = opened else { return };
    let (service_core, watched) = (Rc::clone(&core), Rc::clone(&kept.watched));
    let service = service_fn(move |request| answer(Rc::clone(&service_core), Rc::clone(&watched), request));
    if http2 {
        let connection = http2::Builder::new(LocalExecutor)
            .timer(TokioTimer::new())
            .max_concurrent_streams(100)
            .initial_stream_window_size(256 << 10)
            .initial_connection_window_size(1 << 20)
            .max_header_list_size(16 << 10)
            .max_send_buf_size(128 << 10)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20))
            .serve_connection(TokioIo::new(io), service);
        drive(connection, |connection| connection.graceful_shutdown(), &core, &kept).await;
    } else {
        let connection =
            http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(io), service);
        drive(connection, |connection| connection.graceful_shutdown(), &core, &kept).await;
    }
}

/// The TLS handshake, where there is one, and the protocol.
async fn open(core: &Core, tcp: TcpStream, kept: &Kept) -> Option<(ClientIo, bool)> {
    // Tokens are small and must not wait for each other.
    tcp.set_nodelay(true).ok()?;
    let watched = Rc::clone(&kept.watched);
    let mut io = match &core.house.tls {
        None => ClientIo::plain(tcp, watched),
        Some(acceptor) => ClientIo::tls(acceptor.accept(tcp).await.ok()?, watched),
    };
    let http2 = io.speaks_http2().await.ok()?;
    Some((io, http2))
}

/// Polls a connection until it ends, or until it is to be closed; asks it to finish when the gateway goes.
async fn drive<C, E>(connection: C, finish: impl Fn(Pin<&mut C>), core: &Core, kept: &Kept)
where
    C: Future<Output = Result<(), E>>,
{
    let (mut connection, mut finishing, watched) = (pin!(connection), false, &kept.watched);
    poll_fn(|cx| {
        if watched.close.get() {
            return Poll::Ready(());
        }
        if !finishing && core.house.shared.is_draining() {
            finishing = true;
            finish(connection.as_mut());
        }
        remember(watched, cx);
        connection.as_mut().poll(cx).map(|_| ())
    })
    .await;
}

async fn closed(watched: &Watched) {
    poll_fn(|cx| {
        remember(watched, cx);
        if watched.close.get() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

fn remember(watched: &Watched, cx: &Context<'_>) {
    let mut waker = watched.waker.borrow_mut();
    match &mut *waker {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *waker = Some(cx.waker().clone()),
    }
}

async fn answer(
    core: Rc<Core>,
    watched: Rc<Watched>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    watched.head_since.set(None);
    let serving = Serving::begin(watched);
    let response = serve::respond(&core, &serving.0, request).await;
    Ok(response.map(|body| body.until_sent(serving)))
}

/// Counts a request in on its connection, until its answer is sent.
pub(crate) struct Serving(Rc<Watched>);

impl Serving {
    fn begin(watched: Rc<Watched>) -> Self {
        watched.serving.set(watched.serving.get() + 1);
        Self(watched)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let left = self.0.serving.get() - 1;
        self.0.serving.set(left);
        if left == 0 {
            self.0.idle_since.set(self.0.coarse_now.get());
        }
    }
}

/// Runs hyper's tasks on this core.
#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor
where
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
