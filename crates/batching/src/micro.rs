//! Which requests leave together as one call. Hot path: no allocation in steady state, no lock.
//!
//! ```text
//!   passes ── nothing under way, nobody waits ──▶ leaves alone, now
//!      │ no
//!     push ──▶ waiting ── next: full │ a call came back │ lingered long enough │ deadline near ──▶ batch ──▶ over
//!                 │
//!                 └── cancel, at any time
//! ```
//!
//! The oldest one anchors a batch, so that nobody starves, and those whose lengths are nearest to his join. While a call
//! is under way those who come gather, but not much longer than a call usually takes; once none is, to linger pays only
//! as long as fewer wait than come in the time that a batch costs whatever it holds (`micro/learned.rs`). A batch is no
//! larger than is cheap for the engine (`micro/best.rs`): what is more leaves beside it.

mod best;
mod config;
mod learned;
#[cfg(test)]
mod tests;
mod waiting;

pub use config::Config;
pub use waiting::Ticket;

use std::time::Duration;

use plimsoll_types::Instant;

use crate::budget::{Budget, Fill, Size};
use best::{Best, class};
use learned::Learned;
use waiting::Waiting;

/// Calls of one lane that may be under way: while one computes, the next is on its way there.
const FLIGHTS: u32 = 2;
/// Those who are looked at for one batch and found too large.
const PASSED_OVER: u32 = 64;
/// Those who may wait.
const MOST: u32 = 8_192;

/// Why a batch leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Nothing was under way.
    Idle,
    /// What was under way has come back.
    Returned,
    /// It is full.
    Full,
    /// Its oldest request has waited long enough.
    Waited,
    /// One of its requests has to begin now.
    Deadline,
}

impl Why {
    /// Every reason, in the order in which they are declared.
    pub const ALL: [Self; 5] = [Self::Idle, Self::Returned, Self::Full, Self::Waited, Self::Deadline];

    /// The value of the metric label `reason`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Returned => "returned",
            Self::Full => "full",
            Self::Waited => "waited",
            Self::Deadline => "deadline",
        }
    }
}

/// A call that is under way. It must be given to [`Micro::over`].
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Flight {
    /// What it holds.
    pub fill: Fill,
    /// When it left.
    pub left: Instant,
    /// Which one it is, and whether it was alone under way at first.
    number: u32,
    alone: bool,
}

/// What those who wait are to do.
#[derive(Debug)]
pub enum Next {
    /// A batch leaves.
    Leaves(Flight, Why),
    /// Nothing to do before this instant, unless somebody comes or a call comes back.
    Waits(Instant),
}

/// The requests of one lane that may be joined with each other.
#[derive(Debug)]
pub struct Micro<T> {
    budget: Budget,
    max_wait: Duration,
    waiting: Waiting<T>,
    learned: Learned,
    best: Best,
    flights: u32,
    /// The number of the last one that left.
    last: u32,
    /// When the last one came back, and its size.
    back: (Instant, usize),
    /// When one of those who wait has to begin, at the earliest. It may be of one who has left since.
    begin_by: Instant,
    /// Whether somebody began to wait while a call was under way.
    gathered: bool,
}

