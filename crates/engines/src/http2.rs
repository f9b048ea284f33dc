//! Exchanges over one HTTP/2 connection for each core and backend. hyper drives the connection in a task of its own;
//! each exchange is polled in place.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use plimsoll_types::{Clock, Head};

use crate::Failure;
use crate::http1::note;
use crate::io::{Endpoint, Io};
use crate::outgoing::{Pieces, length};

const LOST: Failure = Failure::Broken("the connection was lost");
const CLOSED: Failure = Failure::Unreachable("the connection was closed");
/// How often a request is sent that was not processed.
const MOST_SENT: u32 = 4;
/// A connection that does not answer a PING for this long is dead.
const PING: Duration = Duration::from_secs(10);

/// The connection of one core to one backend, made when first needed and again when lost.
pub(crate) struct Shared {
    endpoint: Arc<Endpoint>,
    clock: Arc<dyn Clock>,
    /// The connection that new requests go over, and its number.
    sender: RefCell<Option<(u64, SendRequest<Outgoing>)>>,
    made: Cell<u64>,
}

impl Shared {
    pub(crate) fn new(endpoint: Arc<Endpoint>, clock: Arc<dyn Clock>) -> Rc<Self> {
        Rc::new(Self { endpoint, clock, sender: RefCell::default(), made: Cell::default() })
    }

    /// One over a connection that is there already.
    pub(crate) async fn over(
        endpoint: Arc<Endpoint>,
        clock: Arc<dyn Clock>,
        io: Io,
    ) -> Result<Rc<Self>, Failure> {
        let shared = Self::new(endpoint, clock);
        shared.begin(io).await?;
        Ok(shared)
    }

    /// Sends a request. One that the backend did not process, because it lets go of the connection (GOAWAY) or refuses the
    /// stream, is sent again over a new one, whatever its method (RFC 9113, sections 6.8 and 8.7).
    async fn send(self: Rc<Self>, head: Parts, pieces: Pieces) -> Result<Response<Incoming>, Failure> {
        let mut failure = LOST;
        for _ in 0..MOST_SENT {
            let (of, mut sender) = self.connected().await?;
            let body = Outgoing { left: length(&pieces) as u64, pieces: pieces.iter().cloned().collect() };
            let mut error = match sender.try_send_request(Request::from_parts(head.clone(), body)).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            self.let_go(of);
            // The message comes back where none of it was sent.
            let unsent = error.take_message().is_some();
            if !unsent && !is_unprocessed(error.error()) {
                return Err(LOST);
            }
            failure = if unsent { CLOSED } else { LOST };
        }
        Err(failure)
    }

    /// The connection, and its number among those that were made.
    async fn connected(&self) -> Result<(u64, SendRequest<Outgoing>), Failure> {
        let open = self.sender.borrow().clone().filter(|(_, sender)| !sender.is_closed());
        if let Some(open) = open {
            return Ok(open);
        }
        let io = self.endpoint.connect(&*self.clock).await?;
        self.begin(io).await
    }

    /// Uses the connection of this number for no more requests. What runs over it ends.
    fn let_go(&self, number: u64) {
        let mut sender = self.sender.borrow_mut();
        if sender.as_ref().is_some_and(|(of, _)| *of == number) {
            sender.take();
        }
    }

    /// Speaks HTTP/2 over `io` from now on.
    async fn begin(&self, io: Io) -> Result<(u64, SendRequest<Outgoing>), Failure> {
        let handshake = Builder::new(LocalExecutor)
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING / 2)
            .initial_stream_window_size(256 << 10)
            .initial_connection_window_size(1 << 20)
            .handshake(TokioIo::new(io));
        let (sender, connection) =
            handshake.await.map_err(|_| Failure::Unreachable("the HTTP/2 handshake failed"))?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "HTTP/2 connection to backend ended");
            }
        });
        self.made.set(self.made.get() + 1);
        let made = (self.made.get(), sender);
        self.sender.borrow_mut().replace(made.clone());
        Ok(made)
    }
}

/// Whether the backend says that it did not process the request.
fn is_unprocessed(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            let let_go =
                error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR);
            return let_go || error.reason() == Some(h2::Reason::REFUSED_STREAM);
        }
        source = error.source();
    }
    false
}

type Sending = Pin<Box<dyn Future<Output = Result<Response<Incoming>, Failure>>>>;

/// A request and its answer as one stream of the connection.
pub(crate) enum Exchange {
    Sending(Sending),
    Receiving(Incoming),
    Done,
}

impl Exchange {
    pub(crate) fn start(shared: &Rc<Shared>, request: http::request::Builder, pieces: Pieces) -> Self {
        match request.body(()) {
            Ok(request) => {
                let head = request.into_parts().0;
                Self::Sending(Box::pin(Rc::clone(shared).send(head, pieces)))
            }
            Err(_) => {
                Self::Sending(Box::pin(async { Err(Failure::Unreachable("the request cannot be sent")) }))
            }
        }
    }

    pub(crate) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        let (parts, length) = ready!(self.poll_parts(cx))?;
        let mut head = Head { status: parts.status.as_u16(), length, ..Head::default() };
        for (name, value) in &parts.headers {
            note(&mut head, name.as_str(), value.as_bytes());
        }
        Poll::Ready(Ok(head))
    }

    /// Gives the head as it came, and the length of what follows where it is known.
    pub(crate) fn poll_parts(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(http::response::Parts, Option<u64>), Failure>> {
        let Self::Sending(sending) = self else { return Poll::Ready(Err(LOST)) };
        let response = match ready!(sending.as_mut().poll(cx)) {
            Ok(response) => response,
            Err(failure) => {
                *self = Self::Done;
                return Poll::Ready(Err(failure));
            }
        };
        let (parts, body) = response.into_parts();
        let length = body.size_hint().exact();
        *self = Self::Receiving(body);
        Poll::Ready(Ok((parts, length)))
    }

    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        loop {
            let Some(frame) = ready!(self.poll_frame(cx)) else { return Poll::Ready(None) };
            if let Ok(data) = frame?.into_data() {
                return Poll::Ready(Some(Ok(data)));
            }
        }
    }

    /// Gives the next data or the trailers.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let Self::Receiving(body) = self else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            *self = Self::Done;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|_| LOST)))
    }
}

/// The body of a request in its pieces.
pub(crate) struct Outgoing {
    pieces: VecDeque<Bytes>,
    left: u64,
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let next = self.pieces.pop_front();
        self.left -= next.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(next.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
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
