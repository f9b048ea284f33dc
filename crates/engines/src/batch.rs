//! Several requests as one and its answer as several; one request as several and their answers as one.
//!
//! ```text
//!   body ── Joinable: frame, texts ─┐                                       ┌─▶ answer of the first
//!   body ── Joinable: frame, texts ─┴─ join ─▶ one body ─▶ answer ─ split ──┴─▶ answer of the second
//!
//!                                    ┌─▶ body ─▶ answer ─┐
//!   body ── Joinable: texts ─── cut ─┴─▶ body ─▶ answer ─┴─ merge ─▶ one answer
//! ```
//!
//! The frame of a body is all of it but the texts: only bodies of the same frame are joined, so that whatever else a
//! caller asks for, he gets. Results are cut out of the answer as the bytes that they are, vectors in numbers or in base64.

mod cut;
mod found;
mod join;
mod joinable;
mod lists;
mod merge;
mod split;
#[cfg(test)]
mod tests;

pub use cut::{cut, may_exceed};
pub use join::join;
pub use joinable::{Form, Frame, Joinable};
pub use merge::{Merged, is_answer, merge};
pub use split::{Share, split};
