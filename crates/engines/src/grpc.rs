//! Backends that speak gRPC: another Plimsoll, by `plimsoll.v1`.
//!
//! A call goes out as a message made from its JSON, and an answer comes back as the JSON and the events that an OpenAI
//! server would have sent, so that nobody behind this module can tell the two apart. Which methods there are and how
//! bodies become messages stands in [`method`](METHODS): a backend that speaks something else over gRPC, such as the
//! Open Inference Protocol, is another such table with its own way to turn bodies into messages.
//!
//! ```text
//!   Call ── body: JSON ── transcode ── frame ── http2 ──▶ backend
//!   Chunk ◀── event: JSON ◀── transcode ◀── frames, trailers ┘
//! ```

mod answer;
mod frame;
mod loads;
mod method;
mod models;
mod outbox;
mod status;
mod transfer;
mod unary;

pub use frame::{Frames, Message, PREFIX, TooLong, put_frame};
pub use loads::Loads;
pub use method::{CALL_OPTIONS, METHODS, MODELS, Method, SERVICE};
pub use outbox::Outbox;
pub use status::{Code, Error, Status, is_binary};

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use plimsoll_types::{Clock, Instant};

use crate::io::Endpoint;
use crate::openai::{Config, Invalid, address, fixed};
use crate::outgoing::{Fields, Pieces, Understands, body_of, fields_of};
use crate::transcode::{Nulls, to_wire};
use crate::{Answer, Authorize, Call, Engine, http2, orca};
use answer::GrpcAnswer;
use transfer::Transfer;

/// Bytes that one message of a backend may have: a large batch of embeddings fits.
const MAX_MESSAGE: usize = 64 << 20;
/// How much longer than the caller a backend may wait: the gateway is the one to say that the time is over.
const LATER: Duration = Duration::from_millis(200);

/// One backend, shared by all cores.
pub struct Backend {
    endpoint: Arc<Endpoint>,
    authority: String,
    fixed: Fields,
    authorize: Option<Arc<dyn Authorize>>,
    cache_salt: bool,
    ask_load: orca::Asked,
    ear: orca::Ear,
}

impl Backend {
    /// Lets `listener` hear what the backend says of its load in answers, in the place of whoever did before.
    pub fn listen(&self, listener: &Arc<dyn orca::Listen>) {
        self.ear.listen(listener);
    }

    /// A backend at a `grpc://` or `grpcs://` address.
    ///
    /// # Errors
    ///
    /// Where a value cannot stand: the address, a header, the file of certificates.
    pub fn new(config: &Config) -> Result<Arc<Self>, Invalid> {
        let config = Config { http2: true, ..config.clone() };
        let (endpoint, uri) = address(&config, ["grpc", "grpcs"])?;
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(Invalid {
                key: "url",
                why: "has a path; methods of gRPC have none before them".into(),
            });
        }
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let fixed = fixed(&config)?;
        Ok(Arc::new(Self {
            endpoint: Arc::new(endpoint),
            authority,
            fixed,
            authorize: config.authorize,
            cache_salt: config.cache_salt,
            ask_load: config.ask_load,
            ear: orca::Ear::default(),
        }))
    }

    /// The engine by which one core talks to this backend, with a connection of its own.
    #[must_use]
    pub fn engine(self: &Arc<Self>, clock: &Arc<dyn Clock>) -> Rc<Grpc> {
        let connection = http2::Shared::new(Arc::clone(&self.endpoint), Arc::clone(clock));
        Rc::new(Grpc { backend: Arc::clone(self), connection, clock: Arc::clone(clock) })
    }
}

/// A backend that speaks gRPC, as one core talks to it.
pub struct Grpc {
    backend: Arc<Backend>,
    connection: Rc<http2::Shared>,
    clock: Arc<dyn Clock>,
}

