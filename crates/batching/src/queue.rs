//! Who goes first of those that wait for room. Hot path: no allocation once warm, no lock, O(log n).
//!
//! ```text
//!   band      high ▸ normal ▸ low                 the most urgent; each lower one has a twentieth of what passes it
//!   tenant    the least served for its weight     virtual token counters (VTC, OSDI 2024)
//!   request   late ▸ due ▸ short                  see `flow`
//! ```
//!
//! Not all may go to the same backends. Those that may are of one reach, and only they wait for each other: while nobody
//! of a reach finds room, the first of the others goes, as if it were not there. What a tenant is served counts in all of
//! them, and where several of its own are first, the reach that got less goes.
//!
//! Nothing here waits or wakes: a driver asks who is first, sees whether there is room, and says who has left. Tokens
//! are those that a request is expected to cost: its prompt, and twice its answer.

mod flow;
mod forecast;
mod heap;
mod nodes;
mod sizes;
mod tenants;

pub use nodes::Ticket;

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::time::Duration;

use plimsoll_types::{Instant, Priority};

use flow::{Flow, Owner};
use forecast::Forecast;
use heap::Heap;
use nodes::Nodes;
use tenants::{Mix, charge};

/// Of what goes before a band, this share is owed to it.
const RESERVE: i64 = 20;
/// So many tokens must be owed to a band before one of its requests goes first, however many tokens that has: what is
/// too much is paid back before the next one.
const TURN: i64 = 1_000;

const BANDS: usize = Priority::ALL.len();

/// Sets of backends that are told apart, by a number below this.
pub const REACHES: usize = 16;

/// Some of them, a bit for each.
pub type Reaches = u16;

/// In what order requests leave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// Bands, tenants, deadlines, short ones first.
    #[default]
    ShortFirst,
    /// As they came, whoever they are.
    Arrival,
}

/// What a queue may hold, and how.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Requests.
    pub requests: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Who goes first.
    pub order: Order,
    /// How late a request is, beside the order of arrival, before nobody goes before it any more.
    pub aging: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { requests: 4_096, bytes: 1 << 30, order: Order::ShortFirst, aging: Duration::from_secs(2) }
    }
}

/// One that comes.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Whose it is.
    pub tenant: u64,
    /// The share of the tenant beside others, at least one.
    pub weight: u32,
    /// How urgent it is.
    pub priority: Priority,
    /// The set of backends that may serve it, by the number that the driver gives it.
    pub reach: u8,
    /// Tokens that it is expected to cost.
    pub tokens: u32,
    /// Bytes of its body.
    pub bytes: u64,
    /// The last moment at which it can begin and meet its deadline; [`Instant::NEVER`] if it has none.
    pub latest: Instant,
    /// Whether it had its turn already, and comes back because its backend failed: it goes before all that came after it.
    pub again: bool,
}

/// Nobody more can wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("as many wait as may")]
pub struct Full;

/// Those that wait.
#[derive(Debug, Default)]
pub struct Queue {
    limits: Limits,
    nodes: Nodes,
    flows: Vec<Flow>,
    vacant: Vec<u32>,
    /// Where each flow stands among those of its band; nowhere if nobody waits in it. Beside the flows, because a change
    /// moves many places.
    places: Vec<u32>,
    known: HashMap<Owner, u32, BuildHasherDefault<Mix>>,
    /// Of which there ever was a request.
    reaches: Reaches,
    bands: [Band; BANDS],
    len: usize,
    bytes: u64,
    forecast: Forecast,
    /// Since when it was never empty.
    stands_since: Instant,
    /// The latest that anybody said it was.
    now: Instant,
}

#[derive(Debug, Default)]
struct Band {
    /// Flows in which somebody waits, by their counters, and by their reaches.
    flows: [Heap; REACHES],
    /// Reaches of which somebody waits.
    waiting: Reaches,
    len: usize,
    tokens: u64,
    /// Weights of those flows together.
    weight: u64,
    /// Tokens that it is owed, or owes.
    owed: i64,
    /// The counter of whoever was served last, before he was.
    floor: u64,
}

