//! The operators' port: metrics, health, the fleet, reload, drain.

mod explain;

use std::convert::Infallible;
use std::sync::Arc;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use plimsoll_routing::{Backend, Commitment, Conditions, Domain, RequestShape, Service};
use plimsoll_telemetry::Exporter;
use plimsoll_types::Instant;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::head;
use crate::house::House;
use crate::peers;

/// What operators may ask and do.
pub(crate) struct Admin {
    pub(crate) house: Arc<House>,
    /// Whether this port is for this machine only.
    pub(crate) local: bool,
    /// Told when somebody asks to drain.
    pub(crate) drain: Arc<Notify>,
    /// Told when somebody asks to look at the configuration file; `None` where there is none.
    pub(crate) reload: Option<Arc<Notify>>,
}

impl Admin {
    /// Serves operators for as long as the gateway runs.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                self.house
                    .clock
                    .sleep_until(self.house.clock.now() + std::time::Duration::from_millis(20))
                    .await;
                continue;
            };
            let admin = Arc::clone(&self);
            tokio::task::spawn_local(async move {
                let service = service_fn(move |request| {
                    let answer = admin.answer(&request);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let mut http = hyper::server::conn::http1::Builder::new();
                http.header_read_timeout(None);
                // Who asks and leaves is no news.
                let _ = http.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let head = head::read(request, &self.house.settings().config.requests);
        // A page in a browser must not reach a loopback port by a name of its own (DNS rebinding).
        let by_name = |head: &head::Head| self.local && !head.is_for_this_machine();
        if head.as_ref().map_or(true, by_name) {
            return text(StatusCode::BAD_REQUEST, "bad request: ask 127.0.0.1 or localhost\n");
        }
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/metrics") => self.metrics(),
            (&Method::GET, "/livez" | "/healthz") => text(StatusCode::OK, "ok\n"),
            (&Method::GET, "/readyz") => self.ready(),
            (&Method::GET, "/fleet") => json_of(&self.fleet()),
            (&Method::GET, "/explain") => {
                explain::answer(&self.house, request.uri().query().unwrap_or_default())
            }
            (&Method::GET, "/sent") => {
                let mut sent = Response::new(Full::new(peers::say(
                    &self.house,
                    request.uri().query().unwrap_or_default(),
                )));
                sent.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
                sent
            }
            (&Method::POST, "/drain") => {
                self.drain.notify_one();
                text(StatusCode::ACCEPTED, "draining\n")
            }
            (&Method::POST, "/reload") => self.look_at_file(),
            (&Method::POST, "/fleet/drain") => self.take_out(request, true),
            (&Method::POST, "/fleet/resume") => self.take_out(request, false),
            (_, "/drain" | "/reload" | "/fleet/drain" | "/fleet/resume") => {
                text(StatusCode::METHOD_NOT_ALLOWED, "POST it\n")
            }
            _ => {
                let here = "here are /metrics /livez /readyz /fleet /explain?model=NAME /sent, POST /fleet/drain?backend=NAME, \
                            POST /fleet/drain?domain=NAME, the same with /fleet/resume, POST /reload and POST /drain\n";
                text(StatusCode::NOT_FOUND, here)
            }
        }
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        let now = self.house.clock.now();
        self.house.shared.snapshot().fleet.observe(now);
        let render = |exporter: &Exporter| exporter.render(now - Instant::ORIGIN);
        let body = self.house.served.exporter().map(render).unwrap_or_default();
        let mut response = text(StatusCode::OK, body);
        let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, format);
        response
    }

    /// Takes a backend or a domain out of service, or in again; what runs there ends.
    fn take_out(&self, request: &Request<Incoming>, out: bool) -> Response<Full<Bytes>> {
        let snapshot = self.house.shared.snapshot();
        let (what, name) = request.uri().query().unwrap_or_default().split_once('=').unwrap_or_default();
        let name = explain::unescape(name);
        let found = match what {
            "backend" => snapshot.fleet.take_out_backend(&name, out),
            "domain" => snapshot.fleet.take_out_domain(&name, out),
            _ => return text(StatusCode::BAD_REQUEST, "say which: ?backend=NAME or ?domain=CLOUD/REGION\n"),
        };
        if !found {
            return text(StatusCode::NOT_FOUND, format!("no {what} is named {name:?}; /fleet has them\n"));
        }
        tracing::info!(what, name, out, "an operator took it out of service or in again");
        text(StatusCode::OK, if out { "drained: it gets nothing new\n" } else { "back in service\n" })
    }

    fn look_at_file(&self) -> Response<Full<Bytes>> {
        match &self.reload {
            Some(reload) => {
                reload.notify_one();
                text(
                    StatusCode::ACCEPTED,
                    "looking at the file; the log and plimsoll_config_reloads_total tell\n",
                )
            }
            None => text(StatusCode::CONFLICT, "this gateway runs without a file\n"),
        }
    }

    /// Ready is a gateway that takes requests and has a backend in service.
    fn ready(&self) -> Response<Full<Bytes>> {
        match self.house.readiness() {
            Ok(()) => text(StatusCode::OK, "ready\n"),
            Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        }
    }

    fn fleet(&self) -> Value {
        let now = self.house.clock.now();
        let snapshot = self.house.shared.snapshot();
        let backends: Vec<Value> = snapshot.fleet.backends.iter().map(|backend| view(backend, now)).collect();
        let domain = |domain: &Arc<Domain>| {
            let state = snapshot.fleet.state_of(domain, now);
            json!({
                "name": domain.name,
                "drained": domain.is_drained(),
                "weight": domain.weight(),
                "backends": state.backends,
                "in_service": state.in_service,
                "in_flight": state.in_flight,
            })
        };
        let domains: Vec<Value> = snapshot.fleet.domains().map(domain).collect();
        let commitments: Vec<Value> = snapshot.fleet.commitments().map(|known| burn_down(known)).collect();
        json!({
            "policy": snapshot.fleet.config.policy,
            "in_flight": self.house.shared.in_flight(),
            "draining": self.house.is_leaving(),
            "domains": domains,
            "commitments": commitments,
            "backends": backends,
        })
    }
}

