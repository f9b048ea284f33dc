//! Asks a backend which models it has.

use std::future::poll_fn;

use plimsoll_proto::schema;
use plimsoll_types::Kind;

use super::answer::GrpcAnswer;
use super::{Grpc, MODELS, Method};
use crate::openai::names;
use crate::outgoing::Fields;
use crate::{Answer, Failure};

static LIST: Method = Method {
    path: MODELS,
    // It asks nothing of a model, and its answer is plain.
    kind: Kind::Embedding,
    stream: false,
    request: &schema::MODELS_REQUEST,
    answer: &schema::MODELS_RESPONSE,
};

impl Grpc {
    /// The models that the backend lists, by name.
    ///
    /// # Errors
    ///
    /// Where it cannot be reached or what it says is not such a list.
    pub async fn models(&self) -> Result<Vec<String>, Failure> {
        let mut answer = GrpcAnswer::new(
            super::Transfer::new(self.send(MODELS, Fields::default(), &[], None)),
            &LIST,
            false,
        );
        let head = poll_fn(|cx| answer.poll_head(cx)).await?;
        let no_list = Failure::Broken("the answer is not a list of models");
        let chunk = poll_fn(|cx| answer.poll_chunk(cx)).await.ok_or(no_list)??;
        if head.status == 200 { names(&chunk.bytes).map_err(|_| no_list) } else { Err(no_list) }
    }
}
