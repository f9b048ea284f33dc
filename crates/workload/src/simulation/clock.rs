use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use plimsoll_types::{Clock, Instant, Sleep};

/// A clock that stands still until somebody moves it, and then jumps to the next moment that anybody waits for.
///
/// It counts nanoseconds; those who wait for the same moment are woken in the order in which they began to wait, so that
/// a run is decided by its seed alone.
#[derive(Debug, Default)]
pub(super) struct SimulatedClock {
    now: AtomicU64,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    heap: BinaryHeap<Sleeper>,
    came: u64,
}

#[derive(Debug)]
struct Sleeper {
    at: Instant,
    came: u64,
    waker: Waker,
}

impl SimulatedClock {
    /// A clock at its origin.
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Jumps to the next moment that somebody waits for and wakes all who wait for it; false if nobody does.
    pub(super) fn jump(&self) -> bool {
        let mut waiting = self.waiting();
        let Some(first) = waiting.heap.pop() else { return false };
        let at = first.at;
        self.now.fetch_max(at.as_nanos(), Relaxed);
        first.waker.wake();
        while waiting.heap.peek().is_some_and(|next| next.at <= at) {
            if let Some(next) = waiting.heap.pop() {
                next.waker.wake();
            }
        }
        true
    }

    fn wait(&self, at: Instant, waker: Waker) {
        let mut waiting = self.waiting();
        waiting.came += 1;
        let came = waiting.came;
        waiting.heap.push(Sleeper { at, came, waker });
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clock as the shipped code sees it.
#[derive(Debug, Clone)]
pub(super) struct Face(pub(super) Arc<SimulatedClock>);

impl Clock for Face {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.now.load(Relaxed))
    }

    fn sleep_until(&self, at: Instant) -> Sleep {
        Box::pin(Until { clock: Arc::clone(&self.0), at, kept: None })
    }
}

struct Until {
    clock: Arc<SimulatedClock>,
    at: Instant,
    /// Who will be woken.
    kept: Option<Waker>,
}

impl Future for Until {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.clock.now.load(Relaxed) >= self.at.as_nanos() {
            return Poll::Ready(());
        }
        if !self.kept.as_ref().is_some_and(|kept| kept.will_wake(cx.waker())) {
            self.clock.wait(self.at, cx.waker().clone());
            self.kept = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// The heap gives the greatest first: that is who is due first.
impl Ord for Sleeper {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.came).cmp(&(self.at, self.came))
    }
}

impl PartialOrd for Sleeper {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Sleeper {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Sleeper {}
