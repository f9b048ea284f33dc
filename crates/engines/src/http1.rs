//! One exchange over HTTP/1.1, polled in place: no task and no channel between the socket and whoever reads.
//!
//! ```text
//!   idle connection ─▶ writing ─▶ head ─▶ body ─▶ back to the idle ones, after a whole and clean exchange
//!        │ none          ▲  │ dead before its first byte of answer: once more, on a new connection
//!        └──▶ connecting ┘  └────────────────────▶ connecting
//! ```

mod body;
mod head;
mod pool;

pub(crate) use head::note;
pub(crate) use pool::Pool;

use std::future::Future;
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use plimsoll_types::Head;
use tokio::io::{AsyncReadExt, AsyncWrite};

use crate::Failure;
use crate::io::Io;
use crate::outgoing::Pieces;
use body::Body;

const CLOSED_EARLY: Failure = Failure::Broken("the connection was closed before the answer was complete");
const LOST: Failure = Failure::Broken("the connection was lost");
/// Bytes asked of the socket at a time: some thirty events, and little to hold for a thousand quiet streams.
const READ: usize = 8 << 10;

/// A connection and what was read from it but not used.
pub(crate) struct Connection {
    io: Io,
    read: BytesMut,
}

type Connecting = Pin<Box<dyn Future<Output = Result<Io, Failure>>>>;

enum State {
    Connecting(Connecting),
    Writing { sent: usize },
    Head,
    Body(Body),
    Done,
}

/// A request and its answer on one connection.
pub(crate) struct Exchange {
    pool: Rc<Pool>,
    head: Vec<u8>,
    pieces: Pieces,
    connection: Option<Connection>,
    state: State,
    /// Whether the connection was used before, and may be dead without anybody's fault.
    reused: bool,
}

impl Exchange {
    /// Begins to send `head`, complete with its blank line, and the body after it.
    /// `fresh` says to do so on a new connection.
    pub(crate) fn start(pool: &Rc<Pool>, head: Vec<u8>, pieces: Pieces, fresh: bool) -> Self {
        let connection = if fresh { None } else { pool.take() };
        let reused = connection.is_some();
        let state = if reused { State::Writing { sent: 0 } } else { State::Connecting(pool.connect()) };
        Self { pool: Rc::clone(pool), head, pieces, connection, state, reused }
    }

    /// Begins to send `head` on a connection that somebody else has made.
    pub(crate) fn over(pool: &Rc<Pool>, io: Io, head: Vec<u8>) -> Self {
        let connection = Some(Connection { io, read: BytesMut::with_capacity(READ) });
        let (pool, pieces) = (Rc::clone(pool), Pieces::new());
        Self { pool, head, pieces, connection, state: State::Writing { sent: 0 }, reused: false }
    }

