use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::server::conn::http2 as server;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{Receiver, Sender, UnboundedReceiver, channel, unbounded_channel};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::{unique, within};

/// A client's connection over HTTP/2.
pub(crate) struct Http2 {
    sender: SendRequest<Full<Bytes>>,
}

impl Http2 {
    /// Connects and speaks HTTP/2 from the first byte.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(within("a connection", TcpStream::connect(address)).await.unwrap()).await
    }

    pub(crate) async fn over(wire: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let made = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(wire));
        let (sender, connection) = within("the handshake", made).await.unwrap();
        tokio::spawn(connection);
        Self { sender }
    }

    /// Sends a POST; dropping what this gives is how a client leaves.
    pub(crate) fn post(
        &mut self,
        path: &str,
        body: &str,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + use<> {
        self.send(path, &[("content-type", "application/json")], Bytes::copy_from_slice(body.as_bytes()))
    }

    /// Sends a POST with these fields.
    pub(crate) fn send(
        &mut self,
        path: &str,
        fields: &[(&str, &str)],
        body: Bytes,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + use<> {
        let mut request = Request::post(format!("http://gateway{path}"));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        self.sender.send_request(request.body(Full::from(body)).unwrap())
    }

    /// Asks and reads the whole answer.
    pub(crate) async fn ask(&mut self, path: &str, body: &str) -> (Response<()>, Bytes) {
        let response = within("an answer", self.post(path, body)).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = within("the body", body.collect()).await.unwrap().to_bytes();
        (Response::from_parts(parts, ()), body)
    }
}

/// A scripted backend over HTTP/2.
pub(crate) struct Http2Backend {
    pub(crate) address: SocketAddr,
    calls: UnboundedReceiver<Http2Call>,
}

/// A request that came to it. Dropping it resets the stream.
pub(crate) struct Http2Call {
    pub(crate) request: http::request::Parts,
    pub(crate) body: Bytes,
    answer: oneshot::Sender<Response<Told>>,
}

/// A body that the test writes: `None` in it breaks the stream.
pub(crate) struct Told(Receiver<Option<Bytes>>);

impl http_body::Body for Told {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let broken = || io::Error::other("the script breaks the stream");
        self.0.poll_recv(cx).map(|told| told.map(|bytes| bytes.map(Frame::data).ok_or_else(broken)))
    }
}

impl Http2Backend {
    pub(crate) async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (told, calls) = unbounded_channel();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (told, tls) = (told.clone(), tls.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let told = told.clone();
                    async move {
                        // What the gateway asks in the background is not for the test.
                        if ["/health", "/metrics"].iter().any(|path| request.uri().path().ends_with(path)) {
                            let (_, told) = channel(1);
                            return Ok(Response::builder().status(404).body(Told(told)).unwrap());
                        }
                        let (request, body) = request.into_parts();
                        let body = body.collect().await.map_err(|_| "no body")?.to_bytes();
                        let (answer, answered) = oneshot::channel();
                        let _ = told.send(Http2Call { request, body, answer });
                        answered.await.map_err(|_| "the script gives no answer")
                    }
                });
                tokio::spawn(async move {
                    let http = server::Builder::new(TokioExecutor::new());
                    let _ = match tls {
                        None => http.serve_connection(TokioIo::new(tcp), service).await,
                        Some(tls) => match tls.accept(tcp).await {
                            Ok(tls) => http.serve_connection(TokioIo::new(tls), service).await,
                            Err(_) => return,
                        },
                    };
                });
            }
        });
        Self { address, calls }
    }

    /// How it stands in a configuration file, as a server of `model`, with more keys after it.
    pub(crate) fn yaml(&self, scheme: &str, model: &str, more: &str) -> String {
        let (name, address) = (unique(), self.address);
        format!(
            "backends:\n  - {{name: h2-{name}, url: \"{scheme}://{address}\", models: [{model}], http2: true{more}}}\n"
        )
    }

    pub(crate) async fn next(&mut self) -> Http2Call {
        within("a call of the gateway", self.calls.recv()).await.expect("the backend outlives the test")
    }
}

impl Http2Call {
    /// Begins to answer; what is sent into the channel is the body, and dropping it the end.
    pub(crate) fn begin(self, status: u16, content_type: &str) -> Sender<Option<Bytes>> {
        let (tell, told) = channel(1);
        let response = Response::builder().status(status).header("content-type", content_type);
        let _ = self.answer.send(response.body(Told(told)).unwrap());
        tell
    }

    /// Answers as a whole.
    pub(crate) async fn answer(self, status: u16, body: &'static str) {
        // The gateway may have left.
        let _ = self.begin(status, "application/json").send(Some(Bytes::from_static(body.as_bytes()))).await;
    }

    /// Waits until the gateway has given the request up.
    pub(crate) async fn is_left(&mut self) {
        within("the gateway to reset the stream", self.answer.closed()).await;
    }
}
