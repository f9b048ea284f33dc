use plimsoll_types::{Kind, Request};

use crate::executor::{Prompt, Sampling};
use crate::simulated::ask::{Fields, Input, Wrong, inputs};
use crate::simulated::conversation;
use crate::simulated::dialect::{Chat, Completion, Dialect, Origin};
use crate::simulated::text::Bounds;

/// Sequences that one request may ask for.
const MOST: usize = 1_024;

/// Tokens that one may want to see in the place of each.
const MOST_LIKELY: u64 = 20;

/// What a request wants of its prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// That they are gone on with.
    Answers,
    /// The vectors that stand for them, of so many numbers if it says so.
    Vectors(Option<u64>),
}

/// What a request asks of an executor.
pub(super) struct Ask {
    /// What it wants.
    pub(super) wanted: Wanted,
    /// What is to be read.
    pub(super) prompts: Vec<Prompt>,
    /// How many answers to each.
    pub(super) n: u32,
    /// What they must keep to.
    pub(super) bounds: Bounds,
    /// How tokens are chosen.
    pub(super) sampling: Sampling,
    /// The field that a prompt stands in.
    pub(super) param: &'static str,
}

impl Ask {
    /// Reads a request, and how its answer is to be written down.
    pub(super) fn read(request: &Request, origin: Origin) -> Result<(Self, Box<dyn Dialect>), Wrong> {
        let kind = request.envelope.kind;
        let fields = Fields::read(&request.body)?;
        let usage = origin.shows_usage || fields.include_usage();
        let n = fields.whole("n", 1..=128)?.map_or(1, |n| n as u32);
        let mut sampling = sampling(&fields, origin.serial)?;
        let (prompts, bounds, dialect, param): (Vec<Prompt>, Bounds, Box<dyn Dialect>, _) = match kind {
            Kind::Chat => {
                // Only whether it is a conversation: how it reads is the model's affair.
                conversation::chat(&fields)?;
                let bounds = fields.bounds(&["max_completion_tokens", "max_tokens"], u32::MAX, "stop")?;
                let prompts = vec![Prompt::Chat(request.body.clone())];
                sampling.likely = likely(&fields)?;
                (prompts, bounds, Box::new(Chat::new(origin, usage)), "messages")
            }
            Kind::Completion => {
                let prompts = inputs(&fields, "prompt")?.into_iter().map(Prompt::from).collect();
                // OpenAI's default.
                let bounds = fields.bounds(&["max_tokens"], 16, "stop")?;
                sampling.likely = fields.whole("logprobs", 0..=MOST_LIKELY)?.map(|count| count as u8);
                (prompts, bounds, Box::new(Completion::new(origin, usage)), "prompt")
            }
            kind => {
                let message = format!("the model `{}` does not serve {}", origin.model, kind.path());
                return Err(Wrong { message, param: Some("model"), code: Some("model_not_supported") });
            }
        };
        sampling.endless = bounds.endless;
        if prompts.len() * n as usize > MOST {
            return Err(Wrong::field("n", "times the number of prompts must be at most 1024"));
        }
        Ok((Self { n, bounds, sampling, param, ..Self::new(prompts, Wanted::Answers) }, dialect))
    }

    /// One of each, as it comes.
    pub(super) fn new(prompts: Vec<Prompt>, wanted: Wanted) -> Self {
        let sampling =
            Sampling { temperature: 1.0, top_p: 1.0, top_k: 0, seed: 0, likely: None, endless: false };
        Self { wanted, prompts, n: 1, bounds: Bounds::default(), sampling, param: "prompt" }
    }

    /// How many answers it asks for in all.
    pub(super) fn choices(&self) -> usize {
        self.prompts.len() * self.n as usize
    }
}

impl From<Input<'_>> for Prompt {
    fn from(input: Input<'_>) -> Self {
        match input {
            Input::Text(text) => Self::Text(text.to_owned()),
            Input::Numbers(numbers) => Self::Tokens(numbers),
        }
    }
}

fn sampling(fields: &Fields, fresh: u64) -> Result<Sampling, Wrong> {
    let share = |key: &'static str, most: f64| match fields.get(key) {
        None => Ok(1.0),
        Some(value) => {
            let number = value.as_f64().filter(|number| (0.0..=most).contains(number));
            let wrong = || Wrong::field(key, &format!("must be a number from 0 to {most}"));
            number.map(|number| number as f32).ok_or_else(wrong)
        }
    };
    let seed = match fields.get("seed") {
        None => fresh,
        Some(value) => {
            value.as_i64().ok_or_else(|| Wrong::field("seed", "must be a whole number"))?.cast_unsigned()
        }
    };
    // vLLM and others write "all of them" as -1.
    let top_k = match fields.get("top_k").and_then(serde_json::Value::as_i64) {
        Some(-1) => 0,
        _ => fields.whole("top_k", 0..=1_000_000)?.unwrap_or(0) as u32,
    };
    let (temperature, top_p) = (share("temperature", 2.0)?, share("top_p", 1.0)?);
    Ok(Sampling { temperature, top_p, top_k, seed, likely: None, endless: false })
}

/// How much a chat wants to know of how likely its tokens were.
fn likely(fields: &Fields) -> Result<Option<u8>, Wrong> {
    let count = fields.whole("top_logprobs", 0..=MOST_LIKELY)?;
    if fields.flag("logprobs")? {
        return Ok(Some(count.unwrap_or(0) as u8));
    }
    match count {
        Some(1..) => Err(Wrong::field("top_logprobs", "needs `logprobs` to be true")),
        _ => Ok(None),
    }
}
