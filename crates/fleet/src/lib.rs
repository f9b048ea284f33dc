//! Watches the fleet in the background: whether its backends are alive, how far away and how loaded they are.
//!
//! ```text
//!   list of backends ──▶ watch ──┬─ probe ── connect, GET /health ──▶ Health ──▶ found dead | alive ──┐
//!                                │              └ TCP handshake ────▶ RoundTrip ──────────────────────┤
//!                                └─ poll ── GET /metrics ──▶ Table ──▶ Report ─────────────────────────┴─▶ routing::Backend
//! ```
//!
//! No request waits for anything here, and nothing here knows requests. What is found is told to the backend's cells in
//! `routing`, which ages it and does without where it is missing. Deciding is plain code ([`probe::Health`],
//! [`load::Table`]); the rest is timers and sockets.
//!
//! Start reading at [`watch`].

mod config;
pub mod load;
mod metrics;
mod poll;
pub mod probe;
mod watch;

pub use config::{Config, Names};
pub use watch::{List, Metrics, Watched, watch};
