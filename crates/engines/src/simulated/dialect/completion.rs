//! `/v1/completions`

use bytes::BytesMut;
use plimsoll_types::Usage;
use serde::Serialize;

use super::likely::InCompletion;
use super::{Counted, Dialect, Likelihood, Origin, Written, event, finish_reason, json};
use crate::simulated::text::End;

/// Text completions: a chunk of a stream looks like the whole answer.
pub(crate) struct Completion {
    id: String,
    origin: Origin,
    /// Whether the caller wants usage at the end of a stream.
    include_usage: bool,
    /// Characters that each choice has said, where likelihoods are told.
    said: Vec<usize>,
}

#[derive(Serialize)]
struct Document<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'static str,
    choices: &'a [Choice<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Counted>>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    text: &'a str,
    logprobs: Option<InCompletion<'a>>,
    finish_reason: Option<&'static str>,
}

impl Completion {
    /// The answer of this origin.
    pub(crate) fn new(origin: Origin, include_usage: bool) -> Self {
        Self { id: format!("cmpl-{:016x}", origin.serial), origin, include_usage, said: Vec::new() }
    }

    fn document<'a>(&'a self, choices: &'a [Choice<'a>], usage: Option<Option<Counted>>) -> Document<'a> {
        let Origin { created, model, fingerprint, .. } = &self.origin;
        let (id, object, created) = (&*self.id, "text_completion", *created);
        Document { id, object, created, model, system_fingerprint: fingerprint, choices, usage }
    }

    fn chunk(&self, out: &mut BytesMut, index: u32, text: &str, finish_reason: Option<&'static str>) {
        self.write(out, Choice { index, text, logprobs: None, finish_reason });
    }

    fn write(&self, out: &mut BytesMut, choice: Choice<'_>) {
        let choices = [choice];
        event(out, &self.document(&choices, self.include_usage.then_some(None)));
    }
}

impl Dialect for Completion {
    fn begin(&mut self, _: &mut BytesMut, _: u32, _: Usage) {}

    fn token(&mut self, out: &mut BytesMut, choice: u32, text: &str) {
        self.chunk(out, choice, text, None);
    }

    fn rated(&mut self, out: &mut BytesMut, index: u32, (text, likely): (&str, Likelihood<'_>)) {
        let at = index as usize;
        self.said.resize(self.said.len().max(at + 1), 0);
        let logprobs = InCompletion { tokens: vec![likely], offset: self.said[at] };
        self.said[at] = logprobs.end();
        self.write(out, Choice { index, text, logprobs: Some(logprobs), finish_reason: None });
    }

    fn finish(&mut self, out: &mut BytesMut, choice: u32, end: End) {
        self.chunk(out, choice, "", Some(finish_reason(end)));
    }

    fn end(&mut self, out: &mut BytesMut, usage: Usage, _: u64) {
        if self.include_usage {
            event(out, &self.document(&[], Some(Some(usage.into()))));
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn plain(&self, out: &mut BytesMut, choices: &[Written], usage: Usage, _: u64) {
        let choices: Vec<Choice<'_>> = (0..)
            .zip(choices)
            .map(|(index, Written { text, likely, end })| {
                let told = || InCompletion { tokens: likely.tokens().collect(), offset: 0 };
                let logprobs = (!likely.is_empty()).then(told);
                Choice { index, text, logprobs, finish_reason: Some(finish_reason(*end)) }
            })
            .collect();
        json(out, &self.document(&choices, Some(Some(usage.into()))));
    }
}
