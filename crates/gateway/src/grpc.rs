//! gRPC, on the port of HTTP: a codec in front of the same checks, keys and pipeline.
//!
//! A message becomes the JSON body that an HTTP caller would have sent and is peeked at like one; an answer's events
//! become messages on their way out. hyper has parsed HTTP/2 already, so that what is left of gRPC is five bytes before
//! each message and a status in the trailers.
//!
//! ```text
//!   request ── metadata ── key ── message ── call: JSON, envelope ──▶ Pipeline::serve
//!   client ◀── trailers: status ◀── answer: messages ◀── TokenStream ◀──────┘
//! ```

mod answer;
mod call;
mod gzip;
mod health;
mod incoming;
mod metadata;
mod reflection;
mod status;

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, Response, Version};
use http_body::Frame;
use hyper::body::Incoming;
use plimsoll_engines::grpc::{Code, METHODS, MODELS, Status};
use plimsoll_engines::transcode::{Nulls, to_wire};
use plimsoll_proto::schema;
use plimsoll_types::{ServeError, Text};

use crate::body::{Body, BrokenOff};
use crate::core::Core;
use crate::house::Settings;
use crate::openai::models;
use crate::serve::REQUEST_ID;

pub(crate) use answer::Answer;
pub(crate) use health::Watch;
pub(crate) use reflection::Reflection;

use metadata::Metadata;

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// What is sent to a caller over gRPC.
pub(crate) enum Content {
    /// A backend's answer.
    Answer(Box<Answer>),
    /// A message that is there already, then the status.
    Message(Bytes),
    /// The status that all is well.
    Well,
    /// Nothing more.
    Over,
    /// The health of a service, now and whenever it changes.
    Watch(Box<Watch>),
    /// Answers about services, as they are asked.
    Reflection(Box<Reflection>),
}

/// Whether `request` says that it is a call over gRPC, and if so, whether it is one: gRPC-Web, JSON in the place of
/// protobuf and HTTP/1.1 are not, and are refused as HTTP refuses.
pub(crate) fn is_call<B>(request: &Request<B>) -> Option<bool> {
    let content_type = request.headers().get(CONTENT_TYPE)?;
    if !content_type.as_bytes().starts_with(b"application/grpc") {
        return None;
    }
    let essence = content_type.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let grpc = [&b"application/grpc"[..], b"application/grpc+proto"].contains(&essence);
    Some(grpc && request.version() == Version::HTTP_2 && request.method() == Method::POST)
}

/// The answer to `request`, a call, whatever becomes of it.
pub(crate) async fn respond(core: &Rc<Core>, request: Request<Incoming>) -> Response<Body> {
    let settings = core.settings();
    let mut id = None;
    let mut response = match dispatch(core, &settings, request, &mut id).await {
        Ok(response) => response,
        Err(error) => trailers_only(&status::of(&error)),
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, GRPC);
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity,gzip"));
    let id = id.unwrap_or_else(|| core.new_id());
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::copy_from_slice(id.as_bytes())) {
        headers.insert(REQUEST_ID, value);
    }
    response
}

/// An answer that is nothing but a status.
fn trailers_only(status: &Status) -> Response<Body> {
    let mut response = Response::new(Body::full(Bytes::new()));
    status.write(response.headers_mut());
    response
}

async fn dispatch(
    core: &Rc<Core>,
    settings: &Settings,
    request: Request<Incoming>,
    id: &mut Option<Text>,
) -> Result<Response<Body>, ServeError> {
    let begun = begin(core, settings, request, id).await.inspect_err(|error| core.refused(error))?;
    let (asked, method, zip) = match begun {
        Begun::Answered(content) => return Ok(Response::new(Body::grpc(content))),
        Begun::Asks(asked, method, zip) => (asked, method, zip),
    };
    let answer = core.pipeline.serve(*asked).await?;
    let content = Content::Answer(Box::new(Answer::new(answer.body, method, zip)));
    let mut response = Response::new(Body::grpc(content));
    let headers = response.headers_mut();
    for (name, value) in answer.head.fields {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    if zip {
        headers.insert(ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

/// A call that passed all checks.
enum Begun {
    /// It is answered here.
    Answered(Content),
    /// It asks something of a model, by this method; whether its answer may be compressed.
    Asks(Box<plimsoll_types::Request>, &'static plimsoll_engines::grpc::Method, bool),
}

async fn begin(
    core: &Rc<Core>,
    settings: &Settings,
    request: Request<Incoming>,
    id: &mut Option<Text>,
) -> Result<Begun, ServeError> {
    let mut metadata = Metadata::read(&request, &settings.config.requests, core.clock.now())?;
    *id = metadata.head.request_id.take();
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    if let Some(ask) = health::Ask::of(path) {
        let message = incoming::message(core, settings, &metadata, body).await?;
        return health::answer(core, settings, &metadata, ask, &message).map(Begun::Answered);
    }
    let tenant = settings.keys.admit(&metadata.head)?;
    if settings.config.grpc.reflection && reflection::is_asked(path) {
        let reflection = Reflection::new(core, settings, body);
        return Ok(Begun::Answered(Content::Reflection(Box::new(reflection))));
    }
    if path == MODELS {
        incoming::message(core, settings, &metadata, body).await?;
        let list = models::list(&core.house.shared.snapshot(), &core.house.cards.load()).to_string();
        let mut message = Vec::new();
        to_wire(&schema::MODELS_RESPONSE, list.as_bytes(), &[], Nulls::Dropped, &mut message)
            .map_err(|_| ServeError::Internal)?;
        return Ok(Begun::Answered(Content::message(&message)));
    }
    let Some(method) = METHODS.iter().find(|method| method.path == path) else {
        let cut = path.chars().take(100).collect();
        return Err(ServeError::UnknownRoute { method: "POST".into(), path: cut });
    };
    let message = incoming::message(core, settings, &metadata, body).await?;
    let zip = settings.config.grpc.gzip && metadata.accepts_gzip;
    let id = id.get_or_insert_with(|| core.new_id()).clone();
    let asked = call::request(core, settings, (metadata, tenant, id), method, &message)?;
    Ok(Begun::Asks(Box::new(asked), method, zip))
}

impl Content {
    /// `message`, and the status that all is well.
    fn message(message: &[u8]) -> Self {
        let mut frame = Vec::new();
        plimsoll_engines::grpc::put_frame(&mut frame, message);
        Self::Message(frame.into())
    }

    /// Gives the next frame; the last one is the status.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self {
            Self::Answer(answer) => answer.poll_frame(cx).map(|frame| frame.map(Ok)),
            Self::Watch(watch) => watch.poll_frame(cx).map(|frame| frame.map(Ok)),
            Self::Reflection(reflection) => reflection.poll_frame(cx),
            Self::Message(message) => {
                let frame = Frame::data(std::mem::take(message));
                *self = Self::Well;
                Poll::Ready(Some(Ok(frame)))
            }
            Self::Well => {
                *self = Self::Over;
                Poll::Ready(Some(Ok(Frame::trailers(well()))))
            }
            Self::Over => Poll::Ready(None),
        }
    }
}

/// The trailers of a call that ended well.
fn well() -> http::HeaderMap {
    trailers(&Status::new(Code::Ok, ""))
}

fn trailers(status: &Status) -> http::HeaderMap {
    let mut trailers = http::HeaderMap::with_capacity(4);
    status.write(&mut trailers);
    trailers
}
