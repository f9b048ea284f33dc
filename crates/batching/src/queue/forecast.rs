//! How fast the queue empties, and who will come between.

use std::time::Duration;

use plimsoll_types::Instant;

use super::sizes::{CLASSES, class};

/// Seconds over which what was seen fades.
const MEMORY_SECONDS: f32 = 5.0;
/// A rate is known once somebody has waited for so long, in seconds.
const LEAST_SECONDS: f32 = 0.25;
/// However many come, those that wait get this share of what leaves.
const LEAST_SHARE: f32 = 0.05;

/// What was measured of a queue.
#[derive(Debug, Default)]
pub(super) struct Forecast {
    /// Seconds in which somebody waited, and tokens that left in them; both fade.
    seconds: f32,
    tokens: f32,
    /// Since when time counts that is not in `seconds` yet.
    since: Instant,
    /// Tokens that came in each class; they fade.
    came: [f32; CLASSES],
    came_at: Instant,
}

impl Forecast {
    /// Somebody waits, and nobody did.
    pub(super) fn begin(&mut self, now: Instant) {
        self.since = now;
    }

    /// So many tokens come.
    pub(super) fn comes(&mut self, tokens: u32, now: Instant) {
        let kept = kept(now - self.came_at);
        // Fading all of them each time would cost more than it tells.
        if kept < 0.98 {
            self.came.iter_mut().for_each(|came| *came *= kept);
            self.came_at = now;
        }
        self.came[class(tokens)] += tokens as f32;
    }

    /// So many tokens leave; somebody waited until now.
    pub(super) fn leaves(&mut self, tokens: u32, now: Instant) {
        let passed = now - self.since;
        let kept = kept(passed);
        self.seconds = self.seconds * kept + passed.as_secs_f32();
        self.tokens = self.tokens * kept + tokens as f32;
        self.since = now.max(self.since);
    }

    /// Tokens that leave in a second while somebody waits; `None` as long as that is not known.
    pub(super) fn rate(&self, now: Instant) -> Option<f32> {
        let passed = now - self.since;
        let kept = kept(passed);
        let seconds = self.seconds * kept + passed.as_secs_f32();
        (self.seconds >= LEAST_SECONDS).then(|| self.tokens * kept / seconds).filter(|rate| *rate > 0.0)
    }

    /// The share of the rate that is left to one of so many tokens by shorter ones that come after it.
    pub(super) fn left_to(&self, tokens: u32, (rate, now): (f32, Instant)) -> f32 {
        let came: f32 = self.came[..class(tokens)].iter().sum();
        let coming = came * kept(now - self.came_at) / MEMORY_SECONDS;
        (1.0 - coming / rate).max(LEAST_SHARE)
    }
}

fn kept(passed: Duration) -> f32 {
    (-passed.as_secs_f32() / MEMORY_SECONDS).exp()
}
