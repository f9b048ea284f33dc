//! What this gateway has sent to a backend and not got back. Hot path: no allocation, no lock, no await.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Own dispatches: counted the moment they leave, so that a burst does not follow a stale report to one backend.
///
/// A cache line pair of its own, since every core writes here.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Load {
    in_flight: AtomicU32,
    queued_tokens: AtomicU64,
}

impl Load {
    /// Requests not yet answered to the end.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Prompt tokens of requests whose first token has not come.
    #[must_use]
    pub fn queued_tokens(&self) -> u64 {
        self.queued_tokens.load(Relaxed)
    }

    /// Counts a request in; gives the tokens that were queued before it.
    pub(crate) fn enter(&self, tokens: u64) -> u64 {
        self.in_flight.fetch_add(1, Relaxed);
        self.queued_tokens.fetch_add(tokens, Relaxed)
    }

    pub(crate) fn started(&self, tokens: u64) {
        self.queued_tokens.fetch_sub(tokens, Relaxed);
    }

    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }
}
