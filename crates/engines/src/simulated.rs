//! GPUs that do not exist, run in this process: a fleet to try the gateway with, and to test it against.
//!
//! [`embedded`] gives backends in three clouds. Each has a [`BackendSpec`](plimsoll_types::BackendSpec) for routing, and
//! [`Simulated::engine`] makes the [`Engine`](crate::Engine) by which one core talks to it; all cores share its GPU.
//! Time passes as it would: a request travels half the round trip to the backend's region, waits in line, is read in
//! steps that others decode in as well, and every token travels back. What a step computes is decided by the shipped
//! step scheduler, within the memory that such a GPU has; how long it takes, by constants that were measured.
//!
//! ```text
//!   start ── ask: fields, prompt ──▶ generation ──▶ dialect: events of chat, responses, messages
//!                                        │
//!   poll ── answer: one timer ── seat ── gpu: a lock, mailboxes ── steps: the scheduler, and when a step ends
//! ```
//!
//! A simulation takes its GPUs and its fleet from here too: [`Steps`], [`gpu_model`], [`members`].
//!
//! What is written is filler that is decided by the prompt and, unless the temperature is 0, the seed. Every answer
//! says that it is simulated, in its first sentence and its `system_fingerprint`; `usage` counts what was really read
//! and written. Not simulated: tool calls, log probabilities, images, `echo`, and keeping responses.
//!
//! Start reading at [`Simulated`]; how time passes on a GPU that nobody drives is told in `gpu`.

mod answer;
pub(crate) mod ask;
mod backend;
pub(crate) mod conversation;
pub(crate) mod dialect;
mod fleet;
mod generation;
mod gpu;
pub(crate) mod known;
mod random;
mod seat;
mod steps;
mod table;
pub(crate) mod text;
mod tokens;
mod vector;
mod words;

#[cfg(test)]
mod tests;

pub use backend::Simulated;
pub use fleet::{CHAT_MODEL, EMBEDDING_MODEL, Member, embedded, members};
pub use steps::{Steps, Tally};
pub use table::{GpuModel, gpu_model, gpu_models, known_gpu_models};
pub use tokens::count as count_tokens;
