//! A clock whose sleeps end on the microsecond: tokio's end on the next whole millisecond, which would be 2 % of an
//! answer that takes fifty.

use std::sync::Arc;

use plimsoll_types::{Clock, Instant, Sleep, TokioClock};

/// The machine's clock, precise enough to pace requests by. Made inside the runtime of its thread.
pub struct FineClock {
    coarse: TokioClock,
    #[cfg(target_os = "linux")]
    alarms: Arc<alarm::Alarms>,
}

impl FineClock {
    /// A clock that shares its instants with `coarse`.
    #[must_use]
    pub fn start(coarse: TokioClock) -> Arc<Self> {
        Arc::new(Self {
            coarse,
            #[cfg(target_os = "linux")]
            alarms: Arc::default(),
        })
    }
}

impl Clock for FineClock {
    fn now(&self) -> Instant {
        self.coarse.now()
    }

    #[cfg(target_os = "linux")]
    fn sleep_until(&self, at: Instant) -> Sleep {
        let (coarse, alarms) = (self.coarse, Arc::clone(&self.alarms));
        Box::pin(async move {
            if at.since(coarse.now()) > alarm::LAST {
                let nearly = Instant::from_nanos(at.as_nanos() - alarm::LAST.as_nanos() as u64);
                coarse.sleep_until(nearly).await;
            }
            alarms.wait(&coarse, at).await;
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn sleep_until(&self, at: Instant) -> Sleep {
        self.coarse.sleep_until(at)
    }
}

#[cfg(target_os = "linux")]
mod alarm {
    use std::future::poll_fn;
    use std::io;
    use std::os::fd::OwnedFd;
    use std::sync::Mutex;
    use std::task::{Context, Poll};
    use std::time::Duration;

    use plimsoll_types::{Clock, Instant, TokioClock};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::unix::AsyncFd;

    /// The end of a sleep that is left to the kernel's timer: more than tokio's timer may be late.
    pub(super) const LAST: Duration = Duration::from_millis(3);

    /// Timers of the kernel that nobody sleeps by.
    #[derive(Default)]
    pub(super) struct Alarms {
        idle: Mutex<Vec<AsyncFd<OwnedFd>>>,
    }

    impl Alarms {
        /// Completes at `at`. Without a timer, for want of descriptors, tokio's has to do.
        pub(super) async fn wait(&self, clock: &TokioClock, at: Instant) {
            let now = clock.now();
            if at <= now {
                return;
            }
            let Ok(timer) = self.set(at - now) else { return clock.sleep_until(at).await };
            poll_fn(|cx| poll(&timer, clock, at, cx)).await;
            self.idle.lock().expect("nobody panics here").push(timer);
        }

        fn set(&self, after: Duration) -> io::Result<AsyncFd<OwnedFd>> {
            let idle = self.idle.lock().expect("nobody panics here").pop();
            let timer = idle.map_or_else(new, Ok)?;
            let once = Itimerspec {
                it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
                it_value: after.try_into().map_err(|_| io::ErrorKind::InvalidInput)?,
            };
            timerfd_settime(&timer, TimerfdTimerFlags::empty(), &once)?;
            Ok(timer)
        }
    }

    #[expect(deprecated, reason = "its successor is unsafe, and an OwnedFd is always the same descriptor")]
    fn new() -> io::Result<AsyncFd<OwnedFd>> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        AsyncFd::new(timerfd_create(TimerfdClockId::Monotonic, flags)?)
    }

    /// The time decides and the timer only wakes, so what it counted need not be read: setting it anew clears that.
    fn poll(timer: &AsyncFd<OwnedFd>, clock: &TokioClock, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        while clock.now() < at {
            match timer.poll_read_ready(cx) {
                Poll::Ready(Ok(mut ready)) => ready.clear_ready(),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_sleep_never_ends_early_and_its_timer_is_used_again() {
        let clock = FineClock::start(TokioClock::start());
        for micros in [0, 1, 150, 900, 3_500] {
            let at = clock.now() + Duration::from_micros(micros);
            clock.sleep_until(at).await;
            assert!(clock.now() >= at, "{micros}");
        }
    }

    #[tokio::test]
    async fn sleeps_that_overlap_have_timers_of_their_own() {
        let clock = FineClock::start(TokioClock::start());
        let from = clock.now();
        let (short, long) = (from + Duration::from_micros(200), from + Duration::from_micros(800));
        let first = async {
            clock.sleep_until(short).await;
            clock.now()
        };
        let (first, ()) = tokio::join!(first, clock.sleep_until(long));
        assert!(first >= short && clock.now() >= long);
    }
}
