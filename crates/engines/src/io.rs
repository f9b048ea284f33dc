//! A byte stream to a backend, plain or TLS.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use plimsoll_types::Clock;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Failure;
use crate::metrics::{ConnectionMetrics, OpenConnection};

/// Where a backend is, and how the way there is secured.
pub(crate) struct Endpoint {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: Option<(Arc<rustls::ClientConfig>, ServerName<'static>)>,
    pub(crate) connect_timeout: Duration,
    pub(crate) metrics: ConnectionMetrics,
    /// Whether it was said already that TLS fails: a probe would say so each second.
    pub(crate) tls_fails: AtomicBool,
}

enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// An open connection; counted while it lives.
pub(crate) struct Io {
    transport: Transport,
    /// How long the TCP handshake took.
    pub(crate) handshake: Duration,
    _open: Option<OpenConnection>,
}

impl Endpoint {
    /// Connects.
    ///
    /// # Errors
    ///
    /// [`Failure::Unreachable`], whatever the reason.
    pub(crate) async fn connect(&self, clock: &dyn Clock) -> std::result::Result<Io, Failure> {
        let late = clock.sleep_until(clock.now() + self.connect_timeout);
        let connected = tokio::select! {
            connected = self.dial(clock) => connected,
            () = late => Err(Failure::Unreachable("the connection took too long")),
        };
        match connected {
            Ok(io) => Ok(Io { _open: Some(OpenConnection::count(&self.metrics)), ..io }),
            Err(failure) => {
                self.metrics.failed.increment(1);
                tracing::debug!(host = %self.host, port = self.port, %failure, "no connection to backend");
                Err(failure)
            }
        }
    }

    /// Connects without being counted.
    ///
    /// # Errors
    ///
    /// [`Failure::Unreachable`], whatever the reason.
    pub(crate) async fn dial(&self, clock: &dyn Clock) -> std::result::Result<Io, Failure> {
        let (tcp, handshake) = self.handshake(clock).await.map_err(|error| reason(&error))?;
        let io = |transport| Io { transport, handshake, _open: None };
        // Tokens are small and must not wait for each other.
        tcp.set_nodelay(true).map_err(|_| Failure::Unreachable("the connection was lost"))?;
        let Some((config, name)) = &self.tls else { return Ok(io(Transport::Plain(tcp))) };
        let connector = TlsConnector::from(Arc::clone(config));
        match connector.connect(name.clone(), tcp).await {
            Ok(tls) => {
                self.tls_fails.store(false, Relaxed);
                Ok(io(Transport::Tls(Box::new(tls))))
            }
            Err(error) => {
                if !self.tls_fails.swap(true, Relaxed) {
                    tracing::warn!(host = %self.host, %error, "TLS to backend fails");
                }
                Err(Failure::Unreachable("the backend's TLS handshake failed"))
            }
        }
    }

    /// A TCP connection to the first address that takes one, and how long that took without the question to DNS.
    async fn handshake(&self, clock: &dyn Clock) -> Result<(TcpStream, Duration)> {
        let mut failed = Error::from(ErrorKind::NotFound);
        for address in tokio::net::lookup_host((self.host.as_str(), self.port)).await? {
            let begin = clock.now();
            match TcpStream::connect(address).await {
                Ok(tcp) => return Ok((tcp, clock.now() - begin)),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}

fn reason(error: &Error) -> Failure {
    match error.kind() {
        ErrorKind::ConnectionRefused => Failure::REFUSED,
        ErrorKind::TimedOut => Failure::Unreachable("the connection timed out"),
        _ => Failure::Unreachable("the backend cannot be reached"),
    }
}

impl Io {
    /// Whether there may be something to read. TLS has to be asked by reading.
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match &self.transport {
            Transport::Plain(tcp) => tcp.poll_read_ready(cx),
            Transport::Tls(_) => Poll::Ready(Ok(())),
        }
    }

    fn pin(&mut self) -> Pin<&mut (dyn ReadWrite + Unpin)> {
        match &mut self.transport {
            Transport::Plain(tcp) => Pin::new(tcp),
            Transport::Tls(tls) => Pin::new(tls.as_mut()),
        }
    }
}

trait ReadWrite: AsyncRead + AsyncWrite {}
impl<T: AsyncRead + AsyncWrite> ReadWrite for T {}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        match &mut self.transport {
            Transport::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Transport::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        self.pin().poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.pin().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.pin().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.pin().poll_shutdown(cx)
    }
}
