use std::net::SocketAddr;
use std::pin::Pin;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use plimsoll_engines::grpc::{Code, Frames, Status, put_frame};
use prost::Message;

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
