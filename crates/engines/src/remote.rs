//! An executor in another process, by `engine.proto` over a Unix socket or TCP.
//!
//! It has its thread for itself, and with it a runtime that runs only while an answer is waited for. One call lasts as
//! long as both sides live; when it is lost, so is all that the executor was working on.

mod link;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use plimsoll_batching::step::{Admission, Limits};
use plimsoll_proto::plimsoll::v1::executor_prompt::Prompt as Said;
use plimsoll_proto::plimsoll::v1::steps_request::Ask;
use plimsoll_proto::plimsoll::v1::steps_response::Answer;
use plimsoll_proto::plimsoll::v1::{
    ExecutorHello, ExecutorPiece, ExecutorPrompt, ExecutorSampling, ExecutorStep, ExecutorTokenIds,
    ExecutorWelcome, StepsRequest,
};

use crate::executor::{Executor, Failed, Model, Number, Output, Piece, Prompt, Unread};
use crate::openai::Invalid;
use link::Link;

/// The version of `engine.proto` that is spoken here.
pub const VERSION: u32 = 1;

const CONFUSED: Failed = Failed("the executor answered something else than was asked");
const OTHER_VERSION: Failed = Failed("the executor speaks another version of engine.proto");

/// Where an executor listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// Host and port.
    Tcp(String),
}

impl Address {
    /// Whether `url` is meant to be one of these.
    #[must_use]
    pub fn is_meant(url: &str) -> bool {
        url.starts_with("engine+")
    }

    /// Reads `engine+unix:///run/x.sock` or `engine+tcp://127.0.0.1:7000`.
    ///
    /// # Errors
    ///
    /// Where it is neither.
    pub fn parse(url: &str) -> Result<Self, Invalid> {
        let wrong = |why: &str| Err(Invalid { key: "url", why: why.to_owned() });
        if let Some(path) = url.strip_prefix("engine+unix://") {
            if !path.starts_with('/') || path.ends_with('/') {
                return wrong("must name a socket by its whole path, as in engine+unix:///run/x.sock");
            }
            return Ok(Self::Unix(path.into()));
        }
        let Some(authority) = url.strip_prefix("engine+tcp://") else {
            return wrong("must begin with engine+unix:// or engine+tcp://");
        };
        match authority.parse::<http::uri::Authority>() {
            Ok(parsed) if parsed.port_u16().is_some() && !authority.contains('@') => {
                Ok(Self::Tcp(authority.to_owned()))
            }
            _ => wrong("must be a host and a port, as in engine+tcp://127.0.0.1:7000"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp(authority) => f.write_str(authority),
        }
    }
}

/// An executor in another process.
pub struct Remote {
    address: Address,
    connect_timeout: Duration,
    link: Option<Link>,
    /// What is to be forgotten, until the next thing is asked.
    forget: Vec<Number>,
}

impl Remote {
    /// The executor at `address`, to which a connection may take so long.
    #[must_use]
    pub fn new(address: Address, connect_timeout: Duration) -> Self {
        Self { address, connect_timeout, link: None, forget: Vec::new() }
    }

    fn ask(&mut self, ask: Ask) -> Result<Answer, Failed> {
        let link = self.link.as_mut().ok_or(Failed("the executor is not connected"))?;
        let request = StepsRequest { forget: std::mem::take(&mut self.forget), ask: Some(ask) };
        let answer = link.exchange(&request).and_then(|response| response.answer.ok_or(CONFUSED));
        answer.inspect_err(|failed| {
            tracing::warn!(executor = %self.address, why = failed.0, "an executor was lost");
            self.link = None;
        })
    }
}

impl Executor for Remote {
    fn load(&mut self) -> Result<Model, Failed> {
        self.link = None;
        self.forget.clear();
        let link = Link::open(&self.address, self.connect_timeout);
        self.link = Some(link.inspect_err(|failed| {
            tracing::warn!(executor = %self.address, why = failed.0, "an executor cannot be reached");
        })?);
        match self.ask(Ask::Hello(ExecutorHello { version: VERSION }))? {
            Answer::Welcome(welcome) => model(welcome).inspect_err(|failed| {
                tracing::warn!(executor = %self.address, why = failed.0, ours = VERSION, "an executor is of no use");
                self.link = None;
            }),
            _ => Err(CONFUSED),
        }
    }

    fn read(&mut self, prompt: &Prompt) -> Result<Vec<u32>, Unread> {
        let said = match prompt {
            Prompt::Chat(body) => Said::ChatJson(body.to_vec()),
            Prompt::Text(text) => Said::Text(text.clone()),
            Prompt::Tokens(ids) => Said::Tokens(ExecutorTokenIds { ids: ids.clone() }),
        };
        match self.ask(Ask::Prompt(ExecutorPrompt { prompt: Some(said) }))? {
            Answer::Tokens(tokens) if tokens.refusal.is_empty() => Ok(tokens.ids),
            Answer::Tokens(tokens) => Err(Unread::Refused(tokens.refusal)),
            _ => Err(CONFUSED.into()),
        }
    }

    fn step(&mut self, pieces: &[Piece<'_>], output: &mut Output) -> Result<(), Failed> {
        let pieces = pieces.iter().map(message).collect();
        match self.ask(Ask::Step(ExecutorStep { pieces }))? {
            Answer::Stepped(stepped) => {
                stepped.tokens.iter().for_each(|token| output.write(token.id, &token.text, token.end));
                Ok(())
            }
            _ => Err(CONFUSED),
        }
    }

    fn forget(&mut self, number: Number) {
        self.forget.push(number);
    }
}

fn message(piece: &Piece<'_>) -> ExecutorPiece {
    let sampling = piece.sampling;
    ExecutorPiece {
        sequence: piece.number,
        position: piece.position,
        tokens: piece.tokens.to_vec(),
        blocks: piece.blocks.to_vec(),
        writes: piece.writes,
        sampling: piece.writes.then_some(ExecutorSampling {
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            top_k: sampling.top_k,
            seed: sampling.seed,
        }),
    }
}

/// What an executor says of itself, if one can work with it.
fn model(welcome: ExecutorWelcome) -> Result<Model, Failed> {
    // More than any machine has, and less than would hurt this one.
    const MOST_BLOCKS: u32 = 1 << 24;
    const MOST: u32 = 1 << 20;
    let ExecutorWelcome { version, model, context_tokens, step_tokens, chunk_tokens, .. } = welcome;
    let ExecutorWelcome { sequences, kv_blocks, block_tokens, paged, .. } = welcome;
    if version != VERSION {
        return Err(OTHER_VERSION);
    }
    if model.is_empty() {
        return Err(Failed("the executor does not name its model"));
    }
    let sound = (1..=MOST_BLOCKS).contains(&kv_blocks)
        && [step_tokens, sequences, block_tokens].iter().all(|limit| (1..=MOST).contains(limit));
    if !sound || context_tokens < 2 {
        return Err(Failed("the executor names limits with which nothing can be computed"));
    }
    let chunk_tokens = if chunk_tokens == 0 { u32::MAX } else { chunk_tokens };
    let admission = Admission::FuturePeak;
    let limits = Limits { step_tokens, chunk_tokens, sequences, kv_blocks, block_tokens, admission };
    Ok(Model { name: model, context: context_tokens, limits, paged, writes: true, vector: 0 })
}
