//! How the time of the trace, of the machine and of the report belong together.

use std::time::Duration;

use plimsoll_types::Instant;

/// The time of a run.
///
/// An engine that runs `slow_down` times slower than the one it stands for is given so much more time, and what is
/// measured is divided by it again.
#[derive(Debug, Clone, Copy)]
pub struct Timeline {
    /// The beginning, on the clock of the run.
    pub start: Instant,
    /// How much slower than what it stands for the endpoint is.
    pub slow_down: f64,
    /// Requests due before this, in the time of the report, are sent but not reported.
    pub warm_up: Duration,
}

impl Timeline {
    /// When a request is due that the trace has `at`.
    #[must_use]
    pub fn due(&self, at: Duration) -> Instant {
        self.start + self.stretched(at)
    }

    /// The time of the report at `instant`; before the end of the warm-up there is none.
    #[must_use]
    pub fn reported(&self, instant: Instant) -> Option<Duration> {
        self.shortened(instant - self.start).checked_sub(self.warm_up)
    }

    /// A measured duration, as it would be without the slow-down.
    #[must_use]
    pub fn shortened(&self, measured: Duration) -> Duration {
        self.scale(measured, 1.0 / self.slow_down)
    }

    /// How long a duration of the report takes on this machine.
    #[must_use]
    pub fn stretched(&self, reported: Duration) -> Duration {
        self.scale(reported, self.slow_down)
    }

    /// Exact where nothing is scaled.
    fn scale(&self, duration: Duration, factor: f64) -> Duration {
        if self.slow_down == 1.0 { duration } else { duration.mul_f64(factor) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_slower_engine_gets_more_time_and_a_report_as_if_it_were_not() {
        let line = Timeline { start: Instant::ORIGIN + ms(7), slow_down: 10.0, warm_up: ms(50) };
        let due = line.due(ms(100));
        assert_eq!(due, Instant::ORIGIN + ms(1_007));
        assert_eq!(line.reported(due), Some(ms(50)));
        assert_eq!(line.reported(line.due(ms(49))), None);
        assert_eq!(line.shortened(ms(300)), ms(30));
        assert_eq!(line.stretched(ms(30)), ms(300));
    }
}
