//! The nouns that cross crate borders: no I/O, no decisions.
//!
//! A [`Request`] is the body as the client sent it plus an [`Envelope`] of what was read from it on the way in. An
//! answer is a [`Head`] and then [`Chunk`]s, each of which is the backend's own bytes plus what was read from them.
//! Nobody between the two ends builds the document: new fields of the API work on the day they appear.
//!
//! Time is an [`Instant`], nanoseconds since the origin of a [`Clock`], so that a test or a simulator can say what
//! time it is.

mod answer;
mod backend_spec;
pub mod blocks;
mod clock;
mod error;
mod keys;
mod locality;
mod prices;
mod request;
mod step_time;
mod text;
mod time;
mod trust;

pub use answer::{Chunk, Finish, Head, Peeked, Usage};
pub use backend_spec::{BackendSpec, ServedModel};
pub use blocks::{BLOCK_TOKENS, Blocks};
pub use clock::{Clock, Sleep, TokioClock};
pub use error::{Refusal, ServeError};
pub use keys::{Key, Keys, List, Section};
pub use locality::Locality;
pub use prices::Prices;
pub use request::{Envelope, Forward, Kind, Priority, Protocol, Request, Splice, Tenant};
pub use step_time::{Chunked, StepTime};
pub use text::Text;
pub use time::Instant;
pub use trust::Trust;
