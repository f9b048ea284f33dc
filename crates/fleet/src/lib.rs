//! Finds and watches the fleet in the background: where its backends are, whether its backends are alive, how far away and how loaded they are.
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
//! [`source`] holds where backends come from beside the configuration.
//!
//! Start reading at [`watch`].

mod config;
pub mod load;
mod metrics;
mod poll;
pub mod probe;
pub mod source;
mod watch;

pub use config::{Config, Names};
pub use watch::{List, Metrics, Watched, watch};
