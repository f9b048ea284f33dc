//! llama.cpp in this process: an [`Executor`](plimsoll_engines::executor::Executor) that loads a model from a GGUF file.
//!
//! ```text
//!   read:  body ── template: text ── native: tokens
//!   step:  pieces ── seats: who sits where, what is there already ── native: one batch ── sampling: a token each
//! ```
//!
//! All that is unsafe is in `native`, which is compiled with feature `llama` only: it builds llama.cpp from source and so
//! needs CMake, a C++ compiler and libclang. The rest is plain code and is tested without it.
//!
//! Hot path: a token costs no allocation and no copy of the likelihoods that it is chosen by.

#[cfg(feature = "llama")]
mod executor;
mod json;
#[cfg(feature = "llama")]
mod loading;
#[cfg(feature = "llama")]
mod native;
pub mod options;
pub mod sampling;
pub mod seats;
pub mod template;
mod time;

#[cfg(feature = "llama")]
pub use executor::Llama;
pub use options::Options;
