//! Finds and watches the fleet in the background: where its backends are, whether its backends are alive, how far away and how loaded they are.
//!
//! ```text
//!   list of backends ──▶ watch ──┬─ probe ── connect, GET /health ──▶ Health ──▶ found dead | alive ──┐
//!                                │              └ TCP handshake ────▶ RoundTrip ──────────────────────┤
//!                                ├─ listen ── KV events ───▶ Tracker ──▶ Change ──────▶ the emulated cache ────────────┤
//!                                ├─ hear ── header of an answer ─▶ Table ──▶ Report ────────────────────┤
//!                                └─ poll ── GET /metrics ──▶ Table ──▶ Report ─────────────────────────┴─▶ routing::Backend
//! ```
//!
//! Over gRPC the questions are `grpc.health.v1` and the engine's `GetLoads`.
//!
//! No request waits for anything here, and nothing here knows requests. What is found is told to the backend's cells in
//! `routing`, which ages it and does without where it is missing. Deciding is plain code ([`probe::Health`],
//! [`load::Table`]); the rest is timers and sockets.
//! [`source`] holds where backends come from beside the configuration.
//!
//! Start reading at [`watch`].

mod config;
mod follow;
mod hear;
mod listen;
pub mod load;
mod metrics;
mod poll;
pub mod probe;
pub mod source;
mod watch;
mod way;

pub use config::{Config, Names};
pub use listen::Publisher;
pub use watch::{List, Metrics, Watched, watch};
pub use way::Way;