    /// Gives the beginning of the answer, once.
    pub(crate) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        loop {
            match ready!(self.step(cx)) {
                Ok(Some(head)) => return Poll::Ready(Ok(head)),
                Ok(None) => {}
                Err(failure) if self.may_repeat(failure) => self.reconnect(),
                Err(failure) => {
                    self.end(false);
                    return Poll::Ready(Err(failure));
                }
            }
        }
    }

    /// Gives the next bytes of the body; `None` at its clean end.
    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        let (State::Body(body), Some(connection)) = (&mut self.state, &mut self.connection) else {
            return Poll::Ready(None);
        };
        loop {
            match body.next(&mut connection.read) {
                Ok(Some(bytes)) => {
                    if body.is_done() {
                        self.end(true);
                    }
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Ok(None) if body.is_done() => {
                    self.end(true);
                    return Poll::Ready(None);
                }
                Ok(None) => {}
                Err(failure) => {
                    self.end(false);
                    return Poll::Ready(Some(Err(failure)));
                }
            }
            match ready!(read(connection, cx, body.wants())) {
                Ok(0) if body.ends_with_connection() => {
                    self.end(false);
                    return Poll::Ready(None);
                }
                Ok(0) => {
                    self.end(false);
                    return Poll::Ready(Some(Err(CLOSED_EARLY)));
                }
                Ok(_) => {}
                Err(failure) => {
                    self.end(false);
                    return Poll::Ready(Some(Err(failure)));
                }
            }
        }
    }

    /// One step towards the head.
    fn step(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Head>, Failure>> {
        match &mut self.state {
            State::Connecting(connecting) => {
                let io = ready!(connecting.as_mut().poll(cx))?;
                self.connection = Some(Connection { io, read: BytesMut::with_capacity(READ) });
                self.state = State::Writing { sent: 0 };
                Poll::Ready(Ok(None))
            }
            State::Writing { sent } => {
                let connection = self.connection.as_mut().expect("there is one once connected");
                let written = ready!(write(&mut connection.io, cx, &self.head, &self.pieces, *sent))?;
                *sent += written;
                if *sent == self.head.len() + crate::outgoing::length(&self.pieces) {
                    self.state = State::Head;
                }
                Poll::Ready(Ok(None))
            }
            State::Head => {
                let connection = self.connection.as_mut().expect("there is one once connected");
                if let Some((head, body)) = head::parse(&mut connection.read)? {
                    self.state = State::Body(body);
                    return Poll::Ready(Ok(Some(head)));
                }
                match ready!(read(connection, cx, READ))? {
                    0 => Poll::Ready(Err(CLOSED_EARLY)),
                    _ => Poll::Ready(Ok(None)),
                }
            }
            State::Body(_) | State::Done => Poll::Ready(Err(CLOSED_EARLY)),
        }
    }

    /// Whether it was only the idle connection that had died: no byte of an answer came on it.
    fn may_repeat(&self, failure: Failure) -> bool {
        self.reused
            && (failure == LOST || failure == CLOSED_EARLY)
            && self.connection.as_ref().is_some_and(|connection| connection.read.is_empty())
    }

    fn reconnect(&mut self) {
        self.connection = None;
        self.reused = false;
        self.state = State::Connecting(self.pool.connect());
    }

    /// Ends the exchange; after a clean one the connection may be used again.
    fn end(&mut self, clean: bool) {
        let state = std::mem::replace(&mut self.state, State::Done);
        if let (State::Body(body), Some(connection)) = (state, self.connection.take())
            && clean
            && body.keeps_connection()
            && connection.read.is_empty()
        {
            self.pool.put(connection);
        }
    }
}

fn read(connection: &mut Connection, cx: &mut Context<'_>, wants: usize) -> Poll<Result<usize, Failure>> {
    let spare = connection.read.capacity() - connection.read.len();
    if spare < READ / 4 {
        // Room is made only when there is something to put into it: by then whoever got the earlier bytes is done
        // with them as a rule, and their room is used again instead of new room being allocated.
        ready!(connection.io.poll_read_ready(cx)).map_err(|_| LOST)?;
        connection.read.reserve(wants.max(READ));
    }
    let read = pin!(connection.io.read_buf(&mut connection.read)).poll(cx);
    read.map_err(|_| LOST)
}

fn write(
    io: &mut Io,
    cx: &mut Context<'_>,
    head: &[u8],
    pieces: &[Bytes],
    sent: usize,
) -> Poll<Result<usize, Failure>> {
    let mut slices = smallvec::SmallVec::<[IoSlice<'_>; 6]>::new();
    let mut skip = sent;
    for part in std::iter::once(head).chain(pieces.iter().map(|piece| &piece[..])) {
        if skip < part.len() {
            slices.push(IoSlice::new(&part[skip..]));
        }
        skip = skip.saturating_sub(part.len());
    }
    match ready!(Pin::new(io).poll_write_vectored(cx, &slices)) {
        Ok(0) | Err(_) => Poll::Ready(Err(LOST)),
        Ok(written) => Poll::Ready(Ok(written)),
    }
}
