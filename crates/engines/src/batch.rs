//! Several requests as one, and its answer as several.
//!
//! ```text
//!   body ── Joinable: frame, texts ─┐                                       ┌─▶ answer of the first
//!   body ── Joinable: frame, texts ─┴─ join ─▶ one body ─▶ answer ─ split ──┴─▶ answer of the second
//! ```
//!
//! The frame of a body is all of it but the texts: only bodies of the same frame are joined, so that whatever else a
//! caller asks for, he gets. Vectors are cut out of the answer as the bytes that they are, in numbers or in base64.

mod join;
mod split;
#[cfg(test)]
mod tests;

pub use join::{Form, Joinable, join};
pub use split::{Share, split};
