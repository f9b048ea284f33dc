//! An answer that is written token by token: which texts, how long, in which dialect.

use bytes::BytesMut;
use plimsoll_types::{Finish, Kind, Peeked, Usage};

use super::ask::{self, Fields, Wrong};
use super::conversation;
use super::dialect::{Chat, Completion, Dialect, Likelihoods, Message, Origin, Response, Written};
use super::gpu::Work;
use super::random::mix;
use super::text::{Bounds, End, Writer};
use super::tokens::Prompt;

/// Sequences that one request may ask for.
const MOST: usize = 1_024;

/// An answer being written.
pub(super) struct Generation {
    dialect: Box<dyn Dialect>,
    choices: Vec<Choice>,
    stream: bool,
    /// Whether the beginning has been written.
    begun: bool,
    usage: Usage,
}

struct Choice {
    writer: Writer,
    /// What was written, for an answer that is not a stream.
    text: String,
    end: Option<End>,
}

/// What is read from a request, whatever its dialect.
struct Asked {
    prompts: Vec<Prompt>,
    n: u32,
    bounds: Bounds,
    salt: u64,
    dialect: Box<dyn Dialect>,
}

impl Generation {
    /// The answer to a request of `kind`, and what a GPU must do for it.
    pub(super) fn read(
        kind: Kind,
        fields: &Fields,
        stream: bool,
        origin: Origin,
    ) -> Result<(Self, Work), Wrong> {
        let param = match kind {
            Kind::Completion => "prompt",
            Kind::Response => "input",
            _ => "messages",
        };
        let Asked { prompts, n, bounds, salt, dialect } = asked(kind, fields, origin)?;
        if prompts.len() * n as usize > MOST {
            return Err(Wrong::field("n", "times the number of prompts must be at most 1024"));
        }
        let mut choices = Vec::with_capacity(prompts.len() * n as usize);
        for prompt in &prompts {
            let bounds = Bounds { limit: bounds.limit.min(ask::room(prompt, param)?), ..bounds.clone() };
            for index in 0..u64::from(n) {
                let writer = Writer::new(mix(mix(prompt.hash, salt), index), &bounds);
                choices.push(Choice { writer, text: String::new(), end: None });
            }
        }
        let usage = Usage { prompt: prompts.iter().map(|prompt| prompt.tokens).sum(), ..Usage::default() };
        let outputs = choices.iter().map(|choice| choice.writer.left()).collect();
        Ok((Self { dialect, choices, stream, begun: false, usage }, Work { prompts, outputs }))
    }

    /// Whether it is written as a stream of events.
    pub(super) fn is_stream(&self) -> bool {
        self.stream
    }

    /// Writes one token of each of the choices `written`, and at the very end what comes then. Of the prompt `cached`
    /// tokens did not have to be read; `now` is in seconds since 1970.
    pub(super) fn step(&mut self, out: &mut BytesMut, written: &[u32], cached: u32, now: u64) -> Peeked {
        let mut peeked = Peeked::default();
        self.usage.cached = cached;
        if self.stream && !std::mem::replace(&mut self.begun, true) {
            self.dialect.begin(out, self.choices.len() as u32, self.usage);
        }
        for &index in written {
            self.write(out, index, &mut peeked);
        }
        if self.is_over() {
            peeked.usage = Some(self.usage);
            peeked.done = self.stream;
            self.finish(out, now);
        }
        peeked
    }

    fn write(&mut self, out: &mut BytesMut, index: u32, peeked: &mut Peeked) {
        let choice = &mut self.choices[index as usize];
        if let Some(token) = choice.writer.next() {
            self.usage.completion += 1;
            if self.stream {
                self.dialect.token(out, index, token);
                peeked.token_events += 1;
            } else {
                choice.text.push_str(token);
            }
        }
        choice.end = choice.writer.end();
        if let Some(end) = choice.end {
            peeked.finish = Some(if end == End::Length { Finish::Length } else { Finish::Natural });
            if self.stream {
                self.dialect.finish(out, index, end);
            }
        }
    }

    /// Whether all of it has been written.
    pub(super) fn is_over(&self) -> bool {
        self.choices.iter().all(|choice| choice.end.is_some())
    }

    fn finish(&mut self, out: &mut BytesMut, now: u64) {
        if self.stream {
            self.dialect.end(out, self.usage, now);
            return;
        }
        let written = |choice: &mut Choice| Written {
            text: std::mem::take(&mut choice.text),
            likely: Likelihoods::default(),
            end: choice.end.unwrap_or(End::Natural),
        };
        let choices: Vec<Written> = self.choices.iter_mut().map(written).collect();
        self.dialect.plain(out, &choices, self.usage, now);
    }
}

fn asked(kind: Kind, fields: &Fields, origin: Origin) -> Result<Asked, Wrong> {
    let usage = origin.shows_usage || fields.include_usage();
    let n = || fields.whole("n", 1..=128).map(|n| n.map_or(1, |n| n as u32));
    let salt = fields.salt(origin.serial)?;
    let one = |text: &str| vec![Prompt::of_text(text)];
    Ok(match kind {
        Kind::Completion => {
            let prompts = ask::inputs(fields, "prompt")?.iter().map(ask::Input::prompt).collect();
            // OpenAI's default.
            let bounds = fields.bounds(&["max_tokens"], 16, "stop")?;
            let dialect = Box::new(Completion::new(origin, usage));
            Asked { prompts, n: n()?, bounds, salt, dialect }
        }
        Kind::Response => {
            if fields.get("previous_response_id").is_some() {
                return Err(Wrong::field(
                    "previous_response_id",
                    "is of no use: simulated models keep no responses",
                ));
            }
            let prompts = one(&conversation::response(fields)?);
            let bounds = fields.bounds(&["max_output_tokens"], u32::MAX, "stop")?;
            let limit = fields.get("max_output_tokens").and_then(serde_json::Value::as_u64);
            Asked { prompts, n: 1, bounds, salt, dialect: Box::new(Response::new(origin, limit)) }
        }
        Kind::Message => {
            let prompts = one(&conversation::message(fields)?);
            if fields.get("max_tokens").is_none() {
                return Err(Wrong::field("max_tokens", "is missing"));
            }
            let bounds = fields.bounds(&["max_tokens"], u32::MAX, "stop_sequences")?;
            let dialect = Box::new(Message::new(origin, bounds.stops.clone()));
            Asked { prompts, n: 1, bounds, salt, dialect }
        }
        _ => {
            let prompts = one(&conversation::chat(fields)?);
            let bounds = fields.bounds(&["max_completion_tokens", "max_tokens"], u32::MAX, "stop")?;
            let dialect = Box::new(Chat::new(origin, usage));
            Asked { prompts, n: n()?, bounds, salt, dialect }
        }
    })
}
