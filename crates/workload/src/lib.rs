//! Replays the world: one trace, against a live gateway or through the shipped code in simulation, and one report for
//! both.
//!
//! ```text
//!   trace: files, synthetic arrivals ──▶ load: a live gateway, open loop ─────────▶ report ──▶ text, JSON, CSV, HTML
//!                                   └──▶ simulation: the shipped pipeline over ──▶    │
//!                                        simulated GPUs, on a clock that jumps        └──▶ compare
//! ```
//!
//! Start reading at [`trace::Trace`], what is replayed, and [`report::Record`], what came of one request. [`prompts`]
//! gives a request of a trace its text.

mod elementary;
pub mod load;
pub mod prompts;
mod random;
pub mod report;
pub mod scenario;
pub mod simulation;
pub mod trace;
