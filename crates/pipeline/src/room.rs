//! Where requests wait that the router holds, because every backend of their pool is at its line: first in, first out.
//!
//! ```text
//!   held ──▶ enter ──▶ last ... first ── called when a backend may have room ──▶ picks: has it? ── leave, call the next
//!                                ▲                                                  │ no
//!                                └──────────────────────────────────────────────────┘
//! ```
//!
//! Only the first one picks, so nobody overtakes, and a place that opens wakes one and not all. It is touched by those
//! only who must wait, and by who leaves a backend while somebody does.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

/// The room of one pool, shared by all cores.
#[derive(Default)]
pub(crate) struct Room {
    waiting: AtomicUsize,
    line: Mutex<VecDeque<Arc<Waiter>>>,
}

#[derive(Default)]
struct Waiter(Mutex<Option<Waker>>);

/// A place in the line; dropping it leaves.
pub(crate) struct Place {
    room: Arc<Room>,
    waiter: Arc<Waiter>,
}

impl Room {
    /// Whether anybody waits, whom nobody may overtake.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.load(SeqCst) == 0
    }

    /// A request goes to the end of the line; `None` if so many wait already.
    pub(crate) fn enter(self: &Arc<Self>, most: u64) -> Option<Place> {
        let mut line = self.line();
        if line.len() as u64 >= most {
            return None;
        }
        let waiter = Arc::new(Waiter::default());
        line.push_back(Arc::clone(&waiter));
        self.waiting.store(line.len(), SeqCst);
        Some(Place { room: Arc::clone(self), waiter })
    }

    /// A backend may have room: the first one is called.
    pub(crate) fn call(&self) {
        if self.is_empty() {
            return;
        }
        let first = self.line().front().cloned();
        if let Some(waker) = first.and_then(|first| first.waker().take()) {
            waker.wake();
        }
    }

    fn line(&self) -> MutexGuard<'_, VecDeque<Arc<Waiter>>> {
        // Every change is complete before anything can panic.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whether it is this one's turn to pick. If not, or if its pick finds no room, `cx` is woken when to ask again.
    pub(crate) fn is_first(&self, cx: &Context<'_>) -> bool {
        // The waker first: who becomes first after the look is called.
        self.waiter.waker().replace(cx.waker().clone());
        self.room.line().front().is_some_and(|first| Arc::ptr_eq(first, &self.waiter))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut line = self.room.line();
        line.retain(|other| !Arc::ptr_eq(other, &self.waiter));
        self.room.waiting.store(line.len(), SeqCst);
        drop(line);
        // Whoever is first now may find what this one left.
        self.room.call();
    }
}
