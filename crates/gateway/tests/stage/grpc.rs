use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use plimsoll_engines::grpc::{Code, Frames, Status, put_frame};
use prost::Message;
use tokio::net::TcpListener;

use super::{Http2, within};

const SERVICE: &str = "/plimsoll.v1.InferenceService/";

type Head = Pin<Box<dyn Future<Output = hyper::Result<http::Response<Incoming>>> + Send>>;

/// A client's connection over gRPC, frame by frame.
pub(crate) struct Grpc {
    pub(crate) http2: Http2,
}

/// An answer as it comes. Dropping it is how a client leaves.
pub(crate) struct Messages {
    head: Option<Head>,
    pub(crate) fields: HeaderMap,
    body: Option<Incoming>,
    frames: Frames,
    ended: Option<HeaderMap>,
}

impl Grpc {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self { http2: Http2::connect(address).await }
    }

    /// Calls a method of the service.
    pub(crate) fn call(
        &mut self,
        method: &str,
        metadata: &[(&str, &str)],
        message: &impl Message,
    ) -> Messages {
        let mut frame = Vec::new();
        put_frame(&mut frame, &message.encode_to_vec());
        let path = if method.starts_with('/') { method.to_owned() } else { format!("{SERVICE}{method}") };
        self.send(&path, metadata, frame)
    }

    /// Calls a method with any bytes.
    pub(crate) fn send(&mut self, path: &str, metadata: &[(&str, &str)], body: Vec<u8>) -> Messages {
        let mut fields = vec![("content-type", "application/grpc"), ("te", "trailers")];
        fields.extend_from_slice(metadata);
        let head: Head = Box::pin(self.http2.send(path, &fields, Bytes::from(body)));
        Messages {
            head: Some(head),
            fields: HeaderMap::new(),
            body: None,
            frames: Frames::new(1 << 20),
            ended: None,
        }
    }

    /// The one message of an answer.
    pub(crate) async fn ask<M: Message + Default>(
        &mut self,
        method: &str,
        metadata: &[(&str, &str)],
        message: &impl Message,
    ) -> Result<M, Status> {
        self.call(method, metadata, message).only().await
    }
}

impl Messages {
    /// Waits for the head.
    pub(crate) async fn begun(&mut self) {
        if let Some(head) = self.head.take() {
            let (parts, body) = within("a head", head).await.unwrap().into_parts();
            assert_eq!(
                (parts.status.as_u16(), &parts.headers["content-type"]),
                (200, &"application/grpc".parse().unwrap())
            );
            assert!(parts.headers.contains_key("x-request-id"));
            self.ended = parts.headers.contains_key("grpc-status").then(|| parts.headers.clone());
            self.fields = parts.headers;
            self.body = Some(body);
        }
    }

    /// The next message as it came; `None` before the status.
    pub(crate) async fn bytes(&mut self) -> Option<plimsoll_engines::grpc::Message> {
        self.begun().await;
        loop {
            if let Some(message) = self.frames.take().unwrap() {
                return Some(message);
            }
            let frame = within("a frame", self.body.as_mut()?.frame()).await?.ok()?;
            match frame.into_data() {
                Ok(data) => self.frames.push(&data),
                Err(frame) => self.ended = frame.into_trailers().ok(),
            }
        }
    }

    pub(crate) async fn next<M: Message + Default>(&mut self) -> Option<M> {
        self.bytes().await.map(|message| M::decode(message.bytes).unwrap())
    }

    /// How the call ended; all messages must have been taken.
    pub(crate) async fn status(&mut self) -> Status {
        let more = self.bytes().await;
        assert_eq!(more, None, "a message more");
        assert!(!self.frames.is_partial());
        Status::read(self.ended.as_ref().expect("a status at the end")).unwrap()
    }

    /// All messages and how the call ended.
    pub(crate) async fn all<M: Message + Default>(mut self) -> (Vec<M>, Status) {
        let mut messages = Vec::new();
        while let Some(message) = self.next().await {
            messages.push(message);
        }
        let status = self.status().await;
        (messages, status)
    }

    /// The only message of a call that ended well, or how it ended.
    pub(crate) async fn only<M: Message + Default>(self) -> Result<M, Status> {
        let (mut messages, status) = self.all().await;
        match (messages.len(), status.code) {
            (1, Code::Ok) => Ok(messages.remove(0)),
            (0, _) => Err(status),
            (count, code) => panic!("{count} messages and {code:?}"),
        }
    }
}

/// A server that knows some methods, each with one answer. It runs as long as the test.
pub(crate) async fn grpc_server(answers: Answers) -> SocketAddr {
    grpc_server_with(answers, &[]).await
}

type Answers = &'static [(&'static str, &'static [u8])];

/// The same, with more trailers than the status.
pub(crate) async fn grpc_server_with(
    answers: Answers,
    more: &'static [(&'static str, &'static str)],
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = service_fn(move |request: Request<Incoming>| async move {
        let known = answers.iter().find(|(path, _)| *path == request.uri().path());
        let (mut frame, mut trailers) = (Vec::new(), HeaderMap::new());
        let code = if let Some((_, message)) = known {
            put_frame(&mut frame, message);
            Code::Ok
        } else {
            Code::Unimplemented
        };
        trailers.insert("grpc-status", HeaderValue::from(code as u16));
        trailers.extend(
            more.iter()
                .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value))),
        );
        let body = Full::new(Bytes::from(frame)).with_trailers(async { Some(Ok::<_, Infallible>(trailers)) });
        Response::builder().header("content-type", "application/grpc").body(Box::pin(body))
    });
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let http = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(http.serve_connection(TokioIo::new(tcp), service));
        }
    });
    address
}
