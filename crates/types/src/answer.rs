use std::time::Duration;

use bytes::Bytes;

use crate::Text;

/// Token counts of a request, as the backend reports them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt: u32,
    /// Prompt tokens that the backend had cached; part of `prompt`.
    pub cached: u32,
    /// Tokens written.
    pub completion: u32,
}

/// Why an answer ended, as far as the way through the house cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it, whatever word the backend has for that.
    Natural,
    /// The limit on tokens ended it.
    Length,
}

/// The beginning of a backend's answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// The status, as HTTP counts them.
    pub status: u16,
    /// Whether a stream of events follows.
    pub stream: bool,
    /// The value of `content-type`; empty where the backend did not say.
    pub content_type: Text,
    /// The value of `content-encoding`; empty where the backend did not say.
    pub coding: Text,
    /// Bytes of a plain answer, where they are known beforehand.
    pub length: Option<u64>,
    /// How long the backend asks to be left alone.
    pub retry_after: Option<Duration>,
    /// Other fields of the backend that callers may see: a short list of known names.
    pub fields: Vec<(&'static str, Text)>,
}

/// What was read from a piece of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Peeked {
    /// Events that carry tokens: text, reasoning, refusal or a piece of a tool call.
    pub token_events: u32,
    /// The usage figures, where this piece has them.
    pub usage: Option<Usage>,
    /// Why the answer ended, where this piece says so.
    pub finish: Option<Finish>,
    /// Whether the backend reports an error inside its stream.
    pub error: bool,
    /// Whether this piece ends the stream as the protocol wants it (`[DONE]` or a terminal event).
    pub done: bool,
}

impl Peeked {
    /// Adds what was read from the next piece.
    pub fn add(&mut self, next: Self) {
        self.token_events += next.token_events;
        self.usage = next.usage.or(self.usage);
        self.finish = next.finish.or(self.finish);
        self.error |= next.error;
        self.done |= next.done;
    }
}

/// A piece of an answer: for a stream, one or more whole events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chunk {
    /// The backend's bytes.
    pub bytes: Bytes,
    /// What was read from them.
    pub peeked: Peeked,
}
