//! What a body was found to say, and what the house makes of it. Hot path: no allocation but for what is kept.

use std::ops::Range;

use bytes::Bytes;
use plimsoll_engines::json::Str;
use plimsoll_types::{Blocks, Kind, Priority, ServeError, Splice, Text};

use super::Peeked;

/// Bytes of text that make a token, roughly, in the languages and vocabularies of today.
const BYTES_PER_TOKEN: usize = 4;

/// How a body asks for usage in its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Options {
    /// An object without the key: where its first member would stand, and whether it has others.
    Object { at: usize, empty: bool },
    /// The key, with this value.
    Include { value: bool, at: Range<usize> },
    /// `null`.
    Null(Range<usize>),
}

/// What was found in a body.
#[derive(Default)]
pub(super) struct Found {
    /// Keys that were there.
    pub(super) seen: Vec<&'static str>,
    /// Where the model's name stands, and what it says if it has escapes.
    pub(super) model: Option<(Str, String)>,
    pub(super) stream: bool,
    /// The response or conversation that it goes on with.
    pub(super) home: Option<String>,
    pub(super) options: Option<Options>,
    pub(super) prompt_bytes: usize,
    pub(super) salt: Range<usize>,
    pub(super) max_tokens: Option<u32>,
    pub(super) priority: Range<usize>,
    /// Where the first member would stand.
    pub(super) first_member: usize,
}

impl Found {
    /// What it comes to, for a request of `kind`.
    pub(super) fn done(self, kind: Kind, body: &Bytes) -> Result<Peeked, ServeError> {
        let missing = || ServeError::Invalid {
            message: "`model` is missing: name the model that is to answer".into(),
            param: Some("model"),
            code: "missing_model",
        };
        let (str, decoded) = self.model.clone().ok_or_else(missing)?;
        let model = if str.escaped {
            Text::from(decoded)
        } else {
            Text::new(body.slice(str.raw.clone())).ok_or_else(missing)?
        };
        if model.is_empty() {
            return Err(missing());
        }
        let stream = self.stream && kind.streams();
        let ask_usage =
            if stream && matches!(kind, Kind::Chat | Kind::Completion) { self.ask_usage() } else { None };
        Ok(Peeked {
            model,
            model_at: str.raw.start - 1..str.raw.end + 1,
            stream,
            tools: self.seen.contains(&"tools"),
            home: self.home.filter(|_| kind == Kind::Response).map(Text::from),
            ask_usage,
            prompt_tokens: u32::try_from(self.prompt_bytes / BYTES_PER_TOKEN).unwrap_or(u32::MAX / 2),
            blocks: Blocks::default(),
            salt_at: if self.salt.is_empty() {
                self.first_member..self.first_member
            } else {
                self.salt.clone()
            },
            cache_salt: None,
            max_tokens: self.max_tokens,
            // What is no number is for the engine to refuse.
            priority: std::str::from_utf8(&body[self.priority])
                .ok()
                .and_then(|number| number.parse().ok())
                .map_or(Priority::Normal, Priority::of_number),
        })
    }

    /// How to ask for usage where the caller did not.
    fn ask_usage(&self) -> Option<Splice> {
        let (at, text) = match &self.options {
            None => (self.first_member..self.first_member, "\"stream_options\":{\"include_usage\":true},"),
            Some(Options::Null(at)) => (at.clone(), "{\"include_usage\":true}"),
            Some(Options::Object { at, empty: true }) => (*at..*at, "\"include_usage\":true"),
            Some(Options::Object { at, empty: false }) => (*at..*at, "\"include_usage\":true,"),
            Some(Options::Include { value: false, at }) => (at.clone(), "true"),
            Some(Options::Include { value: true, .. }) => return None,
        };
        Some(Splice { at, text: Text::from_static(text) })
    }
}
