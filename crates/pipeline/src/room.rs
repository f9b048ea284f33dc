//! Where requests wait that the router holds, because every backend of their pool is at its line.
//!
//! ```text
//!   held ──▶ enter ──▶ queue: who is first? ── called when a backend may have room ──▶ picks: has it? ── goes, call the next
//!                                ▲                                                        │ no
//!                                └────────────────────────────────────────────────────────┘
//! ```
//!
//! Who is first is decided in [`plimsoll_batching::queue`]; here is how it is told. Only the first one picks, so nobody
//! overtakes it, and a place that opens wakes one and not all. Where residency keeps the first one from what is free, the
//! next one is called that may go elsewhere: those of a reach are shut out once their first one has found nothing, until
//! somewhere a place opens, and then it looks before them again. The lock is touched by those only who must wait, and by
//! who leaves a backend while somebody does.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use plimsoll_batching::queue::{Entry, Queue, REACHES, Reaches, Ticket};
use plimsoll_routing::Allowed;
use plimsoll_types::{Instant, Priority, Tenant, Trust};

use crate::Config;

/// What a token of an answer costs beside one of a prompt: it is read once and written in a step of its own.
pub(crate) const ANSWER_FACTOR: u32 = 2;

/// How long after a request left the queue observed waits stand in for predictions.
const OBSERVED: Duration = Duration::from_secs(5);

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
    /// Where those who wait may be served, and the slots of the backends that they have tried, by the numbers of their reaches:
    /// one that waits for fewer backends must not keep others from the rest.
    allowed: Vec<(Allowed, Vec<usize>)>,
    /// Reaches whose first one has looked and found nothing.
    shut: Reaches,
    /// How predictions of waits have done.
    trust: Trust,
    /// When a request last left for a backend.
    left: Instant,
    /// Whether it is news that they are off.
    doubted: bool,
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
    reach: Reaches,
    whose: (u64, Priority),
    /// The tokens that its answer is expected to have.
    expected: u32,
    since: Instant,
    /// How long it may wait.
    pub(crate) until: Instant,
    /// How long it was predicted to wait, where that could be said.
    predicted: Option<Duration>,
}

/// What a tenant was charged for an answer of which nobody knew how long it would be. Dropping it settles what was written,
/// whatever ended the answer.
pub(crate) struct Charge {
    room: Arc<Room>,
    whose: (u64, Priority),
    expected: u32,
    /// `None` where nobody knows: of a plain answer nothing is seen until it is there.
    wrote: Option<u32>,
}

