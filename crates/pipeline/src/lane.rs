//! Requests of different callers that go to one backend as one call.
//!
//! ```text
//!   Engine::start ── may it be joined? ── no ──▶ the backend's own engine
//!        │ yes
//!      Group ── passes ──▶ Lone: its own bytes, and the group knows that it is under way
//!        │ waits
//!      Part ◀── told ── drive: join ─▶ one call ─▶ split ── told ──▶ Part, on another core
//! ```
//!
//! A lane stands before the engine of a backend and is one itself, so that nobody else knows of it: each request is
//! dispatched, limited, judged and tried again by itself. All cores share the lane of a backend. Whoever finds that a
//! batch is due makes the call on his core, in a task of its own, because he may leave before the others have their
//! parts. What may leave together, and when, is decided in `plimsoll_batching::micro`.

mod drive;
mod group;
mod member;
mod part;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use plimsoll_batching::budget::Fill;
use plimsoll_engines::batch::Joinable;
use plimsoll_engines::{Answer, Call, Engine};
use plimsoll_routing::Backend;
use plimsoll_types::{Clock, Instant};

use crate::Shared;
use group::{Came, Lane, Shape};
use member::Member;
use part::{Lone, Part};

/// The lanes of all backends, as long as a core uses them.
#[derive(Default)]
pub(crate) struct Lanes(Mutex<HashMap<usize, Weak<Lane>>>);

impl Lanes {
    fn of(&self, backend: &Backend) -> Arc<Lane> {
        // Every change is complete before anything can panic.
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(&backend.slot).and_then(Weak::upgrade) {
            return lane;
        }
        lanes.retain(|_, lane| lane.strong_count() > 0);
        let lane = Arc::new(Lane::new(&backend.spec.name));
        lanes.insert(backend.slot, Arc::downgrade(&lane));
        lane
    }
}

/// The engine of a backend, with its lane before it.
struct Joining {
    engine: Rc<dyn Engine>,
    lane: Arc<Lane>,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
}

/// Puts the lane of `backend` before its `engine`.
pub(crate) fn before(
    engine: Rc<dyn Engine>,
    backend: &Backend,
    (shared, clock): (&Arc<Shared>, &Arc<dyn Clock>),
) -> Rc<dyn Engine> {
    if backend.spec.alone {
        return engine;
    }
    let lane = shared.lanes.of(backend);
    Rc::new(Joining { engine, lane, shared: Arc::clone(shared), clock: Arc::clone(clock) })
}

impl Engine for Joining {
    fn start(&self, call: &Call<'_>) -> Box<dyn Answer> {
        // What failed once is not to take others with it.
        let joined = if call.again { None } else { self.join(call) };
        joined.unwrap_or_else(|| self.engine.start(call))
    }
}

impl Joining {
    /// `None` where the request goes alone and the lane need not know.
    fn join(&self, call: &Call<'_>) -> Option<Box<dyn Answer>> {
        let snapshot = self.shared.snapshot();
        let config = &snapshot.config.batching;
        if !config.enabled {
            return None;
        }
        let envelope = &call.request.envelope;
        let read = Joinable::read(envelope.kind, &call.request.body)?;
        let size = read.size();
        if !Fill::of(size).fits(config.budget()) {
            return None;
        }
        let group = self.lane.group(Shape::of(call.request, &read, config.mix_tenants), config)?;
        let deadline = envelope.deadline.unwrap_or(Instant::NEVER);
        let now = self.clock.now();
        match group.come(size, (now, deadline), || Member::new(call, read, now)) {
            Came::Passes(flight) => {
                let answer = self.engine.start(call);
                Some(Box::new(Lone::new(answer, flight, Arc::clone(&self.clock))))
            }
            Came::Waits(member, ticket) => {
                let here = (Arc::clone(&self.shared), Arc::clone(&self.clock));
                Some(Box::new(Part::new(member, (group, ticket), Rc::clone(&self.engine), here)))
            }
            Came::Alone => None,
        }
    }
}
