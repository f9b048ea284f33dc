//! Closes connections of one core that are idle for too long, whose head does not arrive, or whose client takes
//! nothing; and all of them, gently, when the gateway goes.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use plimsoll_types::{Clock, Instant};
use slab::Slab;

use crate::client_io::Watched;
use crate::house::House;

/// How often the janitor looks around; limits of seconds are kept to within this.
pub(crate) const EVERY: Duration = Duration::from_millis(250);

/// How long an idle connection is kept while the gateway goes: a request may be on its way on it.
const LAST_CALL: Duration = Duration::from_secs(1);

/// The connections of one core.
pub(crate) struct Janitor {
    connections: RefCell<Slab<Rc<Watched>>>,
    clock: Arc<dyn Clock>,
    house: Arc<House>,
}

/// A connection for as long as it is open.
pub(crate) struct Kept {
    pub(crate) watched: Rc<Watched>,
    slot: usize,
    janitor: Rc<Janitor>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.janitor.connections.borrow_mut().remove(self.slot);
    }
}

impl Janitor {
    /// A janitor at work on this core.
    pub(crate) fn start(clock: &Arc<dyn Clock>, house: &Arc<House>) -> Rc<Self> {
        let janitor = Rc::new(Self {
            connections: RefCell::default(),
            clock: Arc::clone(clock),
            house: Arc::clone(house),
        });
        tokio::task::spawn_local(work(Rc::downgrade(&janitor), Arc::clone(clock)));
        janitor
    }

    /// Keeps an eye on a new connection.
    pub(crate) fn keep(self: &Rc<Self>) -> Kept {
        let watched = Rc::new(Watched::default());
        let now = self.clock.now();
        watched.idle_since.set(now);
        watched.coarse_now.set(now);
        let slot = self.connections.borrow_mut().insert(Rc::clone(&watched));
        Kept { watched, slot, janitor: Rc::clone(self) }
    }

    fn look(&self, now: Instant) {
        let settings = self.house.settings();
        let requests = &settings.config.requests;
        let stall = settings.config.pipeline.stall_limit;
        let draining = self.house.shared.is_draining();
        for (_, watched) in self.connections.borrow().iter() {
            watched.coarse_now.set(now);
            let idle = watched.serving.get() == 0;
            let over = |since: Option<Instant>, limit| since.is_some_and(|since| now - since >= limit);
            let close = over(watched.blocked_since.get(), stall)
                || idle && over(watched.head_since.get(), requests.head_timeout)
                || idle && over(Some(watched.idle_since.get()), requests.idle_timeout);
            // Whoever has not asked for anything when the gateway goes is not waited for.
            let unused = draining && idle && watched.head_since.get().is_none();
            let close = close || unused && over(Some(watched.idle_since.get()), LAST_CALL);
            if close {
                watched.close.set(true);
            }
            if (close || draining)
                && let Some(waker) = watched.waker.borrow_mut().take()
            {
                waker.wake();
            }
        }
    }
}

async fn work(janitor: Weak<Janitor>, clock: Arc<dyn Clock>) {
    loop {
        clock.sleep_until(clock.now() + EVERY).await;
        let Some(janitor) = janitor.upgrade() else { return };
        janitor.look(clock.now());
    }
}
