//! The wire format of callers: OpenAI's API, and Anthropic's messages beside it.

pub(crate) mod error;
pub(crate) mod models;
pub(crate) mod peek;
pub(crate) mod prompt;
pub(crate) mod sse;
pub(crate) mod stored;
