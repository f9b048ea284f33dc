//! The shipped pipeline and router over simulated GPUs, on a clock that jumps from event to event.
//!
//! ```text
//!   callers ── trace ──▶ gateways: Pipeline, Router, Fleet, as shipped ──▶ stations: batching::step on simulated GPUs
//!      ▲                                                                       │
//!      └──────────────── tokens, one way later ◀── links ◀────────────────────┘
//! ```
//!
//! One run is one thread and is decided by its seed: the same seed gives the same report to the byte. Runs of several
//! policies and seeds are spread over threads and come back in their order. Gateways are told nothing of reality: not how
//! long an answer will be, not how fast a backend is; they estimate prompts and learn the rest, as in life.
//!
//! Start reading at [`simulate`]; a world is put together in `world`.

mod callers;
mod clock;
mod engine;
mod executor;
mod faults;
mod gaps;
mod link;
mod rank;
mod reports;
mod requests;
mod runs;
mod seat;
mod station;
mod world;

pub use runs::{Options, Outcome, simulate};
