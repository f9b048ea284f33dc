//! Where backends come from, beside the configuration itself.

mod dns;

pub use dns::{Dns, Resolve, System};

use std::future::Future;
use std::net::IpAddr;

/// What is different at a source. A backend that changed has another address: one is gone, another is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A backend is there that was not.
    Added(IpAddr),
    /// A backend is gone: it gets nothing new, and what runs there may end.
    Removed(IpAddr),
}

/// Somewhere that backends are listed and come and go.
pub trait Source {
    /// Looks, and says what is different from what it has said so far. A source that cannot be read, or is suddenly
    /// empty, has said nothing new: backends that work are not given up because a list of them does not.
    fn look(&mut self) -> impl Future<Output = Vec<Change>>;
}
