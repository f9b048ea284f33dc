//! What the gateway does, seen from outside: real sockets, a scripted backend, nothing else.
//!
//! Every file is a behaviour and every test a sentence. [`stage`] holds what they are played on. Nothing waits for time
//! to pass: a test waits for what is to happen, and gives up only when it surely will not.

#![expect(clippy::unwrap_used, reason = "what surprises a test ends it")]

mod stage;

mod auth;
mod backpressure;
mod bodies;
mod cancel;
mod drain;
mod everyday;
mod explain;
mod failover;
mod fronts_and_backs;
mod grpc;
mod headers;
mod http2;
mod joined_kinds;
mod kv_events;
mod limits;
mod micro_batches;
mod midstream;
mod openai_http;
mod parts;
mod peers;
mod places;
mod reload;
mod removed;
mod retries;
mod salts;
mod streaming;
mod tls;
mod usage;
mod watch;
