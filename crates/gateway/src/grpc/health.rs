//! `grpc.health.v1`: whether the gateway, the service, or a model can be called.
//!
//! The gateway is the empty name, the service its own, and a model stands behind the service:
//! `plimsoll.v1.InferenceService/llama-3`. A model can be called while one of its backends is in service.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use plimsoll_engines::grpc::{Code, SERVICE, Status, put_frame};
use plimsoll_proto::grpc::health::v1::health_check_response::ServingStatus;
use plimsoll_proto::grpc::health::v1::{HealthCheckRequest, HealthCheckResponse, HealthListResponse};
use plimsoll_routing::{Pool, Service};
use plimsoll_types::{Refusal, ServeError, Sleep};
use prost::Message;

use super::metadata::Metadata;
use super::{Content, trailers};
use crate::core::Core;
use crate::house::Settings;

/// How often somebody who watches is looked after.
const EVERY: Duration = Duration::from_millis(200);
/// Services that a list may have, as the protocol says.
const MOST: usize = 100;

/// What may be asked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ask {
    Check,
    List,
    Watch,
}

impl Ask {
    pub(super) fn of(path: &str) -> Option<Self> {
        match path {
            "/grpc.health.v1.Health/Check" => Some(Self::Check),
            "/grpc.health.v1.Health/List" => Some(Self::List),
            "/grpc.health.v1.Health/Watch" => Some(Self::Watch),
            _ => None,
        }
    }
}

/// Answers what is asked in `message`. Whoever can connect may ask for the whole; models are for those with a key.
pub(super) fn answer(
    core: &Rc<Core>,
    settings: &Settings,
    metadata: &Metadata,
    ask: Ask,
    message: &[u8],
) -> Result<Content, ServeError> {
    let service = HealthCheckRequest::decode(message)
        .map_err(|_| ServeError::invalid("the message is not a HealthCheckRequest"))?
        .service;
    if matches!(ask, Ask::List) || !matches!(&*service, "" | SERVICE) {
        settings.keys.admit(&metadata.head)?;
    }
    match ask {
        Ask::Check => match health(core, &service) {
            ServingStatus::ServiceUnknown => Err(Refusal {
                param: Some("service".into()),
                code: Some("unknown_service".into()),
                ..Refusal::new(404, "there is no such service here")
            }
            .into()),
            status => Ok(Content::message(&response(status).encode_to_vec())),
        },
        Ask::List => list(core).map(|list| Content::message(&list.encode_to_vec())),
        Ask::Watch => {
            let timer = core.clock.sleep_until(core.clock.now());
            let watch = Watch { core: Rc::clone(core), service, told: None, timer, over: false };
            Ok(Content::Watch(Box::new(watch)))
        }
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

fn list(core: &Core) -> Result<HealthListResponse, ServeError> {
    let snapshot = core.house.shared.snapshot();
    let models = snapshot.fleet.pools().map(|pool| format!("{SERVICE}/{}", pool.model));
    let names: Vec<String> = [String::new(), SERVICE.into()].into_iter().chain(models).collect();
    if names.len() > MOST {
        let message = format!("there are more than {MOST} services; check them one by one");
        return Err(Refusal::new(413, message).into());
    }
    let statuses = names.into_iter().map(|name| {
        let status = response(health(core, &name));
        (name, status)
    });
    Ok(HealthListResponse { statuses: statuses.collect() })
}

fn health(core: &Core, service: &str) -> ServingStatus {
    let (snapshot, now) = (core.house.shared.snapshot(), core.clock.now());
    // A limit of a backend is no outage here.
    let open = |pool: &Pool| pool.members.iter().any(|backend| backend.outlier.service(now) == Service::Open);
    let serving = match service {
        "" | SERVICE => snapshot.fleet.pools().any(|pool| open(pool)),
        name => {
            match name.strip_prefix(SERVICE).and_then(|rest| snapshot.fleet.pool(rest.strip_prefix('/')?)) {
                Some(pool) => open(pool),
                None => return ServingStatus::ServiceUnknown,
            }
        }
    };
    if serving && !core.house.is_leaving() { ServingStatus::Serving } else { ServingStatus::NotServing }
}

/// The health of a service, for somebody who watches it.
pub(crate) struct Watch {
    core: Rc<Core>,
    service: String,
    told: Option<ServingStatus>,
    timer: Sleep,
    over: bool,
}

impl Watch {
    /// Gives the next news. Ends when the gateway goes, which must not wait for those who watch.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        loop {
            if self.over {
                return Poll::Ready(None);
            }
            let status = health(&self.core, &self.service);
            if self.told != Some(status) {
                self.told = Some(status);
                let mut frame = Vec::new();
                put_frame(&mut frame, &response(status).encode_to_vec());
                return Poll::Ready(Some(Frame::data(frame.into())));
            }
            if self.core.house.shared.is_draining() {
                self.over = true;
                let status = Status::new(Code::Unavailable, "this gateway is shutting down; try again");
                return Poll::Ready(Some(Frame::trailers(trailers(&status))));
            }
            ready!(Pin::new(&mut self.timer).poll(cx));
            self.timer = self.core.clock.sleep_until(self.core.clock.now() + EVERY);
        }
    }
}
