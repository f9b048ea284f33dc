//! Fits the constants of a step to a live backend.

pub mod fit;
