//! The way from a backend to one gateway: what leaves a step together arrives together.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use plimsoll_types::{Clock, Instant};

use super::clock::Face;
use super::seat::Seat;

/// Tokens of one request on their way.
pub(super) struct Delivery {
    pub(super) seat: Rc<Seat>,
    pub(super) tokens: u32,
    pub(super) last: bool,
}

/// The way to one gateway.
pub(super) struct Link {
    way: Duration,
    under_way: RefCell<VecDeque<(Instant, Vec<Delivery>)>>,
    /// Lists that are empty again, so that a step allocates none.
    spare: RefCell<Vec<Vec<Delivery>>>,
    waker: Cell<Option<Waker>>,
}

impl Link {
    /// A link on which nothing is under way, so long one way.
    pub(super) fn new(way: Duration) -> Self {
        Self { way, under_way: RefCell::default(), spare: RefCell::default(), waker: Cell::default() }
    }

    /// How long it is, one way.
    pub(super) fn way(&self) -> Duration {
        self.way
    }

    /// What is in `batch` leaves at `at`; the list is empty afterwards.
    pub(super) fn send(&self, batch: &mut Vec<Delivery>, at: Instant) {
        let spare = self.spare.borrow_mut().pop().unwrap_or_default();
        let batch = std::mem::replace(batch, spare);
        if self.way.is_zero() {
            return self.deliver(batch);
        }
        self.under_way.borrow_mut().push_back((at + self.way, batch));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Carries what leaves to its end, for ever.
    pub(super) async fn carry(&self, clock: &Face) {
        loop {
            let at = poll_fn(|cx| match self.under_way.borrow().front() {
                Some((at, _)) => Poll::Ready(*at),
                None => {
                    self.waker.set(Some(cx.waker().clone()));
                    Poll::Pending
                }
            })
            .await;
            clock.sleep_until(at).await;
            let arrived = self.under_way.borrow_mut().pop_front();
            if let Some((_, batch)) = arrived {
                self.deliver(batch);
            }
        }
    }

    fn deliver(&self, mut batch: Vec<Delivery>) {
        for Delivery { seat, tokens, last } in batch.drain(..) {
            seat.tell(tokens, last);
        }
        self.spare.borrow_mut().push(batch);
    }
}
