//! Benches: one file in `benches/`, one question. `tests/no_alloc.rs` holds hot paths to their promise, and `RESULTS.md`
//! has the figures with machine, commit and command; `results.py` writes them there (`make results`).
//!
//! Whole processes are measured by scripts: `overhead.py` beside other proxies, for which `src/bin` has a backend and a
//! proxy that does nothing, and `life.py` against the simulator.
//!
//! Time is noisy where cores are shared, instructions are not: `benches/instructions.rs` runs hot paths for
//! `instructions.py`, which counts them and compares with `instructions.csv` (`make instructions`). What both kinds of
//! bench measure is in [`subject`].

pub mod envelope;
pub mod lane;
pub mod subject;
