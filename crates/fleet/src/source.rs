//! Where backends come from, beside the configuration itself.

mod dns;
mod file;
mod srv;

pub use dns::{Dns, Resolve, System};
pub use file::{File, Read, settled};
pub use srv::{LookUp, Servers, Srv, Target, in_use};

use std::future::Future;

/// What is different at a source. Of a backend that changed one is gone and another is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<M> {
    /// A backend is there that was not.
    Added(M),
    /// A backend is gone: it gets nothing new, and what runs there may end.
    Removed(M),
}

impl<M> Change<M> {
    /// The same of a part of the backend.
    pub fn map<'m, P>(&'m self, part: impl FnOnce(&'m M) -> P) -> Change<P> {
        match self {
            Self::Added(backend) => Change::Added(part(backend)),
            Self::Removed(backend) => Change::Removed(part(backend)),
        }
    }
}

/// Somewhere that backends are listed and come and go.
pub trait Source {
    /// What it knows of a backend.
    type Member;

    /// Looks, and says what is different from what it has said so far. A source that cannot be read, or is suddenly
    /// empty, has said nothing new: backends that work are not given up because a list of them does not.
    fn look(&mut self) -> impl Future<Output = Vec<Change<Self::Member>>>;
}
