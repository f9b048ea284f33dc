//! Puts load on a live endpoint and measures what its clients would see.
//!
//! ```text
//!   Plan ── Run::start ──▶ one thread each: Generator ── due ──▶ Flight ── Engine ──▶ endpoint
//!                              │  Tally, for whoever watches        │
//!   Recorder ◀── Run::finish ──┴──────────── Log ◀──────────────────┘
//! ```
//!
//! In an open loop requests leave when they are due, whatever became of those before: the latency of a request counts
//! from then, so an endpoint that stalls for a second shows that second in every request that it kept waiting.
//! Generators that wait for an answer before they send the next request leave those out; that is coordinated omission.
//! In a closed loop, where a fixed number of clients ask again when they have been answered, it is part of the
//! question, and the report says so.
//!
//! Start reading at [`Plan`] and [`Run`].

mod ask;
pub mod calibrate;
mod clock;
mod faults;
mod flight;
mod generator;
mod host;
mod keys;
mod log;
mod notes;
mod run;
mod tally;
mod target;
mod thread;
mod timeline;
mod verdict;

#[cfg(test)]
mod tests;

pub use ask::Asking;
pub use clock::FineClock;
pub use keys::TenantKeys;
pub use run::{Fault, Run};
pub use tally::Progress;
pub use target::{Target, Unusable};
pub use timeline::Timeline;

use std::sync::Arc;
use std::time::Duration;

use crate::report::Slo;
use crate::trace::Trace;

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// When the trace says.
    Open,
    /// When the client's last one has ended; when the trace says nothing of it.
    Closed {
        /// How many clients there are.
        clients: usize,
        /// For how long they ask, going round the trace; without it, once through the trace.
        until: Option<Duration>,
    },
}

/// A run that has not begun.
#[derive(Clone)]
pub struct Plan {
    /// Who is asked.
    pub target: Target,
    /// What is asked.
    pub asking: Asking,
    /// The requests, at least one.
    pub trace: Arc<Trace>,
    /// When they are sent.
    pub pace: Pace,
    /// How many times slower the endpoint is than what it stands for: times are stretched, and divided again in the
    /// report.
    pub slow_down: f64,
    /// Requests due before this are sent but not reported.
    pub warm_up: Duration,
    /// How long an answer may take, in the time of the report.
    pub timeout: Duration,
    /// Requests that may be in flight at once; what is due beyond them waits, and its latency counts.
    pub max_in_flight: usize,
    /// Threads, each of which sends every so-manieth request.
    pub threads: usize,
    /// What a good answer must keep to.
    pub slo: Slo,
}

impl Plan {
    /// How long requests are sent, in the time of the report and without the warm-up, as far as that is known.
    #[must_use]
    pub fn duration(&self) -> Duration {
        let all = match self.pace {
            Pace::Open => self.trace.duration(),
            Pace::Closed { until, .. } => until.unwrap_or_default(),
        };
        all.saturating_sub(self.warm_up)
    }
}
