//! Makes the requests: who asks for what, with whose key.

use std::sync::Arc;

use plimsoll_types::{Envelope, Forward, Instant, Kind, Request, Text};

use super::keys::TenantKeys;
use crate::trace::{Arrival, Trace};

/// What is asked, beyond what the trace says.
#[derive(Debug, Clone)]
pub struct Asking {
    /// Chat, completion or embedding.
    pub kind: Kind,
    /// Whether answers are streams; embeddings never are.
    pub stream: bool,
    /// The model to ask for in the place of those of the trace.
    pub model: Option<String>,
    /// Told to the endpoint in the request ids, and makes the prompts of one run differ from those of another.
    pub seed: u64,
}

/// Makes the request of each arrival.
pub(super) struct Requests {
    asking: Asking,
    trace: Arc<Trace>,
    /// By model of the trace.
    models: Vec<Text>,
    /// By tenant of the trace.
    fields: Vec<Forward>,
}

impl Requests {
    pub(super) fn new(asking: Asking, trace: &Arc<Trace>, keys: &TenantKeys) -> Self {
        let models = trace.models.iter().map(|name| Text::from(asking.model.as_deref().unwrap_or(name)));
        let fields = |tenant: &String| -> Forward {
            keys.of(tenant)
                .map(|key| ("authorization", Text::from(format!("Bearer {key}"))))
                .into_iter()
                .collect()
        };
        Self {
            models: models.collect(),
            fields: trace.tenants.iter().map(fields).collect(),
            trace: Arc::clone(trace),
            asking,
        }
    }

    /// The request of `arrival`, the `number`th of the run.
    pub(super) fn request(&self, number: u32, arrival: &Arrival) -> Request {
        let Asking { kind, stream, seed, .. } = self.asking;
        let model = &self.models[usize::from(arrival.model)];
        let stream = stream && kind.streams();
        let body = body(&self.trace, arrival, kind, model, stream, seed, number);
        let envelope = Envelope {
            id: Text::from(format!("load-{seed}-{number}")),
            kind,
            model: model.clone(),
            model_at: 0..0,
            stream,
            ask_usage: None,
            prompt_tokens: arrival.prompt_tokens,
            max_tokens: Some(arrival.output_tokens),
            tenant: None,
            deadline: None,
            patience: None,
            forward: self.fields[usize::from(arrival.tenant)].clone(),
            received: Instant::ORIGIN,
        };
        Request { envelope, body: body.into() }
    }
}

fn body(
    _: &Trace,
    arrival: &Arrival,
    kind: Kind,
    model: &str,
    stream: bool,
    seed: u64,
    number: u32,
) -> Vec<u8> {
    let text = format!("{seed} {number}{}", " a".repeat(arrival.prompt_tokens as usize));
    let mut body = serde_json::json!({"model": model, "max_tokens": arrival.output_tokens, "stream": stream});
    match kind {
        Kind::Chat => body["messages"] = serde_json::json!([{"role": "user", "content": text}]),
        Kind::Completion => body["prompt"] = text.into(),
        _ => body = serde_json::json!({"model": model, "input": text}),
    }
    if stream {
        body["stream_options"] = serde_json::json!({"include_usage": true});
    }
    body.to_string().into_bytes()
}
