use plimsoll_proto::schema::{self, Message};
use plimsoll_types::Kind;

/// The service.
pub const SERVICE: &str = "plimsoll.v1.InferenceService";
/// The path of the method that lists models.
pub const MODELS: &str = "/plimsoll.v1.InferenceService/Models";
/// The number of the field `call` in every request.
pub const CALL_OPTIONS: u32 = 100;

/// A method that asks something of a model.
#[derive(Debug)]
pub struct Method {
    /// Its path.
    pub path: &'static str,
    /// What it asks.
    pub kind: Kind,
    /// Whether its answer is a stream.
    pub stream: bool,
    /// Its request.
    pub request: &'static Message,
    /// Its answer, or each message of it.
    pub answer: &'static Message,
}

/// All of them.
pub static METHODS: [Method; 6] = [
    Method {
        path: "/plimsoll.v1.InferenceService/Chat",
        kind: Kind::Chat,
        stream: false,
        request: &schema::CHAT_REQUEST,
        answer: &schema::CHAT_RESPONSE,
    },
    Method {
        path: "/plimsoll.v1.InferenceService/ChatStream",
        kind: Kind::Chat,
        stream: true,
        request: &schema::CHAT_REQUEST,
        answer: &schema::CHAT_STREAM_RESPONSE,
    },
    Method {
        path: "/plimsoll.v1.InferenceService/Complete",
        kind: Kind::Completion,
        stream: false,
        request: &schema::COMPLETE_REQUEST,
        answer: &schema::COMPLETE_RESPONSE,
    },
    Method {
        path: "/plimsoll.v1.InferenceService/CompleteStream",
        kind: Kind::Completion,
        stream: true,
        request: &schema::COMPLETE_REQUEST,
        answer: &schema::COMPLETE_STREAM_RESPONSE,
    },
    Method {
        path: "/plimsoll.v1.InferenceService/Embed",
        kind: Kind::Embedding,
        stream: false,
        request: &schema::EMBED_REQUEST,
        answer: &schema::EMBED_RESPONSE,
    },
    Method {
        path: "/plimsoll.v1.InferenceService/Rerank",
        kind: Kind::Rerank,
        stream: false,
        request: &schema::RERANK_REQUEST,
        answer: &schema::RERANK_RESPONSE,
    },
];

impl Method {
    /// The method that asks `kind`, if there is one.
    #[must_use]
    pub fn of(kind: Kind, stream: bool) -> Option<&'static Self> {
        METHODS.iter().find(|method| method.kind == kind && (method.stream == stream || !kind.streams()))
    }

    /// Members of the body that the method says by itself.
    #[must_use]
    pub fn fixed(&self) -> &'static [(&'static str, &'static str)] {
        if self.stream { &[("stream", "true")] } else { &[] }
    }
}
