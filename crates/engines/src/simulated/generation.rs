//! An answer that is written token by token: which texts, how long, in which dialect.

use bytes::BytesMut;
use plimsoll_types::{Finish, Kind, Peeked, Usage};

use super::ask::{self, Fields, Wrong};
use super::conversation;
use super::dialect::{Chat, Completion, Dialect, Message, Origin, Response, Written};
use super::gpu::{Decoding, Work};
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
    usage: Usage,
}

struct Choice {
    writer: Writer,
    /// Tokens of the prompt and of what was written.
    context: u64,
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
                choices.push(Choice {
                    writer,
                    context: u64::from(prompt.tokens),
                    text: String::new(),
                    end: None,
                });
            }
        }
        let usage = Usage { prompt: prompts.iter().map(|prompt| prompt.tokens).sum(), ..Usage::default() };
        let work = Work { prompts, sequences: choices.len() as u32 };
        Ok((Self { dialect, choices, stream, usage }, work))
    }

    /// Whether it is written as a stream of events.
    pub(super) fn is_stream(&self) -> bool {
        self.stream
    }

    /// The prompt has been read, all but `cached` tokens of it.
    pub(super) fn begin(&mut self, out: &mut BytesMut, cached: u32) {
        self.usage.cached = cached;
        if self.stream {
            self.dialect.begin(out, self.choices.len() as u32, self.usage);
        }
    }

    /// Writes one token of every choice that goes on, and at the very end what comes then; `now` is in seconds since
    /// 1970.
    pub(super) fn step(&mut self, out: &mut BytesMut, now: u64) -> Peeked {
        let mut peeked = Peeked::default();
        for (index, choice) in (0..).zip(&mut self.choices).filter(|(_, choice)| choice.end.is_none()) {
            if let Some(token) = choice.writer.next() {
                self.usage.completion += 1;
                choice.context += 1;
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
        if self.is_over() {
            peeked.usage = Some(self.usage);
            peeked.done = self.stream;
            self.finish(out, now);
        }
        peeked
    }

    /// Whether all of it has been written.
    pub(super) fn is_over(&self) -> bool {
        self.choices.iter().all(|choice| choice.end.is_some())
    }

    /// What goes on decoding.
    pub(super) fn share(&self) -> Decoding {
        let live = self.choices.iter().filter(|choice| choice.end.is_none());
        live.fold(Decoding::default(), |share, choice| Decoding {
            sequences: share.sequences + 1,
            context: share.context + choice.context,
        })
    }

    fn finish(&mut self, out: &mut BytesMut, now: u64) {
        if self.stream {
            self.dialect.end(out, self.usage, now);
            return;
        }
        let written = |choice: &mut Choice| Written {
            text: std::mem::take(&mut choice.text),
            end: choice.end.unwrap_or(End::Natural),
        };
        let choices: Vec<Written> = self.choices.iter_mut().map(written).collect();
        self.dialect.plain(out, &choices, self.usage, now);
    }
}

fn asked(kind: Kind, fields: &Fields, origin: Origin) -> Result<Asked, Wrong> {
    let n = || Ok(fields.whole("n", 1..=128)?.map_or(1, |n| n as u32));
    let salt = fields.salt(origin.serial)?;
    let one = |text: &str| vec![Prompt::of_text(text)];
    Ok(match kind {
        Kind::Completion => {
            let prompts = ask::inputs(fields, "prompt")?.iter().map(ask::Input::prompt).collect();
            // OpenAI's default.
            let bounds = fields.bounds(&["max_tokens"], 16, "stop")?;
            let dialect = Box::new(Completion::new(origin, fields.include_usage()));
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
            let dialect = Box::new(Chat::new(origin, fields.include_usage()));
            Asked { prompts, n: n()?, bounds, salt, dialect }
        }
    })
}
