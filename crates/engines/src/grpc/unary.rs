//! Asks a backend for something beside its models: whether it is well, how loaded it is.

use std::sync::Arc;

use plimsoll_proto::grpc::health::v1::HealthCheckResponse;
use plimsoll_proto::grpc::health::v1::health_check_response::ServingStatus;
use prost::Message;

use super::transfer::{MALFORMED, Transfer};
use super::{Code, Grpc, Loads, Status};
use crate::io::Connected;
use crate::outgoing::Fields;
use crate::{Failure, http2};

const CHECK: &str = "/grpc.health.v1.Health/Check";
/// Bytes that an answer may have: some hundred ranks have room.
const LIMIT: usize = 1 << 20;

impl Grpc {
    /// Connects, TLS included, for as long as the caller waits; counted nowhere.
    ///
    /// # Errors
    ///
    /// Where there is no connection; [`Failure::REFUSED`] where nobody listens.
    pub async fn connect(&self) -> Result<Connected, Failure> {
        Ok(Connected::new(self.backend.endpoint.dial(&*self.clock).await?))
    }

    /// What `grpc.health.v1` says of the backend as a whole, asked over `connected` and nothing else, as HTTP would say
    /// it: 200 where it serves, 503 where it does not, 404 where it knows no such question.
    ///
    /// # Errors
    ///
    /// Where it does not answer, or with something that is not gRPC.
    pub async fn health_over(&self, connected: Connected) -> Result<u16, Failure> {
        let (endpoint, clock) = (Arc::clone(&self.backend.endpoint), Arc::clone(&self.clock));
        let connection = http2::Shared::over(endpoint, clock, connected.io).await?;
        let (request, pieces) = self.request(CHECK, Fields::default(), &[], None);
        let exchange = http2::Exchange::start(&connection, request, pieces);
        match Transfer::new(exchange).only(LIMIT).await? {
            Ok(message) => {
                let health = HealthCheckResponse::decode(message).map_err(|_| MALFORMED)?;
                Ok(match health.status() {
                    ServingStatus::Serving => 200,
                    ServingStatus::ServiceUnknown => 404,
                    ServingStatus::Unknown | ServingStatus::NotServing => 503,
                })
            }
            Err(status) => Ok(as_http(&status)),
        }
    }

    /// What the method `GetLoads` under `path` says, or the status of HTTP for its refusal.
    ///
    /// # Errors
    ///
    /// Where it cannot be reached, does not answer, or answers with something that is no such message.
    pub async fn loads(&self, path: &str) -> Result<Result<Loads, u16>, Failure> {
        let exchange = self.send(path, Fields::default(), Loads::REQUEST, None);
        match Transfer::new(exchange).only(LIMIT).await? {
            Ok(message) => Loads::read(&message).map(Ok).map_err(|_| MALFORMED),
            Err(status) => Ok(Err(as_http(&status))),
        }
    }
}

/// Who does not know a method is not broken.
fn as_http(status: &Status) -> u16 {
    if status.code == Code::Unimplemented { 404 } else { status.code.http() }
}
