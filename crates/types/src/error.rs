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
    /// The backend refused the request, and it is the request's fault: its words, cleaned.
    #[error("{message}")]
    Refused {
        /// The status that it gave, 400 to 499.
        status: u16,
        /// What it said.
        message: String,
        /// Its type, where it gave one in OpenAI's form.
        kind: Option<String>,
        /// The field at fault, where it named one.
        param: Option<String>,
        /// Its code, as text.
        code: Option<String>,
    },
    /// A bug of ours.
    #[error("internal error")]
    Internal,
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
            Self::NoBackend | Self::Draining => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}
