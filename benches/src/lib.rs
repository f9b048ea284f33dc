//! Benches: one file in `benches/`, one question. `tests/no_alloc.rs` holds hot paths to their promise, and `RESULTS.md`
//! has the figures with machine, commit and command.
//!
//! Time is noisy where cores are shared, instructions are not: `benches/instructions.rs` runs hot paths for
//! `instructions.py`, which counts them and compares with `instructions.csv` (`make instructions`). What both kinds of
//! bench measure is in [`subject`].

pub mod subject;
