//! How to talk to a backend.
//!
//! An [`Engine`] starts a call, an [`Answer`] is polled in place until it ends, and dropping it cancels the call. What
//! comes back is the backend's own bytes, cut at the borders of events, with what was read from them: tokens, usage,
//! the end, an error. Who picked the backend is not known here.
//!
//! ```text
//!   Call ── openai: splice, head, authorize ── http1 | http2 ──▶ backend
//!                                                                  │
//!   Chunk ◀── event: peek ◀── sse: whole events ◀── bytes ─────────┘
//! ```
//!
//! Start reading at [`Engine`]. [`openai`] speaks to every server with that API, [`grpc`] to other gateways;
//! [`simulated`] runs GPUs that do not exist, in this process; [`stepped`] plans the steps of an
//! [`Executor`](executor::Executor), such as [`remote`] in another process. [`transcode`] turns messages into JSON and back,
//! [`batch`] several requests into one and its answer into theirs.

mod authorize;
pub mod batch;
pub mod continuation;
mod engine;
pub mod event;
pub mod executor;
pub mod grpc;
mod http1;
mod http2;
mod io;
pub mod json;
pub mod kv_events;
mod metrics;
pub mod openai;
pub mod orca;
mod outgoing;
mod refusal;
pub mod remote;
pub mod simulated;
mod sse;
pub mod stepped;
pub mod transcode;

pub use authorize::{Authorize, Bearer};
pub use engine::{Answer, Call, Engine, Failure};
pub use event::response_id;
pub use io::Connected;
pub use refusal::{refusal, refusal_in_stream};
pub use sse::data as sse_data;
