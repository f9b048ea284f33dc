//! Sends the requests of one thread: each when it is due, whatever became of those before it.
//!
//! ```text
//!   open:    next arrival ── make its body ── wait until it is due ── room? ──▶ a task of its own
//!   closed:  each client: next arrival ── send ── wait for the end ── again
//! ```
//!
//! A request that finds no room is sent late, and its latency still counts from when it was due: that is what keeps
//! the figures free of coordinated omission.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_types::{Instant, Request};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_local, yield_now};

use super::flight::{Core, Flight};
use super::timeline::Timeline;
use crate::trace::Arrival;

/// Requests that a thread which is behind sends before it looks at answers again.
const BURST: u32 = 8;

/// Makes the request of an arrival, which is the so-manieth of the run.
pub(super) type Ask = Box<dyn Fn(u32, &Arrival) -> Request>;

/// One thread's share of a run. Wants a `LocalSet` around it; dropping that ends what is still in flight.
pub(super) struct Generator {
    core: Rc<Core>,
    timeline: Timeline,
    ask: Ask,
}

impl Generator {
    pub(super) fn new(core: Core, timeline: Timeline, ask: Ask) -> Self {
        Self { core: Rc::new(core), timeline, ask }
    }

    /// Sends `arrivals` as they are due, at most `max_in_flight` at a time, and waits for the last answer. Calls
    /// `all_sent` in between.
    pub(super) async fn open(
        &self,
        arrivals: impl Iterator<Item = (u32, Arrival)>,
        max_in_flight: usize,
        all_sent: impl FnOnce(),
    ) {
        let room = Arc::new(Semaphore::new(max_in_flight));
        let mut behind = 0;
        for (number, arrival) in arrivals {
            let due = self.timeline.due(arrival.at);
            let request = (self.ask)(number, &arrival);
            if due > self.core.clock.now() {
                self.core.clock.sleep_until(due).await;
                behind = 0;
            } else {
                behind += 1;
                if behind % BURST == 0 {
                    yield_now().await;
                }
            }
            let seat = Arc::clone(&room).acquire_owned().await.expect("it is never closed");
            let flight = Flight::fly(Rc::clone(&self.core), (number, arrival), due, request);
            spawn_local(async move {
                flight.await;
                drop(seat);
            });
        }
        all_sent();
        let all = u32::try_from(max_in_flight).expect("a plan keeps it small");
        let _ = room.acquire_many(all).await;
    }

    /// Lets each of `clients` send the next of `arrivals` when its last has ended, until there are none or `until` has
    /// passed.
    pub(super) async fn closed(
        self: &Rc<Self>,
        arrivals: impl Iterator<Item = (u32, Arrival)> + 'static,
        clients: usize,
        until: Option<Duration>,
    ) {
        let arrivals = Rc::new(RefCell::new(arrivals));
        let end = until.map_or(Instant::NEVER, |until| self.timeline.start + self.timeline.stretched(until));
        let mut all = JoinSet::new();
        for _ in 0..clients {
            let (own, arrivals) = (Rc::clone(self), Rc::clone(&arrivals));
            all.spawn_local(async move { own.client(&arrivals, end).await });
        }
        while all.join_next().await.is_some() {}
    }

    async fn client(&self, arrivals: &RefCell<impl Iterator<Item = (u32, Arrival)>>, end: Instant) {
        self.core.clock.sleep_until(self.timeline.start).await;
        loop {
            let over = self.core.clock.now() >= end;
            let next = if over { None } else { arrivals.borrow_mut().next() };
            let Some((number, arrival)) = next else { return };
            let request = (self.ask)(number, &arrival);
            let due = self.core.clock.now();
            Flight::fly(Rc::clone(&self.core), (number, arrival), due, request).await;
        }
    }
}
