//! A backend of the simulated world: one GPU or several data-parallel ranks, and the ways to its gateways.
//!
//! ```text
//!   enter ──▶ a rank's Steps: a step until its end ── who wrote? ──▶ link, one way to each gateway ──▶ seat ──▶ the request's task
//! ```
//!
//! A task drives each rank's GPU from step to step, and one each link: a step costs a few moves of the clock however many
//! tokens it writes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use plimsoll_batching::step::{Limits, Next, Refusal, Sequence};
use plimsoll_engines::simulated::Tally;
use plimsoll_routing::Report;
use plimsoll_types::{Clock, Instant, StepTime};

use super::clock::Face;
use super::gaps::Gaps;
use super::link::{Delivery, Link};
use super::rank::Rank;
use super::seat::Seat;

/// What a station is made of.
#[derive(Debug, Clone)]
pub(super) struct Build {
    /// How long its steps really take.
    pub(super) time: StepTime,
    /// What the GPU of one rank can do at a time.
    pub(super) limits: Limits,
    /// Ranks behind its address: each reads prompts by itself.
    pub(super) ranks: usize,
    /// Whether prompts share what they begin with.
    pub(super) prefix_cache: bool,
    /// How long the way to each gateway is, one way.
    pub(super) ways: Vec<Duration>,
    /// How often an answer's tokens are told, where each by itself would change hardly a statistic; the first and the last are
    /// always told at once.
    pub(super) coalesce: Option<Duration>,
    /// Whether it tells gateways what others have sent.
    pub(super) tells: bool,
}

/// One backend.
pub(super) struct Station {
    ranks: Vec<Rank>,
    time: StepTime,
    block_tokens: u32,
    prefix_cache: bool,
    coalesce: Option<Duration>,
    clock: Face,
    links: Vec<Link>,
    occupied: Cell<usize>,
    occupied_since: Cell<Instant>,
    occupied_for: Cell<Duration>,
    reachable: Cell<bool>,
    /// Tokens that answers had in the mean so far, which is all that an engine can expect of the next.
    mean_output: Cell<f64>,
    hashes: RefCell<Vec<u64>>,
    batches: RefCell<Vec<Vec<Delivery>>>,
    gaps: Rc<Gaps>,
    requests: Cell<u64>,
    /// For each gateway, the requests of others that came since it was told; for none where it tells nobody.
    news: RefCell<Vec<Vec<usize>>>,
}

/// A prompt as a station sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prompt<'a> {
    pub(super) tokens: u32,
    /// Tokens of its answer; none if nothing is written for it.
    pub(super) output: u32,
    /// Whether they are told as they are written.
    pub(super) streams: bool,
    pub(super) blocks: &'a [u64],
    pub(super) block_tokens: u32,
}

impl Station {
    /// A station that nobody has sent anything to, whose gaps between tokens go to `gaps`.
    pub(super) fn new(build: Build, clock: Face, gaps: Rc<Gaps>) -> Rc<Self> {
        Rc::new(Self {
            ranks: (0..build.ranks).map(|_| Rank::new(build.time, build.limits)).collect(),
            time: build.time,
            block_tokens: build.limits.block_tokens,
            prefix_cache: build.prefix_cache,
            coalesce: build.coalesce,
            clock,
            links: build.ways.iter().map(|way| Link::new(*way)).collect(),
            occupied: Cell::new(0),
            occupied_since: Cell::default(),
            occupied_for: Cell::default(),
            reachable: Cell::new(true),
            mean_output: Cell::new(0.0),
            hashes: RefCell::default(),
            batches: RefCell::new(build.ways.iter().map(|_| Vec::new()).collect()),
            gaps,
            requests: Cell::new(0),
            news: RefCell::new(build.ways.iter().filter(|_| build.tells).map(|_| Vec::new()).collect()),
        })
    }

    /// Starts its GPUs and its links.
    pub(super) fn start(self: &Rc<Self>) {
        for rank in 0..self.ranks.len() {
            tokio::task::spawn_local(Rc::clone(self).compute(rank));
        }
        for gateway in 0..self.links.len() {
            if !self.links[gateway].way().is_zero() {
                let station = Rc::clone(self);
                tokio::task::spawn_local(async move { station.links[gateway].carry(&station.clock).await });
            }
        }
    }