/// What is used of a commitment, and what is left of it.
fn burn_down(commitment: &Commitment) -> Value {
    let (size, used) = commitment.size_and_used();
    json!({
        "name": commitment.name,
        "unit": commitment.unit(),
        "size": size,
        "used": used,
        "left": (size - used).max(0.0),
        "ends_at": commitment.ends_at(),
        "in_force": commitment.is_in_force(),
    })
}

fn view(backend: &Backend, now: Instant) -> Value {
    let millis = |seconds: f32| f64::from((seconds * 1e6).round()) / 1e3;
    let service = match backend.service(now) {
        Service::Open => "in_service",
        Service::Probation => "probation",
        Service::Ejected => "ejected",
    };
    // The pace of an unknown backend is that of its pool; one number must do here.
    let expected = backend.expected_ttft(&RequestShape::typical(now), &Conditions::UNKNOWN);
    let models: Vec<&str> = backend.spec.models.iter().map(|model| model.name.as_str()).collect();
    json!({
        "name": backend.spec.name,
        "cloud": backend.spec.locality.cloud,
        "region": backend.spec.locality.region,
        "zone": backend.spec.locality.zone,
        "accelerator": backend.spec.accelerator,
        "models": models,
        "rack": backend.spec.locality.rack,
        "residency": backend.spec.residency,
        "service": service,
        "drained": backend.is_drained(),
        "failures_in_a_row": backend.outlier.failures(),
        "found_dead_by_probes": backend.outlier.is_dead(now),
        "found_slow": backend.outlier.is_slow(),
        "beside_peers": {
            "ttft": backend.beside_peers().ttft,
            "itl": backend.beside_peers().itl,
        },
        "round_trip_ms": millis(backend.round_trip()),
        "last_probe": backend.seen.last_probe().map(|(at, probed)| {
            json!({"found": probed.outcome, "why": probed.why, "age_ms": millis((now - at).as_secs_f32())})
        }),
        "engine": backend.seen.reporting().map(|reporting| reporting.engine),
        "reported_by": backend.seen.reporting().map(|reporting| reporting.by),
        "report_age_ms": backend.report_age(now).map(millis),
        "others": backend.report_age(now).map(|_| {
            let (waiting, running, kv_used) = backend.others(now);
            json!({"waiting": waiting.round(), "running": running.round(), "kv_used": kv_used})
        }),
        "prompts_at_a_time": backend.prompts_at_a_time(),
        "seats": backend.seats(),
        "last_report": backend.last_report().map(|(at, waiting, running)| {
            json!({"waiting": waiting, "running": running, "age_ms": millis((now - at).as_secs_f32())})
        }),
        "pushback_ms": u64::try_from(backend.pushback_left(now).as_millis()).unwrap_or(u64::MAX),
        "in_flight": backend.load.in_flight(),
        "max_in_flight": backend.spec.max_in_flight,
        "queued_prompt_tokens": backend.load.queued_tokens(),
        "cached_blocks": backend.cache().map(|cache| cache.held().0),
        "pace_known": backend.pace.is_known(),
        "expected_ttft_ms_of_1000_tokens": millis(expected),
    })
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn json_of(value: &Value) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::OK, format!("{value:#}\n"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
