//! Wakes those who have waited too long: one task for each core, none for each stream.
//!
//! A stream that is not polled runs no timer, and a timer for each would cost more than the token that resets it. So
//! each has a [`Watch`] with its next limits, which it moves by storing a number, and every tick the sweeper looks
//! through them. A limit is thus kept to within a tick.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use plimsoll_engines::Answer;
use plimsoll_routing::Backend;
use plimsoll_types::{Clock, Instant};
use slab::Slab;

use crate::Shared;

/// How often limits are looked at.
const TICK: Duration = Duration::from_millis(50);

/// A tick that is so late makes what was measured meanwhile worthless.
const STALLED: Duration = Duration::from_millis(250);
/// A tick that is so late is a pause of the process: on a core that is merely busy, limits must still pass.
const STILL: Duration = Duration::from_secs(1);

/// The limits of one request, and who is to be woken.
pub(crate) struct Watch {
    /// When the time of the backend is over.
    pub(crate) limit: Cell<Instant>,
    /// When the caller's time is over, which goes on whatever befalls this process.
    pub(crate) caller: Cell<Instant>,
    /// When the client is to be told that its stream lives.
    pub(crate) quiet: Cell<Instant>,
    /// When a client that does not read has not read for too long.
    pub(crate) stall: Cell<Instant>,
    /// Whether the stream waits for the backend. If not, it is the client who has to ask for more.
    pub(crate) pending: Cell<bool>,
    /// Whether a limit has passed, and somebody must look which.
    pub(crate) fired: Cell<bool>,
    /// Whether this process stood still since something last came.
    pub(crate) stood_still: Cell<bool>,
    /// Whether all that runs is to end.
    pub(crate) cut: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// The backend that has the request.
    pub(crate) backend: RefCell<Option<Arc<Backend>>>,
    /// The answer stands here so that the sweeper can end it when nobody else will.
    pub(crate) answer: RefCell<Option<Box<dyn Answer>>>,
}

impl Watch {
    /// Says who is to be woken.
    pub(crate) fn wake_by(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
    }

    fn look(&self, now: Instant) {
        if self.pending.get() {
            let is_gone = || self.backend.borrow().as_ref().is_some_and(|backend| backend.is_gone(now));
            if now >= self.limit.get().min(self.caller.get()).min(self.quiet.get()) || is_gone() {
                self.fire();
            }
        } else if now >= self.stall.get() {
            // The client does not read: the backend is freed now, the rest when the connection goes.
            self.answer.borrow_mut().take();
            self.fire();
        }
    }

    /// Extends the limits of backend and client by the time for which this process could not read what they sent.
    fn shift(&self, by: Duration) {
        for limit in [&self.limit, &self.stall] {
            if limit.get() != Instant::NEVER {
                limit.set(limit.get() + by);
            }
        }
        self.stood_still.set(true);
    }

    fn fire(&self) {
        self.fired.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// A [`Watch`] for as long as it is held.
pub(crate) struct Watched {
    watch: Rc<Watch>,
    slot: usize,
    sweeper: Rc<Sweeper>,
}

impl Watched {
    /// The same limits, for somebody who outlives whoever holds this.
    pub(crate) fn share(&self) -> Rc<Watch> {
        Rc::clone(&self.watch)
    }
}

impl std::ops::Deref for Watched {
    type Target = Watch;
    fn deref(&self) -> &Watch {
        &self.watch
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watch.answer.borrow_mut().take();
        self.sweeper.watches.borrow_mut().remove(self.slot);
    }
}

/// All watches of one core.
pub(crate) struct Sweeper {
    watches: RefCell<Slab<Rc<Watch>>>,
    running: Cell<bool>,
    /// When this core last went on after it had stood still.
    went_on: Cell<Instant>,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
}

impl Sweeper {
    pub(crate) fn new(clock: Arc<dyn Clock>, shared: Arc<Shared>) -> Rc<Self> {
        Rc::new(Self {
            watches: RefCell::default(),
            running: Cell::new(false),
            went_on: Cell::default(),
            clock,
            shared,
        })
    }

    /// A watch without limits yet.
    pub(crate) fn watch(self: &Rc<Self>) -> Watched {
        let watch = Rc::new(Watch {
            limit: Cell::new(Instant::NEVER),
            caller: Cell::new(Instant::NEVER),
            stood_still: Cell::new(false),
            quiet: Cell::new(Instant::NEVER),
            stall: Cell::new(Instant::NEVER),
            pending: Cell::new(true),
            fired: Cell::new(false),
            cut: Cell::new(false),
            waker: RefCell::default(),
            backend: RefCell::default(),
            answer: RefCell::default(),
        });
        let slot = self.watches.borrow_mut().insert(Rc::clone(&watch));
        if !self.running.replace(true) {
            tokio::task::spawn_local(sweep(Rc::downgrade(self), Arc::clone(&self.clock)));
        }
        Watched { watch, slot, sweeper: Rc::clone(self) }
    }

    /// Whether this core stood still at some time since then, so that what was measured says nothing of a backend.
    pub(crate) fn stood_still_since(&self, then: Instant) -> bool {
        self.went_on.get() > then
    }

    /// Notes that a tick came `late`: the process was suspended, or its core had no time.
    fn was_late(&self, now: Instant, late: Duration) {
        if late > STALLED {
            self.went_on.set(now);
        }
        if late > STILL {
            self.watches.borrow().iter().for_each(|(_, watch)| watch.shift(late));
        }
    }

    fn look(&self, now: Instant) {
        let cut = self.shared.is_cutting();
        for (_, watch) in self.watches.borrow().iter() {
            if cut && !watch.cut.replace(true) {
                watch.fire();
            }
            watch.look(now);
        }
    }
}

/// Looks at the limits every tick, as long as there are any.
async fn sweep(sweeper: Weak<Sweeper>, clock: Arc<dyn Clock>) {
    loop {
        let due = clock.now() + TICK;
        clock.sleep_until(due).await;
        let now = clock.now();
        let Some(sweeper) = sweeper.upgrade() else { return };
        sweeper.was_late(now, now - due);
        if sweeper.watches.borrow().is_empty() {
            sweeper.running.set(false);
            return;
        }
        sweeper.look(now);
    }
}