impl<T> Micro<T> {
    /// A lane in which nobody is.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            budget: config.budget(),
            max_wait: config.max_wait,
            waiting: Waiting::new(),
            learned: Learned::default(),
            best: Best::default(),
            flights: 0,
            last: 0,
            back: (Instant::ORIGIN, 0),
            begin_by: Instant::NEVER,
            gathered: false,
        }
    }

    /// The limits are others from now on.
    pub fn limit(&mut self, config: &Config) {
        (self.budget, self.max_wait) = (config.budget(), config.max_wait);
    }

    /// Whether nobody waits and nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.flights == 0 && self.waiting.requests == 0
    }

    /// Requests that wait.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.waiting.requests
    }

    /// Who has waited longest.
    #[must_use]
    pub fn oldest(&self) -> Option<&T> {
        self.waiting.oldest().map(|(_, held, _)| held)
    }

    /// A request comes: if it need not wait, it is under way from now on.
    pub fn passes(&mut self, size: Size, now: Instant) -> Option<Flight> {
        self.learned.arrived(now);
        if !self.is_idle() {
            return None;
        }
        Some(self.leaves(Fill::of(size), now))
    }

    fn leaves(&mut self, fill: Fill, now: Instant) -> Flight {
        self.last = self.last.wrapping_add(1);
        self.best.leaves();
        self.flights += 1;
        Flight { fill, left: now, number: self.last, alone: self.flights == 1 }
    }

    /// A request that does not pass waits; given back where too many do already, or where it is too large for anybody
    /// to join it.
    ///
    /// # Errors
    /// The request.
    pub fn push(&mut self, one: T, size: Size, (now, deadline): (Instant, Instant)) -> Result<Ticket, T> {
        if self.waiting.requests >= MOST || !Fill::of(size).fits(self.budget) {
            return Err(one);
        }
        if self.waiting.requests == 0 {
            (self.begin_by, self.gathered) = (Instant::NEVER, self.flights > 0);
        }
        if deadline != Instant::NEVER {
            let takes = self.learned.takes(u64::from(self.budget.tokens).min(u64::from(size.tokens) * 2));
            let begin = Instant::ORIGIN + (deadline - Instant::ORIGIN).saturating_sub(takes);
            self.begin_by = self.begin_by.min(begin);
        }
        Ok(self.waiting.push(one, size, now))
    }

    /// Somebody who waits leaves. `None` if he does not wait any more.
    pub fn cancel(&mut self, ticket: Ticket) -> Option<T> {
        self.waiting.cancel(ticket)
    }

    /// Puts those who leave now into `out`, if it is time.
    pub fn next(&mut self, now: Instant, out: &mut Vec<T>) -> Next {
        let budget = Budget { items: self.best.items(self.budget.items), ..self.budget };
        match self.due(now, budget) {
            Ok(why) => {
                let fill = self.fill(out, budget);
                Next::Leaves(self.leaves(fill, now), why)
            }
            Err(until) => Next::Waits(until),
        }
    }

    /// A call has come back, or will not. What it took is learned from those that did.
    pub fn over(&mut self, flight: Flight, came_back: Option<Instant>) {
        self.flights -= 1;
        if let Some(now) = came_back {
            self.learned.took(flight.fill.padded(), now - flight.left);
            self.came_back(flight, now);
        }
    }

    /// What the engine took for a call can be told if it had no other, or one of the same size: then two come back as far
    /// apart as one takes.
    fn came_back(&mut self, flight: Flight, now: Instant) {
        let class = class(flight.fill.items);
        let (before, size) = std::mem::replace(&mut self.back, (now, class));
        let alone = flight.alone && flight.number == self.last;
        if alone || size == class {
            let began = if alone { flight.left } else { flight.left.max(before) };
            self.best.took(class, flight.fill.tokens, now - began);
        }
    }

    fn due(&self, now: Instant, budget: Budget) -> Result<Why, Instant> {
        let Some((.., since)) = self.waiting.oldest() else { return Err(Instant::NEVER) };
        let waiting = &self.waiting;
        if self.flights >= FLIGHTS {
            return Err(Instant::NEVER);
        }
        if waiting.items >= budget.items || waiting.tokens >= u64::from(budget.tokens) {
            return Ok(Why::Full);
        }
        if now >= self.begin_by {
            return Ok(Why::Deadline);
        }
        if self.flights > 0 {
            let until = since + self.learned.overdue(self.max_wait);
            return if now >= until { Ok(Why::Waited) } else { Err(until.min(self.begin_by)) };
        }
        if f64::from(waiting.requests) >= self.learned.worth(now) {
            return Ok(if self.gathered { Why::Returned } else { Why::Idle });
        }
        let until = since + self.max_wait;
        if now >= until { Ok(Why::Waited) } else { Err(until.min(self.begin_by)) }
    }

    /// The oldest one, and whoever fits beside him, the nearest lengths first.
    fn fill(&mut self, out: &mut Vec<T>, budget: Budget) -> Fill {
        let Some((anchor, ..)) = self.waiting.oldest() else { return Fill::default() };
        let size = self.waiting.size(anchor);
        let mut fill = Fill::of(size);
        out.extend(self.waiting.remove(anchor));
        let mut passed_over = 0;
        for bucket in self.waiting.nearest(size.longest) {
            let mut at = self.waiting.first_of(bucket);
            while let Some(slot) = at {
                if fill.items >= budget.items || passed_over >= PASSED_OVER {
                    return fill;
                }
                at = self.waiting.next_of(slot);
                let more = fill.with(self.waiting.size(slot));
                if more.fits(budget) {
                    fill = more;
                    out.extend(self.waiting.remove(slot));
                } else {
                    passed_over += 1;
                }
            }
        }
        fill
    }
}
