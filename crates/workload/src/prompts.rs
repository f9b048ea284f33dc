//! Makes the text of prompts, and the bodies of requests that carry them to a live gateway.
//!
//! A token is one of 256 words of three letters with the space before it: one token for the embedded fleet, which takes
//! up to four bytes for one, and for the vocabularies of real models, which all know words that common. Four bytes a
//! token is also what estimates by length expect.
//!
//! A block's text is decided by its id alone, so that prompts share text exactly where they share ids. What follows the
//! last block is decided by the number of the request, and is shared by nobody.

mod words;

use std::io::Write;

use bytes::Bytes;

use crate::random::Draw;
use crate::trace::{Arrival, Trace};
use words::WORDS;

/// Which API a request speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `/v1/chat/completions`: the prompt is one message of a user.
    Chat,
    /// `/v1/completions`.
    Completion,
    /// `/v1/embeddings`, which knows neither streams nor lengths of answers.
    Embedding,
}

/// How a request asks for the length of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// `max_tokens` alone, which every server knows; answers may end earlier.
    AtMost,
    /// Also `min_tokens` and `ignore_eos`, which vLLM, SGLang and the embedded fleet know.
    Exactly,
}

/// How the requests of a trace are written.
#[derive(Debug, Clone, PartialEq)]
pub struct Body {
    /// Which API they speak.
    pub form: Form,
    /// Whether tokens are to come one by one, with the usage at the end.
    pub stream: bool,
    /// How they ask for the length of the answer.
    pub length: Length,
    /// The model, in the place of those that the trace names.
    pub model: Option<String>,
    /// Tokens that the model's template puts around a chat, by default that of the embedded fleet; prompts have so many
    /// words less.
    pub template_tokens: u32,
    /// Another salt makes other texts of the same ids, which no cache knows from the run before.
    pub salt: u64,
}

impl Default for Body {
    fn default() -> Self {
        Self {
            form: Form::Chat,
            stream: true,
            length: Length::Exactly,
            model: None,
            template_tokens: 7,
            salt: 0,
        }
    }
}

impl Body {
    /// The path that these requests are for.
    #[must_use]
    pub fn path(&self) -> &'static str {
        match self.form {
            Form::Chat => "/v1/chat/completions",
            Form::Completion => "/v1/completions",
            Form::Embedding => "/v1/embeddings",
        }
    }

    /// The JSON of a request: `arrival` is number `request` of `trace`.
    #[must_use]
    pub fn write(&self, trace: &Trace, arrival: &Arrival, request: usize) -> Bytes {
        let model = self.model.as_deref().or_else(|| Some(trace.models.get(usize::from(arrival.model))?));
        let (head, tail, around) = match self.form {
            Form::Chat => (r#","messages":[{"role":"user","content":"#, "}]", self.template_tokens),
            Form::Completion => (r#","prompt":"#, "", 0),
            Form::Embedding => (r#","input":"#, "", 0),
        };
        let tokens = arrival.prompt_tokens.saturating_sub(around).max(1);
        let mut json = Vec::with_capacity(4 * tokens as usize + 256);
        json.extend_from_slice(b"{\"model\":");
        // A text becomes JSON in any case.
        json.extend(serde_json::to_vec(model.unwrap_or_default()).unwrap_or_default());
        json.extend_from_slice(head.as_bytes());
        let start = json.len();
        self.text(trace, arrival, request, tokens, &mut json);
        // The space before the first word gives its place to the quote, and words need no escapes.
        json[start] = b'"';
        json.push(b'"');
        json.extend_from_slice(tail.as_bytes());
        if self.form == Form::Embedding {
            json.push(b'}');
        } else {
            self.limits(arrival.output_tokens, &mut json);
        }
        json.into()
    }

    fn limits(&self, tokens: u32, json: &mut Vec<u8>) {
        let exactly = match self.length {
            Length::AtMost => String::new(),
            Length::Exactly => format!(r#","min_tokens":{tokens},"ignore_eos":true"#),
        };
        let stream =
            if self.stream { r#","stream":true,"stream_options":{"include_usage":true}"# } else { "" };
        write!(json, r#","max_tokens":{tokens}{exactly}{stream}}}"#)
            .expect("a vector takes what is written to it");
    }

    /// Appends the prompt, `tokens` words each with the space before it.
    fn text(&self, trace: &Trace, arrival: &Arrival, request: usize, tokens: u32, out: &mut Vec<u8>) {
        let mut left = tokens;
        if trace.block_tokens > 0 {
            for id in trace.blocks_of(arrival) {
                let words = trace.block_tokens.min(left);
                say(&mut Draw::new(*id, self.salt), words, out);
                left -= words;
            }
        }
        // Requests count from one here: a block is not to speak like the rest of the first request.
        say(&mut Draw::new(!self.salt, request as u64 + 1), left, out);
    }
}

/// Appends words as they are drawn, eight at a draw.
fn say(draw: &mut Draw, words: u32, out: &mut Vec<u8>) {
    let mut left = words as usize;
    while left > 0 {
        let count = left.min(8);
        for index in &draw.next().to_le_bytes()[..count] {
            let at = 4 * usize::from(*index);
            out.extend_from_slice(&WORDS[at..at + 4]);
        }
        left -= count;
    }
}

#[cfg(test)]
mod tests;