impl Grpc {
    fn send(&self, path: &str, fields: Fields, message: &[u8], deadline: Option<Instant>) -> http2::Exchange {
        let (request, pieces) = self.request(path, fields, message, deadline);
        http2::Exchange::start(&self.connection, request, pieces)
    }

    fn request(
        &self,
        path: &str,
        mut fields: Fields,
        message: &[u8],
        deadline: Option<Instant>,
    ) -> (http::request::Builder, Pieces) {
        let mut frame = Vec::with_capacity(PREFIX + message.len());
        put_frame(&mut frame, message);
        let pieces = Pieces::from_iter([Bytes::from(frame)]);
        if let Some(deadline) = deadline {
            fields.add("grpc-timeout", &timeout(deadline, self.clock.now()));
        }
        if let Some(authorize) = &self.backend.authorize {
            authorize.authorize("POST", path, &pieces, &mut fields);
        }
        let scheme = if self.backend.endpoint.tls.is_some() { "https" } else { "http" };
        let uri = format!("{scheme}://{}{path}", self.backend.authority);
        let mut request = http::Request::builder().method("POST").uri(uri);
        for (name, value) in self.backend.fixed.iter().chain(fields.iter()) {
            request = request.header(name, value);
        }
        let request = request.header("te", "trailers").header("content-type", "application/grpc");
        (request, pieces)
    }
}

/// At most eight digits, as gRPC has it.
fn timeout(deadline: Instant, now: Instant) -> String {
    let left = (deadline - now + LATER).as_millis();
    if left < 100_000_000 { format!("{left}m") } else { format!("{}S", (left / 1_000).min(99_999_999)) }
}

impl Engine for Grpc {
    fn start(&self, call: &Call<'_>) -> Box<dyn Answer> {
        let envelope = &call.request.envelope;
        let Some(method) = Method::of(envelope.kind, envelope.stream) else {
            return Box::new(GrpcAnswer::unserved(envelope.kind));
        };
        let pieces = body_of(call, Understands { ask_usage: true, cache_salt: self.backend.cache_salt });
        let body: Bytes = match &pieces[..] {
            [only] => only.clone(),
            pieces => pieces.concat().into(),
        };
        let mut message = Vec::with_capacity(body.len() + 64);
        if to_wire(method.request, &body, method.fixed(), Nulls::Kept, &mut message).is_err() {
            return Box::new(GrpcAnswer::refused(&Status::new(
                Code::InvalidArgument,
                "the body is not valid JSON",
            )));
        }
        let mut fields = fields_of(call.request);
        self.backend.ask_load.put(&mut fields);
        let exchange = self.send(method.path, fields, &message, envelope.deadline);
        let strip_usage = envelope.ask_usage.is_some() && !envelope.protocol.shows_usage();
        Box::new(GrpcAnswer::new(Transfer::of(&self.backend, exchange), method, strip_usage))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> Config {
        Config {
            name: "b".into(),
            url: url.into(),
            connect_to: None,
            headers: Vec::new(),
            authorize: None,
            http2: false,
            ca_file: None,
            connect_timeout: Duration::from_secs(1),
            ask_usage: true,
            cache_salt: false,
            ask_load: orca::Asked::None,
        }
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        let backend = Backend::new(&config("grpc://h:9")).unwrap();
        assert_eq!((backend.authority.as_str(), backend.endpoint.port), ("h:9", 9));
        let why = |url: &str| Backend::new(&config(url)).err().unwrap().to_string();
        assert_eq!(why("http://h:9"), "url: must begin with grpc:// or grpcs://");
        assert!(why("grpc://h:9/v1").contains("has a path"));
    }

    #[test]
    fn a_timeout_is_a_little_later_than_the_caller_s_and_never_too_long_for_the_wire() {
        let now = Instant::ORIGIN;
        assert_eq!(timeout(now + Duration::from_millis(1_500), now), "1700m");
        assert_eq!(timeout(now + Duration::from_secs(200_000), now), "200000S");
        assert_eq!(timeout(now, now + Duration::from_secs(5)), "200m");
    }
}