impl Queue {
    /// An empty queue.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Other limits from now on; whoever waits goes on waiting.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of the bodies of those that wait.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Of which reaches somebody waits.
    #[must_use]
    pub fn waiting(&self) -> Reaches {
        self.bands.iter().fold(0, |waiting, band| waiting | band.waiting)
    }

    /// For how long some have waited without a break: hardly at all in a burst, and long where more comes than leaves.
    #[must_use]
    pub fn stands_for(&self, now: Instant) -> Duration {
        if self.len == 0 { Duration::ZERO } else { now - self.stands_since }
    }

    /// The latest moment of which it was told.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// One comes to wait.
    ///
    /// # Errors
    ///
    /// [`Full`] if as many wait already as may.
    pub fn enter(&mut self, entry: &Entry, now: Instant) -> Result<Ticket, Full> {
        let full = self.len as u64 >= self.limits.requests || self.bytes + entry.bytes > self.limits.bytes;
        // A body that is larger than all that may wait waits alone, or not at all.
        if full && !(self.len == 0 && self.limits.requests > 0) {
            return Err(Full);
        }
        self.now = self.now.max(now);
        if self.len == 0 {
            self.forecast.begin(now);
            self.stands_since = now;
        }
        self.forecast.comes(entry.tokens, now);
        let at = self.flow_of(entry);
        let number = self.nodes.add(at, (entry.tokens, entry.bytes));
        self.activate(at, entry.weight);
        let flow = &mut self.flows[at as usize];
        match entry.again {
            // It goes before its tenant's other requests, wherever those may be served.
            true => {
                flow.own = 0;
                flow.enter_again(number, &mut self.nodes);
            }
            false => flow.enter(number, entry.latest, &mut self.nodes),
        }
        let band = &mut self.bands[flow.of.band];
        band.len += 1;
        band.tokens += u64::from(entry.tokens);
        self.len += 1;
        self.bytes += entry.bytes;
        Ok(self.nodes.ticket(number))
    }

    /// Who goes first at `now`.
    pub fn first(&mut self, now: Instant) -> Option<Ticket> {
        self.first_of(Reaches::MAX, now)
    }

    /// Who goes first at `now` of those of these reaches.
    pub fn first_of(&mut self, reaches: Reaches, now: Instant) -> Option<Ticket> {
        self.now = self.now.max(now);
        let waits = |band: &Band| band.waiting & reaches != 0;
        let due = |band: &Band| waits(band) && band.owed >= TURN;
        let lower = self.bands[1..].iter().rposition(due).map(|band| band + 1);
        let band = lower.or_else(|| self.bands.iter().position(waits))?;
        let number = self.first_in(band, reaches, now)?;
        Some(self.nodes.ticket(number))
    }

    fn first_in(&mut self, band: usize, reaches: Reaches, now: Instant) -> Option<u32> {
        let heads = each(self.bands[band].waiting & reaches)
            .filter_map(|reach| self.bands[band].flows[reach].first())
            .map(|(counter, flow)| (counter, flow as usize));
        Some(match self.limits.order {
            Order::ShortFirst => {
                let (_, flow) = heads.min_by_key(|(counter, flow)| (*counter, self.flows[*flow].own))?;
                self.flows[flow].first(now, self.limits.aging, &mut self.nodes)
            }
            Order::Arrival => heads
                .map(|(_, flow)| self.flows[flow].oldest())
                .max_by_key(|oldest| self.nodes.since(*oldest))?,
        })
    }

