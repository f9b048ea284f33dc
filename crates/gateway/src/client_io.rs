//! A client's connection, watched: when a request began to arrive, whether the client takes what it is sent, and a byte
//! that no request of ours may hold. Hot path: no allocation, no lock, no await.

use std::cell::{Cell, RefCell};
use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use plimsoll_types::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// What is known of a connection; its task and the janitor of its core both look at it.
#[derive(Default)]
pub(crate) struct Watched {
    /// Requests being served on it.
    pub(crate) serving: Cell<u32>,
    /// When it last became idle, or was opened.
    pub(crate) idle_since: Cell<Instant>,
    /// When the head of the next request began to arrive.
    pub(crate) head_since: Cell<Option<Instant>>,
    /// Since when the client takes nothing.
    pub(crate) blocked_since: Cell<Option<Instant>>,
    /// Whether a NUL came where only HTTP/1 heads and JSON are: a chunk extension with one slips through hyper.
    pub(crate) nul: Cell<bool>,
    /// The time of the janitor's last look around.
    pub(crate) coarse_now: Cell<Instant>,
    /// Whether it is to be closed now.
    pub(crate) close: Cell<bool>,
    pub(crate) waker: RefCell<Option<Waker>>,
}

enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The connection itself.
pub(crate) struct ClientIo {
    transport: Transport,
    /// Bytes that were read to find out which protocol is spoken.
    read_ahead: BytesMut,
    watched: Rc<Watched>,
    /// Whether bytes are looked at: HTTP/2 frames hold any.
    text_only: bool,
}

impl ClientIo {
    pub(crate) fn plain(tcp: TcpStream, watched: Rc<Watched>) -> Self {
        Self { transport: Transport::Plain(tcp), read_ahead: BytesMut::new(), watched, text_only: false }
    }

    pub(crate) fn tls(tls: TlsStream<TcpStream>, watched: Rc<Watched>) -> Self {
        let transport = Transport::Tls(Box::new(tls));
        Self { transport, read_ahead: BytesMut::new(), watched, text_only: false }
    }

    /// Reads until it is clear whether the client speaks HTTP/2: no method of HTTP/1 begins as its preface does.
    pub(crate) async fn speaks_http2(&mut self) -> Result<bool> {
        use tokio::io::AsyncReadExt;
        const PREFACE: &[u8] = b"PRI * HTTP/2.0";
        let mut ahead = BytesMut::with_capacity(4 << 10);
        let http2 = loop {
            let same = ahead.iter().zip(PREFACE).take_while(|(a, b)| a == b).count();
            if same < ahead.len() || same == PREFACE.len() {
                break same == PREFACE.len();
            }
            if self.read_buf(&mut ahead).await? == 0 {
                break false;
            }
        };
        self.text_only = !http2;
        self.watched.nul.set(!http2 && memchr::memchr(0, &ahead).is_some());
        self.read_ahead = ahead;
        Ok(http2)
    }

    fn pin(&mut self) -> Pin<&mut (dyn Duplex + Unpin)> {
        match &mut self.transport {
            Transport::Plain(tcp) => Pin::new(tcp),
            Transport::Tls(tls) => Pin::new(tls.as_mut()),
        }
    }

    fn took(&self, written: &Poll<Result<usize>>) {
        let blocked = match written {
            Poll::Ready(_) => None,
            Poll::Pending => self.watched.blocked_since.get().or(Some(self.watched.coarse_now.get())),
        };
        self.watched.blocked_since.set(blocked);
    }
}

trait Duplex: AsyncRead + AsyncWrite {}
impl<T: AsyncRead + AsyncWrite> Duplex for T {}

impl AsyncRead for ClientIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        if !self.read_ahead.is_empty() {
            let take = self.read_ahead.len().min(buf.remaining());
            buf.put_slice(&self.read_ahead[..take]);
            self.read_ahead.advance(take);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = match &mut self.transport {
            Transport::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Transport::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        };
        let came = &buf.filled()[before..];
        if !came.is_empty() {
            let watched = &self.watched;
            if watched.serving.get() == 0 && watched.head_since.get().is_none() {
                watched.head_since.set(Some(watched.coarse_now.get()));
            }
            if self.text_only && memchr::memchr(0, came).is_some() {
                watched.nul.set(true);
            }
        }
        read
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        let written = self.pin().poll_write(cx, buf);
        self.took(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let written = self.pin().poll_write_vectored(cx, bufs);
        self.took(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        matches!(self.transport, Transport::Plain(_))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.pin().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.pin().poll_shutdown(cx)
    }
}
