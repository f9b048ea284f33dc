//! From an HTTP request to its answer: checks, key, route, body, and then the pipeline.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use plimsoll_types::{Envelope, Kind, ServeError, Text};

use crate::body::Body;
use crate::client_io::Watched;
use crate::core::Core;
use crate::cors::Allowed;
use crate::explain::{self, Asked};
use crate::grpc;
use crate::head;
use crate::house::Settings;
use crate::node;
use crate::openai::{error, models, stored};
use crate::route::{Route, route, slashes};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The answer to `request`, whatever becomes of it.
pub(crate) async fn respond(
    core: &Rc<Core>,
    watched: &Watched,
    request: Request<Incoming>,
) -> Response<Body> {
    let grpc = grpc::is_call(&request);
    if grpc == Some(true) {
        return grpc::respond(core, request).await;
    }
    let settings = core.settings();
    let mut id = None;
    // Errors look as those of the API that was asked, whether or not it has such a route.
    let kind = match route(request.method(), &slashes(request.uri().path())) {
        Ok(Route::Serve(kind)) => Some(kind),
        _ if request.uri().path().starts_with("/v1/messages") => Some(Kind::Message),
        _ => None,
    };
    let body_is_read = request.body().is_end_stream();
    let page = Allowed::of(&request, &settings.config.requests.cors_origins);
    let preflight = page.as_ref().and_then(|page| page.preflight(&request));
    let answered = match preflight {
        Some(answer) => Ok(answer),
        None => dispatch(core, &settings, watched, (request, grpc.is_some()), &mut id).await,
    };
    let mut response = match answered {
        Ok(response) => response,
        Err(error) => {
            let mut response = error::response(&error, kind);
            if !body_is_read && ends_connection(&error) {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    };
    if let Some(page) = page {
        page.tell(response.headers_mut());
    }
    let id = id.unwrap_or_else(|| core.new_id());
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::copy_from_slice(id.as_bytes())) {
        if matches!(kind, Some(Kind::Message | Kind::CountTokens)) {
            // Anthropic's SDKs read this one; what the backend gave is the better one, if it gave any.
            response.headers_mut().entry("request-id").or_insert_with(|| value.clone());
        }
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// Whether the rest of the request may be on its way still, or its framing is not to be trusted.
fn ends_connection(error: &ServeError) -> bool {
    !matches!(
        error,
        ServeError::UnknownModel { .. }
            | ServeError::ModelNotKnownYet { .. }
            | ServeError::Refused(_)
            | ServeError::Overloaded { .. }
            | ServeError::NotInTime { .. }
            | ServeError::Pushback { .. }
            | ServeError::NoBackend
            | ServeError::Backend(_)
            | ServeError::Deadline(_)
    )
}

async fn dispatch(
    core: &Rc<Core>,
    settings: &Settings,
    watched: &Watched,
    request: (Request<Incoming>, bool),
    id: &mut Option<Text>,
) -> Result<Response<Body>, ServeError> {
    let admitted =
        admit(core, settings, watched, request, id).await.inspect_err(|error| core.refused(error))?;
    match admitted {
        Admitted::Answered(response) => Ok(*response),
        Admitted::Asks(request, asked) => {
            let kind = request.envelope.kind;
            let answer = core.pipeline.serve(*request).await?;
            Ok(relay(answer, (kind, asked)))
        }
    }
}

/// A request that passed all checks.
enum Admitted {
    /// It was answered here.
    Answered(Box<Response<Body>>),
    /// It asks something of a model, and perhaps something of its way there.
    Asks(Box<plimsoll_types::Request>, Asked),
}

impl Admitted {
    fn answered(response: Response<Body>) -> Self {
        Self::Answered(Box::new(response))
    }
}

async fn admit(
    core: &Rc<Core>,
    settings: &Settings,
    watched: &Watched,
    (request, misplaced): (Request<Incoming>, bool),
    id: &mut Option<Text>,
) -> Result<Admitted, ServeError> {
    let mut head = head::read(&request, &settings.config.requests)?;
    if misplaced {
        return Err(ServeError::UnsupportedMedia(
            "a call over gRPC is a POST of application/grpc over HTTP/2",
        ));
    }
    *id = head.request_id.take();
    if node::is_asked(request.uri().path(), settings) {
        let asked = (request.method(), request.uri().path());
        return node::answer(core, settings, asked).await.map(Admitted::answered);
    }
    let path = slashes(request.uri().path());
    if let Ok(Route::Health) = route(request.method(), &path) {
        // Whoever balances load between gateways has no key.
        return Ok(Admitted::answered(health(core)));
    }
    let tenant = settings.keys.admit(&head)?;
    let kind = match route(request.method(), &path) {
        Ok(Route::Serve(kind)) => kind,
        Ok(Route::Health) => return Ok(Admitted::answered(health(core))),
        Err(ServeError::WrongMethod { .. }) if head.websocket => return Err(ServeError::NoWebSocket),
        Err(error) => return Err(error),
        Ok(Route::Stored(what)) => {
            let query = request.uri().query();
            let answered = stored::answer(core, what, (tenant.as_deref(), query)).await;
            return answered.map(Admitted::answered);
        }
        Ok(Route::Models(name)) => {
            let snapshot = core.house.shared.snapshot();
            let known = (&*snapshot, &**core.house.cards.load());
            return models::answer(request.method(), name, known).map(Admitted::answered);
        }
    };
    if head.json == Some(false) {
        return Err(ServeError::UnsupportedMedia(
            "the body must be JSON, with `Content-Type: application/json`",
        ));
    }
    let body = read_body(core, settings, request.into_body()).await?;
    if watched.nul.replace(false) {
        return Err(ServeError::invalid("the request holds a NUL byte, which neither HTTP nor JSON allows"));
    }
    let received = core.clock.now();
    let peeked = core.peek(kind, &body, (settings, tenant.as_deref()))?;
    let patience = head.read_timeout.or(head.timeout);
    let asked = head.explain.allowed_to(tenant.as_deref(), &settings.config);
    let envelope = Envelope {
        id: id.get_or_insert_with(|| core.new_id()).clone(),
        protocol: plimsoll_types::Protocol::Http,
        kind,
        model: peeked.model,
        model_at: peeked.model_at,
        stream: peeked.stream,
        tools: peeked.tools,
        query: head.query.take(),
        home: peeked.home,
        ask_usage: peeked.ask_usage,
        prompt_tokens: peeked.prompt_tokens,
        blocks: peeked.blocks,
        cache_salt: peeked.cache_salt,
        max_tokens: peeked.max_tokens,
        priority: head.priority.unwrap_or(peeked.priority).granted_to(tenant.as_deref()),
        tenant,
        residency: head.residency.take(),
        deadline: patience.filter(|_| !peeked.stream).map(|patience| received + patience),
        patience,
        forward: std::mem::take(&mut head.forward),
        explain: asked == Asked::Costs,
        received,
    };
    Ok(Admitted::Asks(Box::new(plimsoll_types::Request { envelope, body }), asked))
}

/// Whether this gateway serves, and no more: anybody may ask.
fn health(core: &Core) -> Response<Body> {
    let (status, text) = match core.house.readiness() {
        Ok(()) => (StatusCode::OK, "ok\n"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    };
    let mut response = Response::new(Body::full(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn relay(answer: plimsoll_pipeline::Response, (kind, asked): (Kind, Asked)) -> Response<Body> {
    let mut told = HeaderMap::new();
    asked.tell(&answer, &mut told);
    let head = answer.head;
    let mut response = Response::new(Body::relayed(answer.body, head.stream.then_some(kind)));
    *response.headers_mut() = told;
    *response.status_mut() = StatusCode::from_u16(head.status).unwrap_or(StatusCode::OK);
    let headers = response.headers_mut();
    let content_type = match &*head.content_type {
        "application/json" | "" => HeaderValue::from_static("application/json"),
        text => HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("application/octet-stream")),
    };
    headers.insert(header::CONTENT_TYPE, content_type);
    if head.stream {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    }
    // What backends say of backends of theirs is not for callers of this gateway.
    for (name, value) in head.fields.into_iter().filter(|(name, _)| *name != explain::BACKEND.as_str()) {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

/// Reads the body whole: it is looked at before anything of it goes on, and may have to be sent twice.
pub(crate) async fn read_body(
    core: &Core,
    settings: &Settings,
    mut body: Incoming,
) -> Result<Bytes, ServeError> {
    let limits = &settings.config.requests;
    let too_large = || ServeError::TooLarge { limit: limits.max_body_bytes };
    if body.size_hint().lower() > limits.max_body_bytes {
        return Err(too_large());
    }
    let (mut first, mut rest): (Option<Bytes>, Option<BytesMut>) = (None, None);
    // Made when the body is not there at once, which is rare.
    let mut late = None;
    loop {
        let frame = poll_fn(|cx| match Pin::new(&mut body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Ok(frame)),
            Poll::Pending => {
                let late = late
                    .get_or_insert_with(|| core.clock.sleep_until(core.clock.now() + limits.body_timeout));
                late.as_mut().poll(cx).map(|()| Err(ServeError::SlowBody))
            }
        })
        .await?;
        let Some(frame) = frame else { break };
        let broken = |_| ServeError::invalid("the body is not framed as HTTP has it, or broke off");
        let Ok(data) = frame.map_err(broken)?.into_data() else {
            // They would have to be checked like header fields, and nobody needs them.
            return Err(ServeError::invalid("requests must come without trailer fields"));
        };
        match (&mut first, &mut rest) {
            (None, _) => first = Some(data),
            (Some(begin), None) => {
                let hint = body.size_hint().exact().unwrap_or(0).min(limits.max_body_bytes) as usize;
                let mut all = BytesMut::with_capacity(begin.len() + data.len() + hint);
                all.extend_from_slice(begin);
                all.extend_from_slice(&data);
                rest = Some(all);
            }
            (Some(_), Some(all)) => all.extend_from_slice(&data),
        }
        let length = rest.as_ref().map_or_else(|| first.as_ref().map_or(0, Bytes::len), BytesMut::len);
        if length as u64 > limits.max_body_bytes {
            return Err(too_large());
        }
    }
    Ok(rest.map(BytesMut::freeze).or(first).unwrap_or_default())
}
