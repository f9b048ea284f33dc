//! `/v1/responses`

use bytes::BytesMut;
use plimsoll_types::Usage;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Details, Dialect, Origin, Written, json, named_event};
use crate::simulated::text::End;

/// Responses: every event is numbered, and the last ones repeat all that was said.
pub(crate) struct Response {
    id: String,
    item: String,
    origin: Origin,
    max_output_tokens: Option<u64>,
    sequence_number: u64,
    text: String,
    end: Option<End>,
}

#[derive(Serialize)]
struct Document<'a> {
    id: &'a str,
    object: &'static str,
    created_at: u64,
    completed_at: Option<u64>,
    status: &'static str,
    error: (),
    incomplete_details: Option<Incomplete>,
    instructions: (),
    max_output_tokens: Option<u64>,
    model: &'a str,
    output: &'a [Item<'a>],
    parallel_tool_calls: bool,
    previous_response_id: (),
    store: bool,
    tool_choice: &'static str,
    tools: [(); 0],
    usage: Option<Counted>,
    metadata: Map<String, Value>,
    system_fingerprint: &'static str,
}

#[derive(Serialize)]
struct Incomplete {
    reason: &'static str,
}

#[derive(Serialize)]
struct Item<'a> {
    id: &'a str,
    r#type: &'static str,
    status: &'static str,
    role: &'static str,
    content: &'a [Part<'a>],
}

#[derive(Serialize)]
struct Part<'a> {
    r#type: &'static str,
    annotations: [(); 0],
    logprobs: [(); 0],
    text: &'a str,
}

#[derive(Serialize)]
struct Counted {
    input_tokens: u32,
    input_tokens_details: Details,
    output_tokens: u32,
    output_tokens_details: Reasoned,
    total_tokens: u32,
}

#[derive(Serialize)]
struct Reasoned {
    reasoning_tokens: u32,
}

impl From<Usage> for Counted {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.prompt,
            input_tokens_details: Details { cached_tokens: usage.cached },
            output_tokens: usage.completion,
            output_tokens_details: Reasoned { reasoning_tokens: 0 },
            total_tokens: usage.prompt + usage.completion,
        }
    }
}

#[derive(Serialize)]
struct Event<'a, B> {
    r#type: &'a str,
    sequence_number: u64,
    #[serde(flatten)]
    body: B,
}

#[derive(Serialize)]
struct Whole<'a> {
    response: Document<'a>,
}

#[derive(Serialize)]
struct ItemEvent<'a> {
    output_index: u32,
    item: Item<'a>,
}

#[derive(Serialize)]
struct PartEvent<'a, B> {
    item_id: &'a str,
    output_index: u32,
    content_index: u32,
    #[serde(flatten)]
    body: B,
}

#[derive(Serialize)]
struct PartBody<'a> {
    part: Part<'a>,
}

#[derive(Serialize)]
struct TokenBody<'a> {
    delta: &'a str,
    logprobs: [(); 0],
}

#[derive(Serialize)]
struct TextBody<'a> {
    text: &'a str,
    logprobs: [(); 0],
}

fn part(text: &str) -> Part<'_> {
    Part { r#type: "output_text", annotations: [], logprobs: [], text }
}

fn status(end: Option<End>) -> &'static str {
    match end {
        None => "in_progress",
        Some(End::Natural | End::Stop(_)) => "completed",
        Some(End::Length) => "incomplete",
    }
}

impl Response {
    /// The answer of this origin.
    pub(crate) fn new(origin: Origin, max_output_tokens: Option<u64>) -> Self {
        Self {
            id: format!("resp_{:016x}", origin.serial),
            item: format!("msg_{:016x}", origin.serial),
            origin,
            max_output_tokens,
            sequence_number: 0,
            text: String::new(),
            end: None,
        }
    }

    fn document<'a>(&'a self, output: &'a [Item<'a>], ended: Option<(End, Usage, u64)>) -> Document<'a> {
        let incomplete = matches!(ended, Some((End::Length, ..)));
        Document {
            id: &self.id,
            object: "response",
            created_at: self.origin.created,
            completed_at: ended.filter(|_| !incomplete).map(|(.., now)| now),
            status: status(ended.map(|(end, ..)| end)),
            error: (),
            incomplete_details: incomplete.then_some(Incomplete { reason: "max_output_tokens" }),
            instructions: (),
            max_output_tokens: self.max_output_tokens,
            model: &self.origin.model,
            output,
            parallel_tool_calls: true,
            previous_response_id: (),
            store: false,
            tool_choice: "auto",
            tools: [],
            usage: ended.map(|(_, usage, _)| usage.into()),
            metadata: Map::new(),
            system_fingerprint: self.origin.fingerprint,
        }
    }

    fn item<'a>(&'a self, content: &'a [Part<'a>], end: Option<End>) -> Item<'a> {
        Item { id: &self.item, r#type: "message", status: status(end), role: "assistant", content }
    }

    fn event(&self, out: &mut BytesMut, number: u64, name: &str, body: impl Serialize) {
        let sequence_number = self.sequence_number + number;
        named_event(out, name, &Event { r#type: name, sequence_number, body });
    }

    fn part_event(&self, out: &mut BytesMut, number: u64, name: &str, body: impl Serialize) {
        let (item_id, output_index, content_index) = (&*self.item, 0, 0);
        self.event(out, number, name, PartEvent { item_id, output_index, content_index, body });
    }
}

impl Dialect for Response {
    fn begin(&mut self, out: &mut BytesMut, _: u32, _: Usage) {
        for (number, name) in (0..).zip(["response.created", "response.in_progress"]) {
            self.event(out, number, name, Whole { response: self.document(&[], None) });
        }
        let item = self.item(&[], None);
        self.event(out, 2, "response.output_item.added", ItemEvent { output_index: 0, item });
        self.part_event(out, 3, "response.content_part.added", PartBody { part: part("") });
        self.sequence_number += 4;
    }

    fn token(&mut self, out: &mut BytesMut, _: u32, text: &str) {
        self.text.push_str(text);
        self.part_event(out, 0, "response.output_text.delta", TokenBody { delta: text, logprobs: [] });
        self.sequence_number += 1;
    }

    fn finish(&mut self, out: &mut BytesMut, _: u32, end: End) {
        let text = &*self.text;
        self.part_event(out, 0, "response.output_text.done", TextBody { text, logprobs: [] });
        self.part_event(out, 1, "response.content_part.done", PartBody { part: part(text) });
        let content = [part(text)];
        let item = self.item(&content, Some(end));
        self.event(out, 2, "response.output_item.done", ItemEvent { output_index: 0, item });
        self.end = Some(end);
        self.sequence_number += 3;
    }

    fn end(&mut self, out: &mut BytesMut, usage: Usage, now: u64) {
        let end = self.end.unwrap_or(End::Natural);
        let name = if end == End::Length { "response.incomplete" } else { "response.completed" };
        let content = [part(&self.text)];
        let output = [self.item(&content, Some(end))];
        self.event(out, 0, name, Whole { response: self.document(&output, Some((end, usage, now))) });
    }

    fn plain(&self, out: &mut BytesMut, choices: &[Written], usage: Usage, now: u64) {
        let Some(Written { text, end, .. }) = choices.first() else { return };
        let content = [part(text)];
        let output = [self.item(&content, Some(*end))];
        json(out, &self.document(&output, Some((*end, usage, now))));
    }
}
