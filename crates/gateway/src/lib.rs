//! The front door: HTTP and gRPC in and out, and the one place that knows the whole house.
//!
//! ```text
//!   acceptor ── socket ──▶ the core with the fewest ── connection ── serve: checks, key, route, body, peek
//!                                                                        │
//!   client ◀── body: events, comments, errors ◀── TokenStream ◀── Pipeline::serve
//! ```
//!
//! A core is one thread with one single-threaded runtime, its own pipeline and its own connections to backends. The
//! main thread accepts nothing and serves nobody but operators: metrics, health, reload, drain. [`assemble`] builds the
//! house out of a [`config::Config`]; [`run`] lives in it until it is told to go.
//!
//! How a backend is chosen or a token metered is not known here.

mod accept;
mod admin;
pub mod assemble;
mod auth;
mod body;
mod client_io;
pub mod config;
mod connection;
mod core;
mod cors;
mod discovery;
mod explain;
mod fleet;
mod grpc;
mod head;
mod house;
mod janitor;
mod lifecycle;
mod node;
mod openai;
mod peers;
mod reload;
mod route;
mod salts;
mod serve;
mod serving;
mod sources;
mod tls;

pub use house::House;
pub use lifecycle::{Source, run};
