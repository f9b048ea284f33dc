//! `/v1/chat/completions`

use bytes::BytesMut;
use plimsoll_types::Usage;
use serde::Serialize;

use super::likely::InChat;
use super::{Counted, Dialect, Likelihood, Origin, Written, event, finish_reason, json};
use crate::simulated::text::End;

/// Chat completions.
pub(crate) struct Chat {
    id: String,
    origin: Origin,
    /// Whether the caller wants usage at the end of a stream.
    include_usage: bool,
}

#[derive(Serialize)]
struct Document<'a, C> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'static str,
    choices: &'a [C],
    /// A stream whose caller asked for usage has `null` in all chunks but its last.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Counted>>,
}

#[derive(Serialize)]
struct Delta<'a> {
    index: u32,
    delta: Said<'a>,
    logprobs: Option<InChat<'a>>,
    finish_reason: Option<&'static str>,
}

#[derive(Default, Serialize)]
struct Said<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    message: Answer<'a>,
    logprobs: Option<InChat<'a>>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct Answer<'a> {
    role: &'static str,
    content: &'a str,
    refusal: (),
}

impl Chat {
    /// The answer of this origin.
    pub(crate) fn new(origin: Origin, include_usage: bool) -> Self {
        Self { id: format!("chatcmpl-{:016x}", origin.serial), origin, include_usage }
    }

    fn document<'a, C>(
        &'a self,
        object: &'static str,
        choices: &'a [C],
        usage: Option<Option<Counted>>,
    ) -> Document<'a, C> {
        let Origin { created, model, fingerprint, .. } = &self.origin;
        let (id, created, system_fingerprint) = (&*self.id, *created, *fingerprint);
        Document { id, object, created, model, system_fingerprint, choices, usage }
    }

    fn chunk(&self, out: &mut BytesMut, index: u32, delta: Said<'_>, finish_reason: Option<&'static str>) {
        self.write(out, Delta { index, delta, logprobs: None, finish_reason });
    }

    fn write(&self, out: &mut BytesMut, delta: Delta<'_>) {
        let choices = [delta];
        event(out, &self.document("chat.completion.chunk", &choices, self.include_usage.then_some(None)));
    }
}

impl Dialect for Chat {
    fn begin(&mut self, out: &mut BytesMut, choices: u32, _: Usage) {
        for index in 0..choices {
            self.chunk(out, index, Said { role: Some("assistant"), content: Some("") }, None);
        }
    }

    fn token(&mut self, out: &mut BytesMut, choice: u32, text: &str) {
        self.chunk(out, choice, Said { role: None, content: Some(text) }, None);
    }

    fn rated(&mut self, out: &mut BytesMut, index: u32, (text, likely): (&str, Likelihood<'_>)) {
        let (delta, logprobs) = (Said { role: None, content: Some(text) }, Some(InChat(vec![likely])));
        self.write(out, Delta { index, delta, logprobs, finish_reason: None });
    }

    fn finish(&mut self, out: &mut BytesMut, choice: u32, end: End) {
        self.chunk(out, choice, Said::default(), Some(finish_reason(end)));
    }

    fn end(&mut self, out: &mut BytesMut, usage: Usage, _: u64) {
        if self.include_usage {
            let none: [Delta<'_>; 0] = [];
            event(out, &self.document("chat.completion.chunk", &none, Some(Some(usage.into()))));
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn plain(&self, out: &mut BytesMut, choices: &[Written], usage: Usage, _: u64) {
        let choices: Vec<Choice<'_>> = (0..)
            .zip(choices)
            .map(|(index, Written { text, likely, end })| {
                let message = Answer { role: "assistant", content: text, refusal: () };
                let logprobs = (!likely.is_empty()).then(|| InChat(likely.tokens().collect()));
                Choice { index, message, logprobs, finish_reason: finish_reason(*end) }
            })
            .collect();
        json(out, &self.document("chat.completion", &choices, Some(Some(usage.into()))));
    }
}