impl Room {
    /// Whether anybody waits, whom nobody may overtake.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.load(SeqCst) == 0
    }

    /// A request comes to wait for what it may use, from `now` until a moment of its own.
    ///
    /// # Errors
    ///
    /// If it would wait in vain: when to come again.
    pub(crate) fn enter(
        self: &Arc<Self>,
        (entry, may_use, expected): (Entry, (Allowed, &[usize]), u32),
        config: &Config,
        now: Instant,
    ) -> Result<Place, Duration> {
        let mut inside = self.inside();
        let entry = &Entry { reach: inside.reach(may_use), ..entry };
        let Inside { queue, waiters, trust, left, .. } = &mut *inside;
        queue.set_limits(config.queue());
        // A burst is served however long that takes; where more comes than leaves, all would wait ever longer.
        let longest =
            if queue.stands_for(now) > config.max_wait { config.max_wait } else { config.burst_wait() };
        let until = (now + longest).min(entry.latest);
        // The first one of its reach may find room at once, and one that comes back had its turn.
        let first = queue.waiting() & 1 << entry.reach == 0 || entry.again;
        let predicted = queue.expected_wait(entry, now).filter(|_| !first);
        // What refuses requests must not keep away what would correct it.
        let recent = now - *left < OBSERVED;
        let observed =
            trust.observed().filter(|_| recent).and_then(|seconds| Duration::try_from_secs_f32(seconds).ok());
        let wait = predicted.filter(|_| trust.is_believed()).or(observed.filter(|_| !first));
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
        let (reach, whose) = (1 << entry.reach, (entry.tenant, entry.priority));
        Ok(Place { room: Arc::clone(self), ticket, reach, whose, expected, since: now, until, predicted })
    }

    /// A backend may have room: the first one is called.
    pub(crate) fn call(&self) {
        if self.is_empty() {
            return;
        }
        let waker = self.inside().call_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// How long it takes until all that wait now have left, as far as that is known.
    pub(crate) fn drains_in(&self, now: Instant) -> Option<Duration> {
        self.inside().queue.drains_in(now)
    }

    /// How many times as long as predicted requests wait, and whether it is news that this is too much.
    pub(crate) fn forecast(&self) -> (f32, bool) {
        let mut inside = self.inside();
        (inside.trust.error(), std::mem::take(&mut inside.doubted))
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        // Every change is complete before anything can panic.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    /// The number of those who may be served at these places. Should there be too many sets of places, some share one:
    /// they wait for each other.
    fn reach(&mut self, (allowed, tried): (Allowed, &[usize])) -> u8 {
        if self.queue.is_empty() {
            self.allowed.clear();
            self.shut = 0;
        }
        let known = self.allowed.iter().position(|known| known.0 == allowed && known.1 == tried);
        let reach = known.unwrap_or(self.allowed.len()).min(REACHES - 1);
        if known.is_none() && self.allowed.len() < REACHES - 1 {
            self.allowed.push((allowed, tried.to_vec()));
        }
        reach as u8
    }

    /// Who is to be woken where anybody may find room.
    fn call_all(&mut self) -> Option<Waker> {
        self.shut = 0;
        self.call()
    }

    /// Who is to be woken so that the first one looks who may find something. By the time of the last look: should another
    /// be the first by now, the one that is called passes it on.
    fn call(&mut self) -> Option<Waker> {
        let first = self.queue.first_of(!self.shut, self.queue.now())?;
        let waiter = &mut self.waiters[first.number()];
        waiter.called = true;
        waiter.waker.take()
    }
}

impl Place {
    /// Whether it is this one's turn to pick. If not, or if its pick finds no room, `cx` is woken when to ask again.
    pub(crate) fn is_first(&self, cx: &Context<'_>, now: Instant) -> bool {
        let mut inside = self.room.inside();
        let reaches = self.reach | !inside.shut;
        let first = inside.queue.first_of(reaches, now) == Some(self.ticket);
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

    /// There is no room for it: the first one looks of those who may go elsewhere.
    pub(crate) fn finds_nothing(&self) {
        let mut inside = self.room.inside();
        inside.shut |= self.reach;
        let waker = inside.call();
        drop(inside);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// There may be room of which nobody told: whoever is first looks before this one does.
    pub(crate) fn looks_again(&self) {
        self.room.inside().shut = 0;
    }

    /// Whoever is first looks for room, now that this one has found that it is not.
    pub(crate) fn passes_on(&self) {
        self.room.call();
    }

    /// It has got a backend. Gives how much later than in the order of arrival that is, and what it was charged.
    pub(crate) fn goes(self, now: Instant) -> (Duration, Charge) {
        let mut inside = self.room.inside();
        let late = inside.queue.serve(self.ticket, now);
        inside.left = now;
        let waited = (now - self.since).as_secs_f32();
        match self.predicted {
            Some(predicted) => {
                let doubted = inside.trust.compare(predicted.as_secs_f32(), waited);
                inside.doubted |= doubted;
            }
            None => inside.trust.observe(waited),
        }
        drop(inside);
        let room = Arc::clone(&self.room);
        (late.unwrap_or_default(), Charge { room, whose: self.whose, expected: self.expected, wrote: None })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.room.inside();
        inside.queue.cancel(self.ticket);
        self.room.waiting.store(inside.queue.len(), SeqCst);
        // Whoever is first now may find what this one left.
        let waker = inside.call_all();
        drop(inside);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Charge {
    /// An attempt begins, and what is written will be seen if it is a stream.
    pub(crate) fn begins(&mut self, stream: bool) {
        self.wrote = stream.then_some(0);
    }

    /// So many tokens more have been written.
    pub(crate) fn adds(&mut self, tokens: u32) {
        self.wrote = Some(self.wrote.unwrap_or(0).saturating_add(tokens));
    }

    /// The request goes back to the queue, where it is charged anew: its prompt of so many tokens is not paid for twice.
    pub(crate) fn undo(mut self, prompt_tokens: u32) {
        self.wrote = None;
        let charged = prompt_tokens.saturating_add(self.expected.saturating_mul(ANSWER_FACTOR));
        self.room.inside().queue.settle(self.whose, (charged, 0));
    }

    /// So many tokens were written, as is known now.
    pub(crate) fn is(&mut self, tokens: u32) {
        self.wrote = Some(tokens);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some(tokens) = self.wrote {
            let cost = |tokens: u32| tokens.saturating_mul(ANSWER_FACTOR);
            self.room.inside().queue.settle(self.whose, (cost(self.expected), cost(tokens)));
        }
    }
}

/// A tenant as the queue knows it, and its weight; all that come without a key are one.
pub(crate) fn tenant(tenant: Option<&Tenant>) -> (u64, u32) {
    let Some(tenant) = tenant else { return (0, 1) };
    let mut hasher = DefaultHasher::new();
    tenant.name.hash(&mut hasher);
    (hasher.finish(), tenant.weight)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn enter(room: &Arc<Room>, tenant: u64, expected: u32) -> Place {
        let tokens = 100 + ANSWER_FACTOR * expected;
        let priority = Priority::Normal;
        let latest = Instant::NEVER;
        let entry = Entry { tenant, weight: 1, priority, reach: 0, tokens, bytes: 1, latest, again: false };
        let entered =
            room.enter((entry, (Allowed::EVERYWHERE, &[]), expected), &Config::default(), Instant::ORIGIN);
        entered.expect("there is room")
    }

    proptest! {
        #[test]
        fn a_tenant_pays_for_what_was_written_however_its_answers_end(
            answers in prop::collection::vec(
                // Whose, the tokens that are expected, the pieces that come, and what the backend says at the end, if it does.
                (0..2_u64, (0..500_u32, prop::collection::vec(0..20_u32, 0..10), prop::option::of(0..300_u32))),
                1..20,
            ),
        ) {
            let room = Arc::new(Room::default());
            // As long as both wait, neither is forgiven anything.
            let waits = [enter(&room, 0, 0), enter(&room, 1, 0)];
            let mut paid = [0_u64; 2];
            for (tenant, (expected, pieces, usage)) in answers {
                let (_, mut charge) = enter(&room, tenant, expected).goes(Instant::ORIGIN);
                charge.begins(true);
                pieces.iter().for_each(|tokens| charge.adds(*tokens));
                if let Some(usage) = usage {
                    charge.is(usage);
                }
                paid[tenant as usize] += u64::from(100 + ANSWER_FACTOR * usage.unwrap_or(pieces.iter().sum()));
            }
            let cx = &Context::from_waker(Waker::noop());
            let first = waits.iter().position(|place| place.is_first(cx, Instant::ORIGIN));
            prop_assert_eq!(first, Some(usize::from(paid[1] < paid[0])), "{:?}", paid);
        }
    }
}
