//! Whose requests wait: the flows of tenants, and what they have been served. Hot path: no allocation once warm, no lock.

use std::hash::Hasher;

use plimsoll_types::Priority;

use super::flow::{Flow, Owner};
use super::nodes::NONE;
use super::{Entry, Order, Queue, REACHES, each};

/// Tokens of the counter for one token of a tenant with a weight of one.
const SCALE: u64 = 1 << 10;
/// Tenants of whom it is remembered what they have got while nobody of theirs waits.
const REMEMBERED: usize = 4_096;

impl Queue {
    /// The counter of a flow's tenant is another now.
    pub(super) fn count(&mut self, at: u32, counter: u64) {
        let of = self.flows[at as usize].of;
        self.count_one(at, counter);
        for reach in each(self.reaches & !(1 << of.reach)) {
            if let Some(other) = self.known.get(&Owner { reach, ..of }).copied() {
                self.count_one(other, counter);
            }
        }
    }

    fn count_one(&mut self, at: u32, counter: u64) {
        let (flow, place) = (&mut self.flows[at as usize], self.places[at as usize]);
        flow.counter = counter;
        if place != NONE {
            let heap = &mut self.bands[flow.of.band].flows[flow.of.reach];
            heap.change((place, counter), placed(&mut self.places));
        }
    }

    /// The flows of the same tenant in the same band, of other reaches.
    pub(super) fn others(&self, of: Owner) -> impl Iterator<Item = &Flow> {
        let known = move |reach| self.known.get(&Owner { reach, ..of });
        each(self.reaches & !(1 << of.reach)).filter_map(known).map(|at| &self.flows[*at as usize])
    }

    pub(super) fn owner(&self, entry: &Entry) -> Owner {
        let reach = usize::from(entry.reach).min(REACHES - 1);
        match self.limits.order {
            Order::ShortFirst => Owner { band: entry.priority as usize, reach, tenant: entry.tenant },
            Order::Arrival => Owner { band: Priority::Normal as usize, reach, tenant: 0 },
        }
    }

    pub(super) fn flow_of(&mut self, entry: &Entry) -> u32 {
        let of = self.owner(entry);
        if let Some(at) = self.known.get(&of) {
            return *at;
        }
        // What its tenant was served elsewhere counts here too.
        let counter = self.others(of).map(|flow| flow.counter).max().unwrap_or(0);
        let at = self.vacant.pop().unwrap_or(self.flows.len() as u32);
        match self.flows.get_mut(at as usize) {
            Some(flow) => flow.reuse(of),
            None => {
                self.flows.push(Flow::new(of));
                self.places.push(NONE);
            }
        }
        self.flows[at as usize].counter = counter;
        self.known.insert(of, at);
        self.reaches |= 1 << of.reach;
        at
    }

    /// One comes to a flow. If nobody waited there, it has no claim to what others got meanwhile.
    pub(super) fn activate(&mut self, at: u32, weight: u32) {
        let Flow { of, counter, own, .. } = self.flows[at as usize];
        if !self.flows[at as usize].is_idle() {
            return;
        }
        let least_own = self.others(of).filter(|other| !other.is_idle()).map(|other| other.own).min();
        let band = &mut self.bands[of.band];
        let heads = each(band.waiting).filter_map(|reach| band.flows[reach].first());
        let least = heads.map(|(least, _)| least).min().unwrap_or(band.floor);
        let counter = counter.max(least);
        let flow = &mut self.flows[at as usize];
        (flow.weight, flow.counter, flow.own) = (weight.max(1), counter, own.max(least_own.unwrap_or(0)));
        band.weight += u64::from(flow.weight);
        band.waiting |= 1 << of.reach;
        band.flows[of.reach].push((counter, at), placed(&mut self.places));
    }

    /// One has left a flow.
    pub(super) fn gone(&mut self, at: u32, number: u32) {
        let (tokens, bytes) = (self.nodes[number].tokens, self.nodes[number].bytes);
        self.nodes.free(number);
        self.len -= 1;
        self.bytes -= bytes;
        let flow = &self.flows[at as usize];
        let (of, place) = (flow.of, self.places[at as usize]);
        let band = &mut self.bands[of.band];
        band.len -= 1;
        band.tokens -= u64::from(tokens);
        if band.len == 0 {
            band.owed = band.owed.min(0);
        }
        if !flow.is_idle() {
            return;
        }
        band.weight -= u64::from(flow.weight);
        band.flows[of.reach].remove(place, placed(&mut self.places));
        self.places[at as usize] = NONE;
        if band.flows[of.reach].first().is_none() {
            band.waiting &= !(1 << of.reach);
        }
        if self.known.len() > REMEMBERED {
            self.known.remove(&of);
            self.vacant.push(at);
        }
    }
}

/// Notes where flows stand.
fn placed(places: &mut [u32]) -> impl FnMut(u32, u32) {
    |flow, place| places[flow as usize] = place
}

/// What so many tokens add to the counter of a tenant.
pub(super) fn charge(tokens: u32, weight: u32) -> u64 {
    u64::from(tokens) * SCALE / u64::from(weight)
}

/// Tenants are known by hashes already: what is left to do is to mix in the band.
#[derive(Debug, Default)]
pub(super) struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }
}
