//! Makes the requests: who asks for what, with whose key.

use std::sync::Arc;

use bytes::Bytes;
use plimsoll_types::{Blocks, Envelope, Forward, Instant, Kind, Request, Text};

use super::keys::TenantKeys;
use crate::prompts::{Body, Form, Length};
use crate::trace::{Arrival, Trace};

/// What is asked, beyond what the trace says.
#[derive(Debug, Clone, PartialEq)]
pub struct Asking {
    /// Chat, completion or embedding.
    pub form: Form,
    /// Whether answers are streams; embeddings never are.
    pub stream: bool,
    /// How answers are made to have the length that the trace says.
    pub length: Length,
    /// The model to ask for in the place of those of the trace.
    pub model: Option<String>,
    /// Told to the endpoint in the request ids, and makes the prompts of one run differ from those of another.
    pub seed: u64,
}

/// Makes the request of each arrival.
pub(super) struct Requests {
    trace: Arc<Trace>,
    body: Body,
    kind: Kind,
    seed: u64,
    /// By model of the trace.
    models: Vec<Text>,
    /// By tenant of the trace.
    fields: Vec<Forward>,
}

impl Requests {
    pub(super) fn new(asking: &Asking, trace: &Arc<Trace>, keys: &TenantKeys) -> Self {
        let models = trace.models.iter().map(|name| Text::from(asking.model.as_deref().unwrap_or(name)));
        let fields = |tenant: &String| -> Forward {
            let key = keys.of(tenant).map(|key| ("authorization", Text::from(format!("Bearer {key}"))));
            // A gateway that may tell says who answered; others do not know the field.
            key.into_iter().chain([("x-plimsoll-explain", Text::from_static("backend"))]).collect()
        };
        let kind = match asking.form {
            Form::Chat => Kind::Chat,
            Form::Completion => Kind::Completion,
            Form::Embedding => Kind::Embedding,
        };
        let body = Body {
            form: asking.form,
            stream: asking.stream && kind.streams(),
            length: asking.length,
            model: asking.model.clone(),
            salt: asking.seed,
            ..Body::default()
        };
        Self {
            body,
            kind,
            seed: asking.seed,
            models: models.collect(),
            fields: trace.tenants.iter().map(fields).collect(),
            trace: Arc::clone(trace),
        }
    }

    /// The request of `arrival`, the `number`th of the run.
    pub(super) fn request(&self, number: u32, arrival: &Arrival) -> Request {
        let envelope = Envelope {
            id: Text::from(format!("load-{}-{number}", self.seed)),
            protocol: plimsoll_types::Protocol::Http,
            kind: self.kind,
            model: self.models[usize::from(arrival.model)].clone(),
            model_at: 0..0,
            stream: self.body.stream,
            ask_usage: None,
            prompt_tokens: arrival.prompt_tokens,
            blocks: Blocks::default(),
            max_tokens: Some(arrival.output_tokens),
            tenant: None,
            tools: false,
            query: None,
            home: None,
            priority: plimsoll_types::Priority::Normal,
            residency: None,
            deadline: None,
            patience: None,
            forward: self.fields[usize::from(arrival.tenant)].clone(),
            explain: false,
            cache_salt: None,
            received: Instant::ORIGIN,
        };
        Request { envelope, body: self.write(number, arrival) }
    }

    /// Whoever goes round the trace asks something new in each round: caches know the last one.
    fn write(&self, number: u32, arrival: &Arrival) -> Bytes {
        let round = u64::from(number) / self.trace.arrivals.len().max(1) as u64;
        if round == 0 {
            return self.body.write(&self.trace, arrival, number as usize);
        }
        let salt = self.seed ^ (round << 32);
        Body { salt, ..self.body.clone() }.write(&self.trace, arrival, number as usize)
    }
}
