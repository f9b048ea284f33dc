//! GPUs that do not exist, in this process.

use std::rc::Rc;
use std::sync::Arc;

use plimsoll_types::{BackendSpec, Clock};

use crate::Engine;

/// A placeholder until the real one is merged.
#[derive(Clone)]
pub struct Simulated(BackendSpec);

impl Simulated {
    /// What it is.
    #[must_use]
    pub fn spec(&self) -> &BackendSpec {
        &self.0
    }
    /// How a core talks to it.
    #[must_use]
    pub fn engine(&self, _: Arc<dyn Clock>) -> Rc<dyn Engine> {
        unreachable!()
    }
}

/// Nobody yet.
#[must_use]
pub fn embedded() -> Vec<Simulated> {
    Vec::new()
}