    /// One leaves to be served. Gives how much later that is than in the order of arrival; `None` if he had left before.
    pub fn serve(&mut self, ticket: Ticket, now: Instant) -> Option<Duration> {
        if !self.nodes.holds(ticket) {
            return None;
        }
        self.now = self.now.max(now);
        let (at, tokens, passed) = {
            let node = &self.nodes[ticket.number];
            // One that comes back is in time by what it had waited before.
            (node.flow, node.tokens, if node.again { now } else { node.passed })
        };
        self.forecast.leaves(tokens, now);
        let flow = &mut self.flows[at as usize];
        let (band, counter) = (flow.of.band, flow.counter);
        flow.serve(ticket.number, now, &mut self.nodes);
        self.bands[band].floor = self.bands[band].floor.max(counter);
        let charge = charge(tokens, flow.weight);
        flow.own += charge;
        self.count(at, counter + charge);
        // Who goes because nobody more urgent wants to takes nothing of what is owed.
        if self.bands[band].owed >= TURN {
            self.bands[band].owed -= i64::from(tokens);
        }
        for lower in &mut self.bands[band + 1..] {
            // Nothing is saved up while nobody waits, and no more than a turn beyond what those that wait need.
            let most = if lower.len > 0 { lower.tokens as i64 + TURN } else { 0 };
            lower.owed = (lower.owed + (i64::from(tokens) / RESERVE).max(1)).min(most);
        }
        self.gone(at, ticket.number);
        Some(now - passed)
    }

    /// One does not want to wait any longer.
    pub fn cancel(&mut self, ticket: Ticket) {
        if self.nodes.holds(ticket) {
            let at = self.nodes[ticket.number].flow;
            self.flows[at as usize].cancel(ticket.number, self.now, &mut self.nodes);
            self.gone(at, ticket.number);
        }
    }

    /// What a tenant's request cost beside what was expected of it, now that it is known.
    pub fn settle(&mut self, (tenant, priority): (u64, Priority), (expected, came): (u32, u32)) {
        let of = |reach| Owner { band: priority as usize, reach, tenant };
        let Some(at) = each(self.reaches).find_map(|reach| self.known.get(&of(reach)).copied()) else {
            return;
        };
        let flow = &self.flows[at as usize];
        let (more, less) = (charge(came, flow.weight), charge(expected, flow.weight));
        self.count(at, (flow.counter + more).saturating_sub(less));
    }

    /// How long one that comes now is expected to wait; `None` as long as nobody has waited.
    #[must_use]
    pub fn expected_wait(&self, entry: &Entry, now: Instant) -> Option<Duration> {
        let rate = self.forecast.rate(now)?;
        let of = self.owner(entry);
        let band = &self.bands[of.band];
        let flow = self.known.get(&of).map(|at| &self.flows[*at as usize]);
        let own = flow.map_or(0, |flow| flow.sizes.all());
        let weight = u64::from(entry.weight.max(1));
        let idle = flow.is_none_or(Flow::is_idle);
        let weights = (band.weight + if idle { weight } else { 0 }).max(weight);
        let above: u64 = self.bands[..of.band].iter().map(|band| band.tokens).sum();
        // While so much of his own leaves, other tenants get what they have, but no more than their share.
        let before = |own: u64| {
            let others = (band.tokens - flow.map_or(0, |flow| flow.sizes.all()))
                .min(own * (weights - weight) / weight);
            (above + own + others) as f32
        };
        let in_turn = before(own) / rate;
        let seconds = match self.limits.order {
            Order::Arrival => in_turn,
            Order::ShortFirst => {
                let shorter = flow.map_or(0, |flow| flow.sizes.up_to(entry.tokens));
                let overtaken = before(shorter) / (rate * self.forecast.left_to(entry.tokens, (rate, now)));
                overtaken.min(in_turn + 2.0 * self.limits.aging.as_secs_f32())
            }
        };
        Duration::try_from_secs_f32(seconds).ok()
    }

    /// How long it takes until all that wait have left; `None` as long as nobody has waited.
    #[must_use]
    pub fn drains_in(&self, now: Instant) -> Option<Duration> {
        let tokens: u64 = self.bands.iter().map(|band| band.tokens).sum();
        Duration::try_from_secs_f32(tokens as f32 / self.forecast.rate(now)?).ok()
    }
}

/// The numbers of reaches.
fn each(mut reaches: Reaches) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let reach = reaches.trailing_zeros();
        reaches &= reaches.wrapping_sub(1);
        (reach < Reaches::BITS).then_some(reach as usize)
    })
}
