//! Those at one backend who may be joined with each other, on whatever core they are. Short mutexes, and only the
//! bookkeeping is done under them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use plimsoll_batching::budget::{Budget, Fill, Size};
use plimsoll_batching::micro::{Config, Flight, Micro, Next, Ticket, Why};
use plimsoll_engines::batch::{Form, Frame, Joinable};
use plimsoll_telemetry::{Counter, Histogram, catalog};
use plimsoll_types::{Instant, Kind, Request, Tenant, Text};

use super::member::Member;

/// Groups of one backend. Whoever asks in yet another way goes alone as long as these are busy.
const MOST_GROUPS: usize = 64;
/// How long nobody is joined after an answer that could not be divided.
const APART: Duration = Duration::from_secs(60);

/// What must be the same in all that are joined.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Shape {
    kind: Kind,
    frame: Frame,
    form: Form,
    fields: Vec<(&'static str, Text)>,
    tenant: Option<Arc<Tenant>>,
}

impl Shape {
    pub(super) fn of(request: &Request, read: &Joinable, mix_tenants: bool) -> Self {
        let envelope = &request.envelope;
        let matters = |field: &&(&'static str, Text)| !field.0.starts_with("trace");
        Self {
            kind: envelope.kind,
            frame: read.frame(&request.body),
            form: read.form,
            fields: envelope.forward.iter().filter(matters).cloned().collect(),
            tenant: envelope.tenant.clone().filter(|_| !mix_tenants),
        }
    }

    /// The same, without holding the whole of a body.
    fn own(self) -> Self {
        Self { frame: self.frame.iter().map(|part| Bytes::copy_from_slice(part)).collect(), ..self }
    }
}

/// The groups of one backend.
pub(super) struct Lane {
    groups: Mutex<HashMap<Shape, Arc<Group>>>,
    metrics: Arc<LaneMetrics>,
}

impl Lane {
    pub(super) fn new(backend: &str) -> Self {
        Self { groups: Mutex::default(), metrics: Arc::new(LaneMetrics::new(backend)) }
    }

    /// The group of `shape`; `None` where there are too many already.
    pub(super) fn group(&self, shape: Shape, config: &Config) -> Option<Arc<Group>> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(group) = groups.get(&shape) {
            return Some(Arc::clone(group));
        }
        if groups.len() >= MOST_GROUPS {
            groups.retain(|_, group| Arc::strong_count(group) > 1 || !group.micro().is_idle());
            if groups.len() >= MOST_GROUPS {
                return None;
            }
        }
        let micro = Mutex::new(Micro::new(config));
        let group = Group { micro, apart: AtomicU64::new(0), metrics: Arc::clone(&self.metrics) };
        let group = Arc::new(group);
        groups.insert(shape.own(), Arc::clone(&group));
        Some(group)
    }
}

/// Those who may be joined with each other.
pub(super) struct Group {
    micro: Mutex<Micro<Arc<Member>>>,
    /// Nanoseconds until when each goes alone.
    apart: AtomicU64,
    pub(super) metrics: Arc<LaneMetrics>,
}

/// What becomes of a request that comes.
pub(super) enum Came {
    Passes(UnderWay),
    Waits(Arc<Member>, Ticket),
    Alone,
}

/// What those who wait are to do.
pub(super) enum Due {
    Leaves(Batch),
    Waits(Instant),
}

impl Group {
    fn micro(&self) -> MutexGuard<'_, Micro<Arc<Member>>> {
        self.micro.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn come(
        self: &Arc<Self>,
        size: Size,
        (now, deadline): (Instant, Instant),
        member: impl FnOnce() -> Member,
    ) -> Came {
        if now.as_nanos() < self.apart.load(Relaxed) {
            return Came::Alone;
        }
        let mut micro = self.micro();
        if let Some(flight) = micro.passes(size, now) {
            drop(micro);
            self.metrics.left(&flight.fill, Why::Idle);
            return Came::Passes(UnderWay { group: Arc::clone(self), flight: Some(flight) });
        }
        let member = Arc::new(member());
        match micro.push(Arc::clone(&member), size, (now, deadline)) {
            Ok(ticket) => Came::Waits(member, ticket),
            Err(_) => Came::Alone,
        }
    }