    /// How long the way to a gateway is, one way.
    pub(super) fn way(&self, gateway: usize) -> Duration {
        self.links[gateway].way()
    }

    /// How loaded it is, as its metrics would say; nothing if it cannot be reached.
    pub(super) fn report(&self) -> Option<Report> {
        let small = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let (mut waiting, mut running, mut unread, mut blocks, mut used) = (0, 0, 0, 0, 0);
        for rank in &self.ranks {
            let steps = rank.steps.borrow();
            let (scheduler, kv) = (steps.scheduler(), steps.scheduler().kv());
            waiting += scheduler.waiting();
            running += scheduler.running();
            unread += scheduler.unread();
            blocks += kv.capacity();
            used += kv.capacity() - kv.free();
        }
        self.reachable.get().then(|| Report {
            waiting: Some(small(waiting)),
            running: Some(small(running)),
            unread_tokens: Some(unread),
            kv_used: Some(used as f32 / blocks as f32),
        })
    }

    /// Notes for the other gateways that `request` came from `gateway`.
    pub(super) fn remember(&self, request: usize, gateway: usize) {
        let mut news = self.news.borrow_mut();
        let others = news.iter_mut().enumerate().filter(|(other, _)| *other != gateway);
        others.for_each(|(_, news)| news.push(request));
    }

    /// The requests of others that came since `gateway` last asked.
    pub(super) fn news(&self, gateway: usize) -> Vec<usize> {
        self.news.borrow_mut().get_mut(gateway).map(std::mem::take).unwrap_or_default()
    }

    /// Whether it can be reached.
    pub(super) fn is_reachable(&self) -> bool {
        self.reachable.get()
    }

    /// A request arrives from `gateway`.
    ///
    /// # Errors
    /// Where no step could ever compute it.
    pub(super) fn enter(&self, prompt: Prompt<'_>, gateway: usize) -> Result<Rc<Seat>, Refusal> {
        let least = (0..self.ranks.len()).min_by_key(|rank| self.ranks[*rank].load()).unwrap_or_default();
        let seat = Rc::new(Seat::new(gateway, least, prompt.streams));
        self.requests.set(self.requests.get() + 1);
        let mut hashes = self.hashes.borrow_mut();
        hashes.clear();
        if self.prefix_cache && prompt.block_tokens > 0 {
            let parts = u64::from((prompt.block_tokens / self.block_tokens).max(1));
            hashes.extend(prompt.blocks.iter().flat_map(|id| (0..parts).map(move |part| name(*id, part))));
        }
        let mean = self.mean_output.get() as u32;
        let sequence = Sequence {
            prompt_tokens: prompt.tokens,
            hashes: &hashes,
            max_output: prompt.output,
            expected_output: (mean > 0).then_some(mean),
            priority: 0,
        };
        self.ranks[least].enter(&sequence, &seat, self.clock.now())?;
        self.occupy();
        self.ranks[least].look();
        Ok(seat)
    }

    /// A request is wanted no longer.
    pub(super) fn leave(&self, seat: &Seat) {
        if self.ranks[seat.rank].leave(seat) {
            self.vacate();
        }
    }

    /// It can be reached from now on, or no longer.
    pub(super) fn set_reachable(&self, reachable: bool) {
        self.reachable.set(reachable);
    }

    /// It loses all that it was working on and all that it had cached.
    pub(super) fn restart(&self) {
        for seat in self.ranks.iter().flat_map(Rank::restart) {
            seat.id.set(None);
            self.vacate();
            seat.fail();
        }
    }

    /// From its next step on, it takes so many times as long as it should.
    pub(super) fn slow_down(&self, factor: f64) {
        for rank in &self.ranks {
            rank.steps.borrow_mut().set_time(self.time.scaled(factor));
        }
    }

