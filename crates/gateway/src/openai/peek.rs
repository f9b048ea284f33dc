//! Reads from a body what the way through the house needs, without building the document.
//!
//! Every byte is checked on the way, so that no backend gets JSON which another reader would see differently; what is
//! not known is passed on as it is. Hot path: no allocation but for what is kept.

mod found;
mod look;
mod reader;
#[cfg(test)]
mod tests;

use std::ops::Range;

use bytes::Bytes;
use plimsoll_engines::json::JsonError;
use plimsoll_types::{Blocks, Kind, Priority, ServeError, Splice, Text};

use super::prompt::Prompt;
use crate::config::Requests;

/// What was read from a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peeked {
    pub(crate) model: Text,
    pub(crate) model_at: Range<usize>,
    pub(crate) stream: bool,
    pub(crate) tools: bool,
    /// The response or conversation that it goes on with.
    pub(crate) home: Option<Text>,
    pub(crate) ask_usage: Option<Splice>,
    pub(crate) prompt_tokens: u32,
    pub(crate) blocks: Blocks,
    /// Where `cache_salt` stands, or could where there is none.
    pub(crate) salt_at: Range<usize>,
    /// How to put in that of the tenant.
    pub(crate) cache_salt: Option<Splice>,
    pub(crate) max_tokens: Option<u32>,
    pub(crate) priority: Priority,
}

/// Reads the body of a request of `kind`. Where somebody wants to know what the prompt begins with, `prompt` brings the
/// space to find out.
///
/// # Errors
///
/// [`ServeError::Invalid`] that says what to change.
pub(crate) fn peek(
    kind: Kind,
    body: &Bytes,
    limits: &Requests,
    prompt: Option<&mut Prompt>,
) -> Result<Peeked, ServeError> {
    // Most bodies are ASCII, which is found out several times as fast.
    if !body.is_ascii()
        && let Err(error) = std::str::from_utf8(body)
    {
        return Err(bad_json(JsonError { at: error.valid_up_to(), what: "the body is not UTF-8" }));
    }
    // Only what writes tokens has a use for a prompt that is cached.
    let mut prompt = prompt.filter(|_| kind.streams());
    if let Some(prompt) = &mut prompt {
        prompt.clear();
    }
    let found = reader::read(body, limits, prompt.as_deref_mut()).map_err(|problem| match problem {
        Problem::Json(error) => bad_json(error),
        Problem::Said(error) => error,
    })?;
    let salt = found.salt.clone();
    let mut peeked = found.done(kind, body)?;
    if let Some(prompt) = prompt {
        peeked.blocks = prompt.blocks(body, &[peeked.model.as_bytes(), &body[salt]]);
    }
    Ok(peeked)
}

fn bad_json(error: JsonError) -> ServeError {
    ServeError::Invalid {
        message: format!("the body is not valid JSON: {error}"),
        param: None,
        code: "invalid_json",
    }
}

fn invalid(param: &'static str, why: &str) -> Problem {
    let message = format!("`{param}` {why}");
    Problem::Said(ServeError::Invalid { message, param: Some(param), code: "invalid_value" })
}

/// Why a body is not read to its end.
enum Problem {
    Json(JsonError),
    Said(ServeError),
}

impl From<JsonError> for Problem {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}
