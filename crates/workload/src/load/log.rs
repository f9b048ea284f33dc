//! Where all threads of a run write down what they saw.

use std::sync::Mutex;
use std::time::Duration;

use plimsoll_types::Instant;

use super::faults::Faults;
use super::timeline::Timeline;
use crate::report::{Outcome, Record, Recorder};
use crate::trace::Arrival;

/// What is known of a run so far. It is written to once for each request, when that has ended.
pub(super) struct Log {
    timeline: Timeline,
    kept: Mutex<Kept>,
}

/// What is left of a run when it is over.
pub(super) struct Kept {
    pub(super) recorder: Recorder,
    pub(super) faults: Faults,
    /// Requests of the warm-up, which are in no figure.
    pub(super) warm_up: u64,
}

/// What became of one request, on the clock of the run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) request: u32,
    pub(super) arrival: Arrival,
    pub(super) due: Instant,
    pub(super) sent: Instant,
    pub(super) first_token: Option<Instant>,
    pub(super) end: Instant,
    pub(super) outcome: Outcome,
    pub(super) prompt_tokens: u32,
    pub(super) cached_tokens: u32,
    pub(super) output_tokens: u32,
}

/// Tokens that came together: when, and how long after those before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gap {
    pub(super) at: Instant,
    pub(super) gap: Duration,
    pub(super) tokens: u32,
}

impl Log {
    pub(super) fn new(timeline: Timeline, duration: Duration) -> Self {
        let kept = Kept { recorder: Recorder::new(duration), faults: Faults::default(), warm_up: 0 };
        Self { timeline, kept: Mutex::new(kept) }
    }

    /// Writes down a request that has ended.
    pub(super) fn write(&self, seen: &Seen, gaps: &[Gap]) {
        let mut kept = self.kept.lock().expect("nobody panics here");
        let Some(due) = self.timeline.reported(seen.due) else {
            kept.warm_up += 1;
            return;
        };
        let at = |instant| self.timeline.reported(instant).unwrap_or_default();
        for gap in gaps {
            let (when, length) = (at(gap.at), self.timeline.shortened(gap.gap));
            kept.recorder.gap(when, length);
            if gap.tokens > 1 {
                kept.recorder.gaps(when, Duration::ZERO, u64::from(gap.tokens - 1));
            }
        }
        kept.recorder.record(&Record {
            request: seen.request,
            due,
            sent: at(seen.sent),
            first_token: seen.first_token.map(at),
            end: at(seen.end),
            outcome: seen.outcome,
            prompt_tokens: seen.prompt_tokens,
            cached_tokens: seen.cached_tokens,
            output_tokens: seen.output_tokens,
            model: seen.arrival.model,
            tenant: seen.arrival.tenant,
            region: seen.arrival.region,
            backend: None,
        });
    }

    pub(super) fn fault(&self, fault: &str) {
        self.kept.lock().expect("nobody panics here").faults.note(fault);
    }

    pub(super) fn into_kept(self) -> Kept {
        self.kept.into_inner().expect("nobody panics here")
    }
}