    /// What its GPUs did, for how long somebody was there, and how many requests came.
    pub(super) fn tally(&self) -> (Tally, Duration, u64) {
        let mut occupied = self.occupied_for.get();
        if self.occupied.get() > 0 {
            occupied += self.clock.now() - self.occupied_since.get();
        }
        let tally = self.ranks.iter().fold(Tally::default(), |sum, rank| {
            let tally = rank.steps.borrow().tally();
            Tally {
                busy: sum.busy + tally.busy,
                steps: sum.steps + tally.steps,
                prefilled: sum.prefilled + tally.prefilled,
                cached: sum.cached + tally.cached,
                decoded: sum.decoded + tally.decoded,
                written: sum.written + tally.written,
                preempted: sum.preempted + tally.preempted,
                peak_blocks: sum.peak_blocks + tally.peak_blocks,
            }
        });
        (tally, occupied, self.requests.get())
    }

    fn occupy(&self) {
        if self.occupied.get() == 0 {
            self.occupied_since.set(self.clock.now());
        }
        self.occupied.set(self.occupied.get() + 1);
    }

    fn vacate(&self) {
        self.occupied.set(self.occupied.get() - 1);
        if self.occupied.get() == 0 {
            self.occupied_for.set(self.occupied_for.get() + (self.clock.now() - self.occupied_since.get()));
        }
    }

    /// Drives the GPU of a rank from step to step.
    async fn compute(self: Rc<Self>, rank: usize) {
        loop {
            let ends = self.ranks[rank].step(&self.clock).await;
            self.finish_step(&self.ranks[rank], ends);
        }
    }

    fn finish_step(&self, rank: &Rank, ends: Instant) {
        let mut steps = rank.steps.borrow_mut();
        let mut seats = rank.seats.borrow_mut();
        for admitted in steps.plan().admitted() {
            if let Some(seat) = &seats[admitted.id.slot()]
                && seat.cached.get().is_none()
            {
                seat.cached.set(Some(admitted.cached));
            }
        }
        let mut batches = self.batches.borrow_mut();
        let (mut even, mut ended) = (Even::default(), 0);
        steps.finish(|wrote| {
            let slot = wrote.id.slot();
            let Some(seat) = &seats[slot] else { return Next::End };
            let tokens = seat.wrote(ends, wrote.last, self.coalesce);
            if self.coalesce.is_some() && seat.streams && wrote.output > 1 {
                even.add(ends - seat.last_write.get(), ends + self.links[seat.gateway].way(), &self.gaps);
            }
            seat.last_write.set(ends);
            if tokens > 0 {
                let delivery = Delivery { seat: Rc::clone(seat), tokens, last: wrote.last };
                batches[seat.gateway].push(delivery);
            }
            if wrote.last {
                if wrote.output > 0 {
                    self.learn(wrote.output);
                }
                seat.id.set(None);
                seats[slot] = None;
                ended += 1;
            }
            Next::Continue
        });
        even.flush(&self.gaps);
        drop((steps, seats));
        (0..ended).for_each(|_| self.vacate());
        for (link, batch) in self.links.iter().zip(batches.iter_mut()).filter(|(_, batch)| !batch.is_empty())
        {
            link.send(batch, ends);
        }
    }

    fn learn(&self, output: u32) {
        let mean = self.mean_output.get();
        let weight = if mean == 0.0 { 1.0 } else { 0.02 };
        self.mean_output.set(mean + (f64::from(output) - mean) * weight);
    }
}

/// Gaps of one step that are all the same, as nearly all are: counted once.
#[derive(Default)]
struct Even {
    gap: Duration,
    at: Instant,
    count: u64,
}

impl Even {
    fn add(&mut self, gap: Duration, at: Instant, gaps: &Gaps) {
        if (gap, at) != (self.gap, self.at) {
            self.flush(gaps);
            (self.gap, self.at) = (gap, at);
        }
        self.count += 1;
    }

    fn flush(&mut self, gaps: &Gaps) {
        if self.count > 0 {
            gaps.add(self.at, self.gap, self.count);
            self.count = 0;
        }
    }
}

/// The name of a part of a block: trace and memory may have blocks of different sizes.
fn name(id: u64, part: u64) -> u64 {
    let mut z = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ part.wrapping_add(0x632b_e59b_d9b4_e019);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
