//! The ways in which APIs write down what a model says.

mod chat;
mod completion;
mod likely;
mod message;
mod response;

pub(crate) use chat::Chat;
pub(crate) use completion::Completion;
pub(crate) use likely::{Likelihood, Likelihoods};
pub(crate) use message::Message;
pub(crate) use response::Response;

use bytes::{BufMut, BytesMut};
use plimsoll_types::Usage;
use serde::Serialize;

use super::text::End;

/// Stands in every answer, so that nobody takes it for a model's.
pub(crate) const FINGERPRINT: &str = "plimsoll-simulated";

/// What an answer says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// A number that no other answer has.
    pub(crate) serial: u64,
    /// When it began, in seconds since 1970.
    pub(crate) created: u64,
    /// Which software says it.
    pub(crate) fingerprint: &'static str,
    /// The model, as the caller or the alias calls it.
    pub(crate) model: String,
    /// Whether a stream ends with its usage, asked for or not.
    pub(crate) shows_usage: bool,
}

/// A choice of an answer that has ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Written {
    /// All that it says.
    pub(crate) text: String,
    /// How likely its tokens were, if the caller wants to know.
    pub(crate) likely: Likelihoods,
    /// How it ended.
    pub(crate) end: End,
}

/// How one API writes an answer down: as events, one method after the other, or whole.
pub(crate) trait Dialect {
    /// The events before the first token, of an answer with so many choices.
    fn begin(&mut self, out: &mut BytesMut, choices: u32, usage: Usage);
    /// The event for one token.
    fn token(&mut self, out: &mut BytesMut, choice: u32, text: &str);
    /// The event for one token whose caller wants to know how likely it was.
    fn rated(&mut self, out: &mut BytesMut, choice: u32, (text, _): (&str, Likelihood<'_>)) {
        self.token(out, choice, text);
    }
    /// The events after the last token of a choice.
    fn finish(&mut self, out: &mut BytesMut, choice: u32, end: End);
    /// The events that end the stream at `now`, in seconds since 1970.
    fn end(&mut self, out: &mut BytesMut, usage: Usage, now: u64);
    /// The whole answer as one document.
    fn plain(&self, out: &mut BytesMut, choices: &[Written], usage: Usage, now: u64);
}

/// Writes `value` as JSON.
pub(crate) fn json(out: &mut BytesMut, value: &impl Serialize) {
    serde_json::to_writer(out.writer(), value).expect("memory takes what is written, and keys are strings");
}

/// Writes an event without a name.
fn event(out: &mut BytesMut, data: &impl Serialize) {
    out.extend_from_slice(b"data: ");
    json(out, data);
    out.extend_from_slice(b"\n\n");
}

/// Writes an event with a name.
fn named_event(out: &mut BytesMut, name: &str, data: &impl Serialize) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\n");
    event(out, data);
}

/// OpenAI's word for an end.
fn finish_reason(end: End) -> &'static str {
    match end {
        End::Natural | End::Stop(_) => "stop",
        End::Length => "length",
    }
}

/// Usage in OpenAI's words for chat and text completions.
#[derive(Serialize)]
struct Counted {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u32,
    prompt_tokens_details: Details,
}

/// Where the tokens of a prompt came from.
#[derive(Serialize)]
struct Details {
    cached_tokens: u32,
}

impl From<Usage> for Counted {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt,
            completion_tokens: usage.completion,
            total_tokens: usage.prompt + usage.completion,
            prompt_tokens_details: Details { cached_tokens: usage.cached },
        }
    }
}
