//! What is counted of the picks of a pool. Hot path: no allocation, no lock, no await.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use plimsoll_telemetry::{Counter, Histogram, catalog};

use crate::{Backend, Candidates, RequestShape, Tier};

/// Handles of one pool, made when it appears, and where its members are.
pub(crate) struct Tally {
    /// Picks of each member, in their order.
    backends: Vec<Counter>,
    /// Picks where nobody has as much of the prompt, where another has more, and where nobody has any.
    prefixes: [Counter; 3],
    /// Picks in another region than the nearest.
    spillovers: Counter,
    regret: Histogram,
    /// The region of each member, as a number.
    regions: Box<[u32]>,
    nearest: AtomicU32,
}

/// What costs as much as looking at all candidates is done for one pick in so many.
pub(crate) const SAMPLED: u32 = 64;
/// Members whose way is looked at to find the nearest region.
const LOOKED_AT: usize = 128;

impl Tally {
    /// The tally of the pool of `model`, whose backends are chosen by `policy`.
    pub(crate) fn new((model, policy): (&str, &str), members: &[Arc<Backend>]) -> Self {
        let mut numbers = HashMap::new();
        let regions = members.iter().map(|member| {
            let (at, next) = (&member.spec.locality, numbers.len() as u32);
            *numbers.entry((&at.cloud, &at.region)).or_insert(next)
        });
        let regions = regions.collect();
        let backends = members.iter().map(|member| {
            let at = &member.spec.locality;
            catalog::PICKS.counter(&[model, policy, &at.cloud, &at.region, &member.spec.name])
        });
        let tally = Self {
            backends: backends.collect(),
            prefixes: ["hit", "elsewhere", "nowhere"]
                .map(|outcome| catalog::PREFIX_PICKS.counter(&[model, outcome])),
            spillovers: catalog::SPILLOVERS.counter(&[model]),
            regret: catalog::PICK_REGRET.histogram(&[model, policy]),
            regions,
            nearest: AtomicU32::new(0),
        };
        tally.find_nearest(members);
        tally
    }

    /// `member` was picked.
    pub(crate) fn picked(&self, member: usize) {
        self.backends[member].increment(1);
        if self.regions[member] != self.nearest.load(Relaxed) {
            self.spillovers.increment(1);
        }
    }

    /// A backend was picked that has so many tokens of a prompt, of which another has `most`.
    pub(crate) fn matched(&self, here: u32, most: u32) {
        let outcome = match (here, most) {
            (_, 0) => 2,
            _ if here >= most => 0,
            _ => 1,
        };
        self.prefixes[outcome].increment(1);
    }

    /// Notes what candidate `picked` is expected to cost beyond the cheapest one.
    pub(crate) fn regrets(&self, picked: usize, request: &RequestShape<'_>, candidates: Candidates<'_>) {
        let cost = |index: usize| {
            let cost = candidates.cost(index, request);
            (cost.tier, cost.total())
        };
        // Whom a tier rules out is no alternative, however cheap.
        let (best, least) = (0..candidates.len())
            .map(cost)
            .fold((Tier::Full, f32::INFINITY), |least, cost| if cost < least { cost } else { least });
        let (tier, picked) = cost(picked);
        if tier == best {
            self.regret.record(f64::from(picked - least));
        }
    }

    /// Finds out which region is the nearest: round trips change. Of many members it looks at some.
    pub(crate) fn find_nearest(&self, members: &[Arc<Backend>]) {
        let trip = |index: &usize| members[*index].round_trip();
        let some = (0..members.len()).step_by(members.len().div_ceil(LOOKED_AT).max(1));
        let nearest = some.min_by(|a, b| trip(a).total_cmp(&trip(b)));
        self.nearest.store(nearest.map_or(0, |member| self.regions[member]), Relaxed);
    }
}
