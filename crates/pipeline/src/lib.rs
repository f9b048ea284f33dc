//! The life of a request, with no wire format in sight.
//!
//! ```text
//!   serve ── admit ──▶ begin ── pick ─▶ attempt ─▶ first token ──▶ TokenStream ── polled by the client's connection
//!              │          ▲                │                            │
//!              │          └── another ◀────┘ failed before that         │ meters TTFT, ITL, tokens, outcome
//!              └──────── all that was taken is given back on drop ◀─────┘
//! ```
//!
//! Until the first token a backend that fails costs the client nothing: another is tried, within a budget. After it,
//! a stream that breaks ends with an error, never in silence. One [`Pipeline`] serves one core; what cores share is
//! in [`Shared`]. Nothing here runs a task or a channel for a stream: the only task is the sweeper of a core, which
//! wakes whoever has waited too long.
//!
//! Start reading at [`Pipeline::serve`].

mod attempt;
mod begin;
mod config;
mod continuation;
mod gathered;
mod homes;
mod lane;
mod meter;
mod metrics;
mod parts;
mod pipeline;
mod queue_wait;
mod retry;
mod room;
mod shared;
mod sweeper;
mod token_stream;
mod upkeep;

pub use config::Config;
pub use homes::{Home, Homes};
pub use pipeline::{MakeEngine, Pipeline, Response};
pub use shared::{Shared, Snapshot};
pub use token_stream::{Flow, TokenStream};
pub use upkeep::keep_up;
