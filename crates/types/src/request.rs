use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::{Blocks, Instant, Text};

/// What is asked of a model: one of the routes of the OpenAI API, or Anthropic's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completion,
    /// `/v1/embeddings`
    Embedding,
    /// `/v1/responses`
    Response,
    /// `/v1/rerank`
    Rerank,
    /// `/v1/score`
    Score,
    /// `/v1/tokenize`
    Tokenize,
    /// `/v1/detokenize`
    Detokenize,
    /// `/v1/messages`
    Message,
    /// `/v1/messages/count_tokens`
    CountTokens,
}

impl Kind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Self; 10] = [
        Self::Chat,
        Self::Completion,
        Self::Embedding,
        Self::Response,
        Self::Rerank,
        Self::Score,
        Self::Tokenize,
        Self::Detokenize,
        Self::Message,
        Self::CountTokens,
    ];

    /// The path of its route, the same towards callers and backends.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completion => "/v1/completions",
            Self::Embedding => "/v1/embeddings",
            Self::Response => "/v1/responses",
            Self::Rerank => "/v1/rerank",
            Self::Score => "/v1/score",
            Self::Tokenize => "/v1/tokenize",
            Self::Detokenize => "/v1/detokenize",
            Self::Message => "/v1/messages",
            Self::CountTokens => "/v1/messages/count_tokens",
        }
    }

    /// The value of the metric label `route`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completion => "completions",
            Self::Embedding => "embeddings",
            Self::Response => "responses",
            Self::Rerank => "rerank",
            Self::Score => "score",
            Self::Tokenize => "tokenize",
            Self::Detokenize => "detokenize",
            Self::Message => "messages",
            Self::CountTokens => "count_tokens",
        }
    }

    /// Whether an answer of this kind may be a stream of events.
    #[must_use]
    pub const fn streams(self) -> bool {
        matches!(self, Self::Chat | Self::Completion | Self::Response | Self::Message)
    }
}

/// By which protocol a caller asks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP with JSON bodies.
    #[default]
    Http,
    /// gRPC.
    Grpc,
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Self; 2] = [Self::Http, Self::Grpc];

    /// The value of the metric label `protocol`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
        }
    }

    /// Whether a stream ends with its usage, asked for or not.
    #[must_use]
    pub const fn shows_usage(self) -> bool {
        matches!(self, Self::Grpc)
    }
}

/// How urgent a request is among those that wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Before all others.
    High,
    /// As most are.
    #[default]
    Normal,
    /// When nobody else wants to.
    Low,
}

impl Priority {
    /// Every priority, the most urgent first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];
    /// Their names, in this order.
    pub const NAMES: [&str; 3] = ["high", "normal", "low"];

    /// The name in configuration, header fields and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// The priority of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.name() == name)
    }

    /// What is granted of it to `tenant`; everything where nobody is known.
    #[must_use]
    pub fn granted_to(self, tenant: Option<&Tenant>) -> Self {
        tenant.map_or(self, |tenant| self.max(tenant.most_urgent))
    }

    /// What a number means as engines have it: lower goes first, and 0 is what nobody said.
    #[must_use]
    pub fn of_number(number: f64) -> Self {
        if number < 0.0 {
            Self::High
        } else if number > 0.0 {
            Self::Low
        } else {
            Self::Normal
        }
    }
}

/// Who pays: what an API key stands for.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Tenant {
    /// Its name in the configuration, for log lines.
    pub name: String,
    /// Its share among those that wait, beside the shares of others.
    pub weight: u32,
    /// The most urgent that its requests may be.
    pub most_urgent: Priority,
    /// Where its requests may be served: labels of which one must hold; none means everywhere.
    pub residency: Vec<String>,
    /// What keeps its prompts apart from equal ones of others in caches; empty where they are shared.
    pub salt: Text,
}

impl Default for Tenant {
    fn default() -> Self {
        Self {
            name: String::new(),
            weight: 1,
            most_urgent: Priority::High,
            residency: Vec::new(),
            salt: Text::default(),
        }
    }
}

impl Tenant {
    /// A tenant with a share like everybody's, whose requests may be as urgent as they say.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

/// A change to a body that has a reason: put `text` in the place of the bytes at `at`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splice {
    /// Where in the body as received; empty where the text is only put in.
    pub at: Range<usize>,
    /// What comes there.
    pub text: Text,
}

/// What the way through the house needs to know of a request, read from it without building the document.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// The caller's request id, or one made here: 1 to 128 visible ASCII characters.
    pub id: Text,
    /// By which protocol it is asked.
    pub protocol: Protocol,
    /// What is asked.
    pub kind: Kind,
    /// The model, by the caller's name for it.
    pub model: Text,
    /// Where in the body the value of `model` stands, quotes included.
    pub model_at: Range<usize>,
    /// Whether the answer is to be a stream of events.
    pub stream: bool,
    /// How to ask the backend for usage figures in a stream whose caller did not ask; its chunk is taken out again.
    pub ask_usage: Option<Splice>,
    /// How to keep its prompt apart from equal ones of other tenants in the cache of a backend that can (`cache_salt`).
    pub cache_salt: Option<Splice>,
    /// The response or conversation that it goes on with, by its id; it must go where that lives.
    pub home: Option<Text>,
    /// The query of its target, which goes to the backend; `None` where there is none.
    pub query: Option<Text>,
    /// Whether the answer may be the call of a tool.
    pub tools: bool,
    /// Prompt tokens, estimated from the length of the prompt's text.
    pub prompt_tokens: u32,
    /// What the prompt begins with; none where nobody asks for them.
    pub blocks: Blocks,
    /// The limit that the caller put on the answer, in tokens.
    pub max_tokens: Option<u32>,
    /// Who pays; `None` where no keys are configured.
    pub tenant: Option<Arc<Tenant>>,
    /// How urgent it is, as far as its tenant may say so.
    pub priority: Priority,
    /// Where it may be served: labels with commas between, of which one must hold.
    pub residency: Option<Text>,
    /// When the caller stops waiting for all of the answer.
    pub deadline: Option<Instant>,
    /// The longest silence that the caller's client bears: before the first byte of a stream, and in its gaps.
    pub patience: Option<Duration>,
    /// Header fields of the caller that a backend may see, already checked, as `name: value` lines of an HTTP/1 head.
    pub forward: Forward,
    /// Whether the caller asks why it goes to the backend that it goes to, and may ask.
    pub explain: bool,
    /// When the whole of the request had arrived.
    pub received: Instant,
}

/// Header fields of the caller that go to the backend: a short list of known names.
pub type Forward = Vec<(&'static str, Text)>;

/// A request inside the house: its body as received, and the envelope.
#[derive(Debug, Clone)]
pub struct Request {
    /// What was read from it.
    pub envelope: Envelope,
    /// The JSON body, byte for byte.
    pub body: Bytes,
}
