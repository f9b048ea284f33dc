//! Where requests wait that the router holds, because every backend of their pool is at its line.
//!
//! ```text
//!   held ──▶ enter ──▶ queue: who is first? ── called when a backend may have room ──▶ picks: has it? ── goes, call the next
//!                                ▲                                                        │ no
//!                                └────────────────────────────────────────────────────────┘
//! ```
//!
//! Who is first is decided in [`plimsoll_batching::queue`]; here is how it is told. Only the first one picks, so nobody
//! overtakes it, and a place that opens wakes one and not all. The lock is touched by those only who must wait, and by who
//! leaves a backend while somebody does.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use plimsoll_batching::queue::{Entry, Limits, Queue, Ticket};
use plimsoll_types::{Instant, Priority, Tenant};

/// What a token of an answer costs beside one of a prompt: it is read once and written in a step of its own.
pub(crate) const ANSWER_FACTOR: u32 = 2;

/// The room of one pool, shared by all cores.
#[derive(Default)]
pub(crate) struct Room {
    waiting: AtomicUsize,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    queue: Queue,
    /// By the number of the ticket.
    waiters: Vec<Waiter>,
}

#[derive(Default)]
struct Waiter {
    waker: Option<Waker>,
    /// It was called as the first one, and has not looked yet.
    called: bool,
}

/// A place in the queue; dropping it leaves.
pub(crate) struct Place {
    room: Arc<Room>,
    ticket: Ticket,
    /// What was charged, to be settled when the answer is over.
    charge: Charge,
}

/// What a tenant was charged for an answer of which nobody knew how long it would be.
pub(crate) struct Charge {
    room: Arc<Room>,
    whose: (u64, Priority),
    expected: u32,
}

impl Room {
    /// Whether anybody waits, whom nobody may overtake.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.load(SeqCst) == 0
    }

    /// A request comes to wait, from `now` until a moment of its own.
    ///
    /// # Errors
    ///
    /// If it would wait in vain: when to come again.
    pub(crate) fn enter(
        self: &Arc<Self>,
        (entry, expected_output): (&Entry, u32),
        limits: Limits,
        (now, until): (Instant, Instant),
    ) -> Result<Place, Duration> {
        let mut inside = self.inside();
        let Inside { queue, waiters } = &mut *inside;
        queue.set_limits(limits);
        let wait = queue.expected_wait(entry, now).filter(|_| !queue.is_empty());
        if let Some(wait) = wait.filter(|wait| now + *wait > until) {
            return Err(wait);
        }
        let Ok(ticket) = queue.enter(entry, now) else {
            return Err(wait.or_else(|| queue.drains_in(now)).unwrap_or_default());
        };
        if waiters.len() <= ticket.number() {
            waiters.resize_with(ticket.number() + 1, Waiter::default);
        }
        waiters[ticket.number()] = Waiter::default();
        self.waiting.store(queue.len(), SeqCst);
        drop(inside);
        let whose = (entry.tenant, entry.priority);
        let charge = Charge { room: Arc::clone(self), whose, expected: ANSWER_FACTOR * expected_output };
        Ok(Place { room: Arc::clone(self), ticket, charge })
    }

    /// A backend may have room: the first one is called.
    pub(crate) fn call(&self) {
        if self.is_empty() {
            return;
        }
        let waker = self.inside().call();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// How long it takes until all that wait now have left, as far as that is known.
    pub(crate) fn drains_in(&self, now: Instant) -> Option<Duration> {
        self.inside().queue.drains_in(now)
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        // Every change is complete before anything can panic.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    /// Who is to be woken so that the first one looks. By the time of the last look: should another be the first by
    /// now, the one that is called passes it on.
    fn call(&mut self) -> Option<Waker> {
        let first = self.queue.first(self.queue.now())?;
        let waiter = &mut self.waiters[first.number()];
        waiter.called = true;
        waiter.waker.take()
    }
}

impl Place {
    /// Whether it is this one's turn to pick. If not, or if its pick finds no room, `cx` is woken when to ask again.
    pub(crate) fn is_first(&self, cx: &Context<'_>, now: Instant) -> bool {
        let mut inside = self.room.inside();
        let first = inside.queue.first(now) == Some(self.ticket);
        let waiter = &mut inside.waiters[self.ticket.number()];
        waiter.waker = Some(cx.waker().clone());
        let called = std::mem::take(&mut waiter.called);
        let other = (called && !first).then(|| inside.call()).flatten();
        drop(inside);
        if let Some(other) = other {
            other.wake();
        }
        first
    }

    /// Whoever is first looks for room, now that this one has found that it is not.
    pub(crate) fn passes_on(&self) {
        self.room.call();
    }

    /// It has got a backend. Gives how much later than in the order of arrival that is, and what it was charged.
    pub(crate) fn goes(self, now: Instant) -> (Duration, Charge) {
        let late = self.room.inside().queue.serve(self.ticket, now);
        let Charge { room, whose, expected } = &self.charge;
        let charge = Charge { room: Arc::clone(room), whose: *whose, expected: *expected };
        (late.unwrap_or_default(), charge)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.room.inside();
        inside.queue.cancel(self.ticket);
        self.room.waiting.store(inside.queue.len(), SeqCst);
        // Whoever is first now may find what this one left.
        let waker = inside.call();
        drop(inside);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Charge {
    /// The answer had so many tokens.
    pub(crate) fn settle(self, tokens: u32) {
        let came = tokens.saturating_mul(ANSWER_FACTOR);
        self.room.inside().queue.settle(self.whose, (self.expected, came));
    }
}

/// A tenant as the queue knows it, and its weight; all that come without a key are one.
pub(crate) fn tenant(tenant: Option<&Tenant>) -> (u64, u32) {
    let Some(tenant) = tenant else { return (0, 1) };
    let mut hasher = DefaultHasher::new();
    tenant.name.hash(&mut hasher);
    (hasher.finish(), tenant.weight)
}
