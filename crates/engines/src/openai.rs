//! Any server that speaks OpenAI's API over HTTP: vLLM, SGLang, llama.cpp, TGI, TensorRT-LLM, managed endpoints.

mod answer;
mod coding;
mod config;
mod discover;
mod document;

pub use config::{Config, Invalid};
pub(crate) use config::{address, fixed};
pub(crate) use discover::names;
pub use discover::{Card, Listing};
pub use document::Document;

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use plimsoll_types::{Clock, Kind};

use crate::io::Endpoint;
use crate::outgoing::{Fields, Message, Understands, body_of, fields_of, length};
use crate::{Answer, Authorize, Call, Engine, http1, http2, orca};
use answer::{Asked, OpenAiAnswer, Wire};

/// One backend, shared by all cores: where it is and what every call to it begins with.
pub struct Backend {
    endpoint: Arc<Endpoint>,
    http2: bool,
    authority: String,
    /// Path and query of each [`Kind`], in the order of [`Kind::ALL`].
    targets: Vec<String>,
    models_target: String,
    /// The path before all others, and the query that every call needs.
    base: String,
    query: String,
    /// Header fields of every call.
    fixed: Fields,
    authorize: Option<Arc<dyn Authorize>>,
    understands: Understands,
    ask_load: orca::Asked,
    ear: orca::Ear,
}

impl Backend {
    /// Lets `listener` hear what the backend says of its load in answers, in the place of whoever did before.
    pub fn listen(&self, listener: &Arc<dyn orca::Listen>) {
        self.ear.listen(listener);
    }

    /// The engine by which one core talks to this backend, with connections of its own.
    #[must_use]
    pub fn engine(self: &Arc<Self>, clock: &Arc<dyn Clock>) -> Rc<OpenAi> {
        let (endpoint, timer) = (Arc::clone(&self.endpoint), Arc::clone(clock));
        let clock = Arc::clone(clock);
        let connections = if self.http2 {
            Connections::Http2(http2::Shared::new(endpoint, clock))
        } else {
            Connections::Http1(http1::Pool::new(endpoint, clock))
        };
        Rc::new(OpenAi { backend: Arc::clone(self), connections, clock: timer })
    }

    /// Path and query of something that is not below `/v1`.
    fn target_of(&self, path: &str) -> String {
        format!("{}{path}{}", self.base, self.query)
    }

    fn target(&self, kind: Kind) -> &str {
        let index = Kind::ALL.iter().position(|one| *one == kind).expect("all kinds are in the list");
        &self.targets[index]
    }
}

enum Connections {
    Http1(Rc<http1::Pool>),
    Http2(Rc<http2::Shared>),
}

/// A backend with OpenAI's API, as one core talks to it.
pub struct OpenAi {
    backend: Arc<Backend>,
    connections: Connections,
    clock: Arc<dyn Clock>,
}

impl OpenAi {
    fn authorize(&self, message: &mut Message<'_>) {
        if let Some(authorize) = &self.backend.authorize {
            authorize.authorize(message.method, message.target, &message.pieces, &mut message.fields);
        }
    }

    fn send(&self, mut message: Message<'_>) -> Wire {
        self.authorize(&mut message);
        match &self.connections {
            Connections::Http1(pool) => {
                let head = self.backend.http1_head(&message);
                Wire::Http1(http1::Exchange::start(pool, head, message.pieces, message.fresh))
            }
            Connections::Http2(shared) => {
                let request = self.backend.http2_head(&message);
                Wire::Http2(http2::Exchange::start(shared, request, message.pieces))
            }
        }
    }
}

impl Backend {
    fn http1_head(&self, message: &Message<'_>) -> Vec<u8> {
        let mut head = Vec::with_capacity(512);
        for part in [message.method, " ", message.target, " HTTP/1.1\r\nhost: ", &self.authority, "\r\n"] {
            head.extend_from_slice(part.as_bytes());
        }
        head.extend_from_slice(self.fixed.lines());
        head.extend_from_slice(message.fields.lines());
        if message.method == "POST" {
            head.extend_from_slice(b"content-type: application/json\r\ncontent-length: ");
            head.extend_from_slice(itoa::Buffer::new().format(length(&message.pieces)).as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head
    }

    fn http2_head(&self, message: &Message<'_>) -> http::request::Builder {
        let scheme = if self.endpoint.tls.is_some() { "https" } else { "http" };
        let uri = format!("{scheme}://{}{}", self.authority, message.target);
        let mut request = http::Request::builder().method(message.method).uri(uri);
        for (name, value) in self.fixed.iter().chain(message.fields.iter()) {
            request = request.header(name, value);
        }
        if message.method == "POST" {
            request = request.header("content-type", "application/json");
        }
        request
    }
}

impl Engine for OpenAi {
    fn start(&self, call: &Call<'_>) -> Box<dyn Answer> {
        let envelope = &call.request.envelope;
        let mut fields = fields_of(call.request);
        self.backend.ask_load.put(&mut fields);
        let target = match &envelope.query {
            None => Cow::Borrowed(self.backend.target(envelope.kind)),
            Some(query) => {
                let target = self.backend.target(envelope.kind);
                Cow::Owned(format!("{target}{}{query}", if target.contains('?') { '&' } else { '?' }))
            }
        };
        let wire = self.send(Message {
            method: "POST",
            target: &target,
            fields,
            pieces: body_of(call, self.backend.understands),
            fresh: call.again,
        });
        let unasked = envelope.ask_usage.is_some() && !envelope.protocol.shows_usage();
        let asked = Asked {
            kind: envelope.kind,
            stream: envelope.stream,
            strip_usage: self.backend.understands.ask_usage && unasked,
        };
        Box::new(OpenAiAnswer::new(&self.backend, wire, asked))
    }
}