    /// Whether a batch leaves now, and if not, when to look again.
    pub(super) fn next(self: &Arc<Self>, now: Instant, config: &Config) -> Due {
        let mut members = Vec::new();
        let mut micro = self.micro();
        micro.limit(config);
        let (flight, why) = match micro.next(now, &mut members) {
            Next::Leaves(flight, why) => (flight, why),
            Next::Waits(until) => return Due::Waits(until),
        };
        drop(micro);
        let wanted = Arc::new(Wanted::default());
        members.retain(|member| member.departs(&wanted));
        self.metrics.left(&flight.fill, why);
        self.metrics.budget(&flight.fill, config.budget());
        for member in &members {
            self.metrics.wait.record((now - member.came).as_secs_f64());
        }
        let under_way = UnderWay { group: Arc::clone(self), flight: Some(flight) };
        Due::Leaves(Batch { members, wanted, under_way: Some(under_way) })
    }

    pub(super) fn cancel(&self, ticket: Ticket) {
        self.micro().cancel(ticket);
        self.call();
    }

    /// The oldest of those who wait is to look whether it is time.
    fn call(&self) {
        let oldest = self.micro().oldest().cloned();
        if let Some(oldest) = oldest {
            oldest.wake();
        }
    }
}

/// A call that is under way, as its group knows it. Dropping it says that it is over.
pub(super) struct UnderWay {
    group: Arc<Group>,
    flight: Option<Flight>,
}

impl UnderWay {
    /// It has come back as it should.
    pub(super) fn came_back(mut self, now: Instant) {
        self.over(Some(now));
    }

    /// Its answer cannot be divided: for a while nobody of its group is joined.
    pub(super) fn keep_apart(&self, now: Instant) {
        self.group.apart.store((now + APART).as_nanos(), Relaxed);
    }

    pub(super) fn metrics(&self) -> &LaneMetrics {
        &self.group.metrics
    }

    fn over(&mut self, came_back: Option<Instant>) {
        if let Some(flight) = self.flight.take() {
            self.group.micro().over(flight, came_back);
            self.group.call();
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.over(None);
    }
}

/// Those who leave together. Whoever was not told anything when it is dropped is told that.
pub(super) struct Batch {
    pub(super) members: Vec<Arc<Member>>,
    pub(super) wanted: Arc<Wanted>,
    pub(super) under_way: Option<UnderWay>,
}

impl Drop for Batch {
    fn drop(&mut self) {
        for member in self.members.drain(..) {
            member.is_let_down();
        }
    }
}

/// How many still want their part of a call, and who makes it.
#[derive(Default)]
pub(super) struct Wanted {
    by: AtomicU32,
    /// Whether one of them has told how it went.
    accounted_for: AtomicBool,
    driver: Mutex<Option<Waker>>,
}

impl Wanted {
    pub(super) fn more(&self) {
        self.by.fetch_add(1, SeqCst);
    }

    pub(super) fn less(&self) {
        if self.by.fetch_sub(1, SeqCst) == 1
            && let Some(driver) = self.driver().take()
        {
            driver.wake();
        }
    }

    /// Whether somebody else has told how it went; if not, whoever asks does.
    pub(super) fn is_accounted_for(&self) -> bool {
        self.accounted_for.swap(true, Relaxed)
    }

    /// Whether nobody wants it any more. If not, `waker` is woken once that is so.
    pub(super) fn by_nobody(&self, waker: &Waker) -> bool {
        // The waker first: who leaves after the look wakes it.
        match &mut *self.driver() {
            Some(driver) => driver.clone_from(waker),
            driver => *driver = Some(waker.clone()),
        }
        self.by.load(SeqCst) == 0
    }

    fn driver(&self) -> MutexGuard<'_, Option<Waker>> {
        self.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Handles of one backend, made when its first core asks for its lane.
pub(super) struct LaneMetrics {
    reasons: [Counter; Why::ALL.len()],
    items: Histogram,
    fill: Histogram,
    padding: Histogram,
    wait: Histogram,
    pub(super) undone: Counter,
}

impl LaneMetrics {
    fn new(backend: &str) -> Self {
        Self {
            reasons: Why::ALL.map(|why| catalog::BATCHES.counter(&[backend, why.label()])),
            items: catalog::BATCH_ITEMS.histogram(&[backend]),
            fill: catalog::BATCH_FILL.histogram(&[backend]),
            padding: catalog::BATCH_PADDING.histogram(&[backend]),
            wait: catalog::BATCH_WAIT.histogram(&[backend]),
            undone: catalog::BATCHES_UNDONE.counter(&[backend]),
        }
    }

    fn left(&self, fill: &Fill, why: Why) {
        self.reasons[why as usize].increment(1);
        self.items.record(f64::from(fill.items));
    }

    fn budget(&self, fill: &Fill, budget: Budget) {
        self.fill.record(fill.share(budget));
        self.padding.record(fill.padding());
    }
}
