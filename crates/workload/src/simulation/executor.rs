//! Runs tasks until none can go on, then lets the clock jump.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};

use tokio::task::LocalSet;

use super::clock::SimulatedClock;

/// Whether a task can go on.
#[derive(Default)]
struct Ready(AtomicBool);

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

/// Runs `main` and all that it spawns on a clock that jumps, until `main` ends; `None` if it waits for something that
/// nothing will ever bring.
///
/// The shipped pipeline spawns on tokio's `LocalSet`. It is polled by hand here, in place of a runtime: with no timers
/// and no sockets there is nothing to park for, and a set that has nothing left to do means that time may pass.
pub(super) fn run<T>(clock: &SimulatedClock, main: impl Future<Output = T>) -> Option<T> {
    let ready = Arc::new(Ready::default());
    let waker = Waker::from(Arc::clone(&ready));
    let mut cx = Context::from_waker(&waker);
    let tasks = LocalSet::new();
    let mut all = pin!(tasks.run_until(main));
    loop {
        // What is woken by the clock is on the set's queue already, but the set is told only while it is polled.
        loop {
            ready.0.store(false, Relaxed);
            if let Poll::Ready(done) = Pin::as_mut(&mut all).poll(&mut cx) {
                return Some(done);
            }
            if !ready.0.load(Relaxed) {
                break;
            }
        }
        if !clock.jump() {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock::Face;
    use super::*;
    use plimsoll_types::{Clock, Instant};
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::time::Duration;

    #[test]
    fn time_passes_only_when_nobody_can_go_on_and_to_the_nanosecond() {
        let clock = SimulatedClock::new();
        let seen = Rc::new(RefCell::new(Vec::new()));
        let (face, notes) = (Face(Arc::clone(&clock)), Rc::clone(&seen));
        let done = run(&clock, async move {
            let mut tasks = Vec::new();
            for nanos in [7_000_000_003, 5, 5, 1] {
                let (face, notes) = (face.clone(), Rc::clone(&notes));
                tasks.push(tokio::task::spawn_local(async move {
                    face.sleep_until(Instant::from_nanos(nanos)).await;
                    // Many turns without waiting: no time passes.
                    for _ in 0..200 {
                        tokio::task::yield_now().await;
                    }
                    notes.borrow_mut().push((nanos, face.now().as_nanos()));
                }));
            }
            for task in tasks {
                task.await.expect("no task panics");
            }
            face.sleep_until(Instant::ORIGIN + Duration::from_secs(8)).await;
            face.now()
        });
        assert_eq!(done, Some(Instant::ORIGIN + Duration::from_secs(8)));
        assert_eq!(*seen.borrow(), [(1, 1), (5, 5), (5, 5), (7_000_000_003, 7_000_000_003)]);
    }

    #[test]
    fn waiting_for_nothing_ends_the_run() {
        let clock = SimulatedClock::new();
        assert_eq!(run(&clock, std::future::pending::<()>()), None);
    }
}
