use std::task::{Context, Poll};

use plimsoll_types::{Chunk, Head, Refusal, Request};

/// A request on its way to one backend.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The request, as the caller sent it.
    pub request: &'a Request,
    /// The backend's name for the model, where it differs from the caller's.
    pub alias: Option<&'a str>,
    /// Whether this is a second try, which must not fail for a connection that has died unnoticed: it gets a new one.
    pub again: bool,
}

/// Software that runs a model, at one backend, as seen from one core.
pub trait Engine {
    /// Sends `call` on its way. Nothing blocks and nothing fails here: what happens is told by the answer.
    fn start(&self, call: &Call<'_>) -> Box<dyn Answer>;
}

/// An answer on its way back. Dropping it cancels the request at the backend.
///
/// It is polled in place by whoever wants it: there is no task and no channel behind it.
pub trait Answer {
    /// Gives the beginning, once.
    ///
    /// # Errors
    ///
    /// Where the backend cannot be reached or its answer is not one.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>>;

    /// Gives the next piece, after the beginning: whole events of a stream, any run of bytes of a plain answer. `None`
    /// after a clean end of the transfer; whether the stream was complete, [`Peeked`](plimsoll_types::Peeked) says.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Failure>>>;

    /// Whether what this says of the backend has been said already: it is a part of a call that others share, and one of
    /// them was asked before. Asked once, when it is known how the attempt went.
    fn is_accounted_for(&self) -> bool {
        false
    }

    /// What the backend said of the error that it reported in its stream ([`Peeked::error`](plimsoll_types::Peeked)), where
    /// that gives a status. Asked once, after the chunk that tells of the error.
    fn refusal(&mut self) -> Option<Box<Refusal>> {
        None
    }
}

/// Why an attempt got no answer, or lost it on the way. Reasons are for callers too: no addresses in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No byte of the request reached the backend: trying elsewhere costs nobody anything.
    #[error("{0}")]
    Unreachable(&'static str),
    /// The request was sent, wholly or in part.
    #[error("{0}")]
    Broken(&'static str),
}

impl Failure {
    /// Nobody listens at the backend's port. No load makes a system say that of a process that lives.
    pub const REFUSED: Self = Self::Unreachable("the connection was refused");
}
