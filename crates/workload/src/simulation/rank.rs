//! One data-parallel rank of a station: a GPU, its step scheduler, and the requests that it works on.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use plimsoll_batching::step::{Limits, Refusal, Sequence};
use plimsoll_engines::simulated::Steps;
use plimsoll_types::{Clock, Instant, StepTime};

use super::clock::Face;
use super::seat::Seat;

/// A GPU and its requests.
pub(super) struct Rank {
    pub(super) steps: RefCell<Steps>,
    /// The requests by their slots in the scheduler.
    pub(super) seats: RefCell<Vec<Option<Rc<Seat>>>>,
    idle: Cell<Option<Waker>>,
}

impl Rank {
    /// An idle GPU with these times and limits.
    pub(super) fn new(time: StepTime, limits: Limits) -> Self {
        Self {
            steps: RefCell::new(Steps::new(time, limits)),
            seats: RefCell::default(),
            idle: Cell::default(),
        }
    }

    /// How loaded it is, as vLLM counts it to deal requests to its ranks: one that waits weighs as much as four that run.
    pub(super) fn load(&self) -> usize {
        let steps = self.steps.borrow();
        4 * steps.scheduler().waiting() + steps.scheduler().running()
    }

    /// A request arrives at `now` and takes `seat`.
    ///
    /// # Errors
    /// Where no step could ever compute it.
    pub(super) fn enter(
        &self,
        sequence: &Sequence<'_>,
        seat: &Rc<Seat>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let id = self.steps.borrow_mut().add(sequence, now)?;
        seat.id.set(Some(id));
        let mut seats = self.seats.borrow_mut();
        if seats.len() <= id.slot() {
            seats.resize(id.slot() + 1, None);
        }
        seats[id.slot()] = Some(Rc::clone(seat));
        Ok(())
    }

    /// A request is wanted no longer. False if it has left already.
    pub(super) fn leave(&self, seat: &Seat) -> bool {
        let Some(id) = seat.id.take() else { return false };
        self.steps.borrow_mut().cancel(id);
        self.seats.borrow_mut()[id.slot()] = None;
        true
    }

    /// It loses all that it was working on, which it gives, and all that it had cached.
    pub(super) fn restart(&self) -> Vec<Rc<Seat>> {
        let seats = self.seats.borrow_mut().drain(..).flatten().collect();
        self.steps.borrow_mut().restart();
        self.look();
        seats
    }

    /// Wakes the task that drives the GPU.
    pub(super) fn look(&self) {
        if let Some(waker) = self.idle.take() {
            waker.wake();
        }
    }

    /// Waits until a step ends, and gives when that is.
    pub(super) async fn step(&self, clock: &Face) -> Instant {
        loop {
            let ends = poll_fn(|cx| match self.steps.borrow().ends() {
                Some(ends) => Poll::Ready(ends),
                None => {
                    self.idle.set(Some(cx.waker().clone()));
                    Poll::Pending
                }
            })
            .await;
            let mut sleep = clock.sleep_until(ends);
            let ended = poll_fn(|cx| {
                // A restart makes an end of the step under way, and says so.
                if self.steps.borrow().ends() != Some(ends) {
                    return Poll::Ready(false);
                }
                self.idle.set(Some(cx.waker().clone()));
                sleep.as_mut().poll(cx).map(|()| true)
            })
            .await;
            if ended {
                return ends;
            }
        }
    }
}
