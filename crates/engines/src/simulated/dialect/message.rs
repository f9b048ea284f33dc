//! `/v1/messages`, Anthropic's API

use bytes::BytesMut;
use plimsoll_types::Usage;
use serde::Serialize;

use super::{Dialect, Origin, Written, json, named_event};
use crate::simulated::text::End;

/// Messages.
pub(crate) struct Message {
    id: String,
    origin: Origin,
    stops: Vec<String>,
    end: Option<End>,
}

#[derive(Serialize)]
struct Document<'a> {
    id: &'a str,
    r#type: &'static str,
    role: &'static str,
    model: &'a str,
    content: &'a [Block<'a>],
    stop_reason: Option<&'static str>,
    stop_sequence: Option<&'a str>,
    usage: Counted,
    system_fingerprint: &'static str,
}

#[derive(Serialize)]
struct Block<'a> {
    r#type: &'static str,
    text: &'a str,
}

/// Anthropic counts cached tokens beside the input and not inside it.
#[derive(Serialize)]
struct Counted {
    input_tokens: u32,
    cache_creation_input_tokens: u32,
    cache_read_input_tokens: u32,
    output_tokens: u32,
}

impl From<Usage> for Counted {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.prompt - usage.cached,
            cache_creation_input_tokens: 0,
            cache_read_input_tokens: usage.cached,
            output_tokens: usage.completion,
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event<'a> {
    MessageStart { message: Document<'a> },
    ContentBlockStart { index: u32, content_block: Block<'a> },
    ContentBlockDelta { index: u32, delta: Block<'a> },
    ContentBlockStop { index: u32 },
    MessageDelta { delta: Stopped<'a>, usage: Counted },
    MessageStop,
}

#[derive(Serialize)]
struct Stopped<'a> {
    stop_reason: Option<&'static str>,
    stop_sequence: Option<&'a str>,
}

impl Message {
    /// The answer of this origin, which may end before one of `stops`.
    pub(crate) fn new(origin: Origin, stops: Vec<String>) -> Self {
        Self { id: format!("msg_{:016x}", origin.serial), origin, stops, end: None }
    }

    fn document<'a>(&'a self, content: &'a [Block<'a>], end: Option<End>, usage: Usage) -> Document<'a> {
        let Stopped { stop_reason, stop_sequence } = self.stopped(end);
        Document {
            id: &self.id,
            r#type: "message",
            role: "assistant",
            model: &self.origin.model,
            content,
            stop_reason,
            stop_sequence,
            usage: usage.into(),
            system_fingerprint: self.origin.fingerprint,
        }
    }

    fn stopped(&self, end: Option<End>) -> Stopped<'_> {
        let stop_sequence = match end {
            Some(End::Stop(index)) => self.stops.get(index).map(String::as_str),
            _ => None,
        };
        let stop_reason = end.map(|end| match end {
            End::Natural => "end_turn",
            End::Stop(_) => "stop_sequence",
            End::Length => "max_tokens",
        });
        Stopped { stop_reason, stop_sequence }
    }
}

impl Dialect for Message {
    fn begin(&mut self, out: &mut BytesMut, _: u32, usage: Usage) {
        named_event(out, "message_start", &Event::MessageStart { message: self.document(&[], None, usage) });
        let content_block = Block { r#type: "text", text: "" };
        named_event(out, "content_block_start", &Event::ContentBlockStart { index: 0, content_block });
    }

    fn token(&mut self, out: &mut BytesMut, _: u32, text: &str) {
        let delta = Block { r#type: "text_delta", text };
        named_event(out, "content_block_delta", &Event::ContentBlockDelta { index: 0, delta });
    }

    fn finish(&mut self, out: &mut BytesMut, _: u32, end: End) {
        self.end = Some(end);
        named_event(out, "content_block_stop", &Event::ContentBlockStop { index: 0 });
    }

    fn end(&mut self, out: &mut BytesMut, usage: Usage, _: u64) {
        let delta = self.stopped(self.end);
        named_event(out, "message_delta", &Event::MessageDelta { delta, usage: usage.into() });
        named_event(out, "message_stop", &Event::MessageStop);
    }

    fn plain(&self, out: &mut BytesMut, choices: &[Written], usage: Usage, _: u64) {
        let content: Vec<Block<'_>> =
            choices.iter().map(|choice| Block { r#type: "text", text: &choice.text }).collect();
        json(out, &self.document(&content, choices.first().map(|choice| choice.end), usage));
    }
}
