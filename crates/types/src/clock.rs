use std::future::Future;
use std::pin::Pin;

use crate::Instant;

/// What [`Clock::sleep_until`] gives: done when the time has come.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where drivers get the time from.
///
/// What decides takes an [`Instant`] as an argument and never asks; what waits asks this. [`TokioClock`] is the real
/// one; the simulator brings its own, which jumps from event to event.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Instant;
    /// Completes at `at`, at once if that has passed.
    fn sleep_until(&self, at: Instant) -> Sleep;
}

/// The machine's monotonic clock, by way of tokio: a paused runtime pauses it too.
#[derive(Debug, Clone, Copy)]
pub struct TokioClock {
    origin: tokio::time::Instant,
}

impl TokioClock {
    /// A clock whose origin is this moment. Clocks that share instants must be copies of one.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the place where the time comes from")]
    pub fn start() -> Self {
        Self { origin: tokio::time::Instant::now() }
    }
}

impl Clock for TokioClock {
    #[expect(clippy::disallowed_methods, reason = "this is the place where the time comes from")]
    fn now(&self) -> Instant {
        let elapsed = tokio::time::Instant::now().saturating_duration_since(self.origin);
        Instant::ORIGIN + elapsed
    }

    fn sleep_until(&self, at: Instant) -> Sleep {
        Box::pin(tokio::time::sleep_until(self.origin + at.since(Instant::ORIGIN)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn sleeping_until_a_moment_ends_at_that_moment() {
        let clock = TokioClock::start();
        let at = clock.now() + Duration::from_millis(250);
        clock.sleep_until(at).await;
        assert!(clock.now() >= at && clock.now() - at < Duration::from_millis(2));
    }
}
