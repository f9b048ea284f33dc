use std::time::Duration;

/// All that a caller can be told went wrong. The gateway turns it into HTTP and gRPC in one table.
///
/// Messages say what the caller can change; they never hold an address, a backend's name or a stack trace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServeError {
    /// The request is not one that can be served.
    #[error("{message}")]
    Invalid {
        /// What to change.
        message: String,
        /// The field at fault, where there is one.
        param: Option<&'static str>,
        /// The machine-readable reason.
        code: &'static str,
    },
    /// No pool serves the model.
    #[error("the model `{model}` does not exist here; these do: {known}")]
    UnknownModel {
        /// What was asked for, cut to a bearable length.
        model: String,
        /// The models that exist, with commas between.
        known: String,
    },
    /// No pool serves the model, and not all backends have said yet what they serve.
    #[error(
        "the model `{model}` is not known yet: some backends have not said what they serve; try again soon"
    )]
    ModelNotKnownYet {
        /// What was asked for, cut to a bearable length.
        model: String,
    },
    /// There is no such route.
    #[error("there is no route {method} {path}")]
    UnknownRoute {
        /// The method asked with.
        method: String,
        /// The path asked for, cut to a bearable length.
        path: String,
    },
    /// The route exists for another method.
    #[error("this route takes {allowed}")]
    WrongMethod {
        /// The method to use.
        allowed: &'static str,
    },
    /// The caller would rather speak WebSocket.
    #[error("there is no WebSocket here: send the request over HTTP")]
    NoWebSocket,
    /// The key is missing or wrong.
    #[error("{0}")]
    Unauthorized(&'static str),
    /// The body is larger than the limit.
    #[error("the body is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The head is larger than the limit.
    #[error("the header fields are larger than {limit_bytes} bytes or more than {limit_fields}")]
    HeadTooLarge {
        /// Bytes that a head may have.
        limit_bytes: usize,
        /// Fields that a head may have.
        limit_fields: usize,
    },
    /// The body is not in a form that is understood.
    #[error("{0}")]
    UnsupportedMedia(&'static str),
    /// `Expect` asks for something unknown.
    #[error("only `Expect: 100-continue` is understood")]
    Expectation,
    /// The body did not arrive in time.
    #[error("the body did not arrive in time")]
    SlowBody,
    /// As many requests as may be are being served.
    #[error("too many requests are being served; try again in {} s", retry_after.as_secs().max(1))]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// Nothing can answer it within the time that its caller allows.
    #[error(
        "the request cannot be answered within the time that its caller allows; allow more, or try again in {} s",
        retry_after.as_secs().max(1)
    )]
    NotInTime {
        /// When to try again.
        retry_after: Duration,
    },
    /// Every backend of the model asks to be left alone.
    #[error("the backends of this model are at their limit; try again in {} s", retry_after.as_secs().max(1))]
    Pushback {
        /// When to try again: the least that a backend asked for.
        retry_after: Duration,
    },
    /// No backend of the model can be used now.
    #[error("no backend of this model is available; try again soon")]
    NoBackend,
    /// The gateway is on its way out.
    #[error("this gateway is shutting down; try again")]
    Draining,
    /// The backends that were tried failed.
    #[error("the backend failed: {0}")]
    Backend(&'static str),
    /// The time that the caller or the operator allows is over.
    #[error("{0}")]
    Deadline(&'static str),
    /// The backend refused the request: its words, cleaned.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// A bug of ours.
    #[error("internal error")]
    Internal,
}

/// What a backend says when it refuses a request, in words that a caller may see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The status that it gave, 400 to 599.
    pub status: u16,
    /// What it said; empty where it said nothing.
    pub message: String,
    /// Its type, where it gave one in OpenAI's form.
    pub kind: Option<String>,
    /// The field at fault, where it named one.
    pub param: Option<String>,
    /// Its code, as text.
    pub code: Option<String>,
    /// More members of its error, as a JSON object; empty where there are none.
    pub details: String,
    /// How long it asks to be left alone.
    pub retry_after: Option<Duration>,
    /// What it says to SDKs by `x-should-retry`.
    pub should_retry: Option<bool>,
}

impl Refusal {
    /// A refusal with this status and message.
    #[must_use]
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), ..Self::default() }
    }

    /// Whether another backend of the same model may well serve the request: this one lacks the model, or room for a prompt
    /// of such a length.
    #[must_use]
    pub fn is_of_this_backend(&self) -> bool {
        let says = |word: &str| [&self.kind, &self.code].into_iter().flatten().any(|said| said == word);
        match self.status {
            404 => says("model_not_found") || says("NotFoundError") || self.message.contains("model"),
            400 | 413 => {
                says("context_length_exceeded") || says("exceed_context_size_error") || self.tells_of_length()
            }
            _ => false,
        }
    }

    /// vLLM and SGLang give no code of their own for a prompt that is too long.
    fn tells_of_length(&self) -> bool {
        ["maximum context length", "context length", "maximum model length"]
            .iter()
            .any(|words| self.message.contains(words))
    }

    /// Whether waiting does not help: an account is empty.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        let lasting = ["insufficient_quota", "billing_hard_limit_reached"];
        [&self.kind, &self.code].into_iter().flatten().any(|said| lasting.contains(&said.as_str()))
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.message.is_empty() {
            return write!(f, "the backend refused the request ({})", self.status);
        }
        f.write_str(&self.message)
    }
}

impl From<Refusal> for ServeError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl ServeError {
    /// A request that cannot be served, for a reason without a code of its own.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into(), param: None, code: "invalid_request" }
    }

    /// When to try again, where that helps.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after }
            | Self::NotInTime { retry_after }
            | Self::Pushback { retry_after } => Some(*retry_after),
            Self::NoBackend | Self::Draining | Self::ModelNotKnownYet { .. } => Some(Duration::from_secs(1)),
            Self::Refused(refusal) => refusal.retry_after,
            _ => None,
        }
    }
}
