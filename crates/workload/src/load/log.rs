//! Where all threads of a run write down what they saw.

use std::sync::Mutex;
use std::time::Duration;

use plimsoll_types::Instant;

use super::faults::Faults;
use super::timeline::Timeline;
use crate::report::{Outcome, Record, Recorder};
use crate::trace::Arrival;

/// Backends of an endpoint that are told apart in the most.
const BACKENDS: usize = 4_096;

/// What is known of a run so far. It is written to once for each request, when that has ended.
pub(super) struct Log {
    timeline: Timeline,
    kept: Mutex<Kept>,
}

/// What is left of a run when it is over.
pub(super) struct Kept {
    pub(super) recorder: Recorder,
    pub(super) faults: Faults,
    /// The backends that answered, as far as the endpoint tells, in the order in which they were first seen.
    pub(super) backends: Vec<String>,
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

impl Kept {
    /// The number of a backend, which it has from now on; none where an endpoint has told of too many.
    fn number(&mut self, name: &str) -> Option<u16> {
        let known = self.backends.iter().position(|backend| backend == name);
        if known.is_none() && self.backends.len() < BACKENDS {
            self.backends.push(name.to_owned());
            return Some(self.backends.len() as u16 - 1);
        }
        known.map(|number| number as u16)
    }
}

impl Log {
    pub(super) fn new(timeline: Timeline, duration: Duration) -> Self {
        let kept = Kept {
            recorder: Recorder::new(duration),
            faults: Faults::default(),
            backends: Vec::new(),
            warm_up: 0,
        };
        Self { timeline, kept: Mutex::new(kept) }
    }

    /// Writes down a request that has ended, and who answered it.
    pub(super) fn write(&self, (seen, backend): (&Seen, Option<&str>), gaps: &[Gap]) {
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
        let backend = backend.and_then(|name| kept.number(name));
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
            backend,
        });
    }

    pub(super) fn fault(&self, fault: &str) {
        self.kept.lock().expect("nobody panics here").faults.note(fault);
    }

    pub(super) fn into_kept(self) -> Kept {
        self.kept.into_inner().expect("nobody panics here")
    }
}
