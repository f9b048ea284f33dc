//! Benches: one file in `benches/`, one question. `tests/no_alloc.rs` holds hot paths to their promise, and `RESULTS.md`
//! has the figures with machine, commit and command.
