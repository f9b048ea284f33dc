//! How much a backend takes at a time, learned from evidence: prompts that it reads at once, and seats.
//!
//! ```text
//!                requests are held, it reports that nothing waits, first tokens come in time
//!   one prompt ────────────────────────────────────────────────────────────────────────────▶ more at a time
//!       ▲                                                                                         │
//!       └───────────── first tokens come later for what was ahead, or requests wait there ────────┘
//! ```
//!
//! Most engines read one prompt after the other, so every backend begins at one. An address in front of eight
//! data-parallel ranks reads eight. Only evidence shows that, in this order: the backend's own report, measured
//! times, the prediction. Each rise is a trial: it is judged by requests that were sent after it, and a trial that fails
//! makes the next one wait longer, at its peers too: what one of them takes at a time, the others take as well as a rule.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_types::Instant;

use crate::Report;
use crate::sync::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// No backend is taken to read more prompts at a time.
const MOST_PROMPTS: f32 = 1_024.0;
/// The pause before a trial; after each trial that failed it is twice as long.
const TRIAL: Duration = Duration::from_secs(1);
const LONGEST_TRIAL: Duration = Duration::from_secs(64);
/// First tokens in time that confirm a rise, so that the next one may follow without a pause.
const CONFIRMED: u32 = 2;
/// Requests were held this long ago at most, or there is no reason to rise.
const HELD: Duration = Duration::from_millis(500);
/// A report tells of now for this long: twice the longest pause between polls of an engine that is polled seldom.
const TELLS: Duration = Duration::from_secs(10);
/// Reports of an engine that works differ from one another within this time.
const MOVES: Duration = Duration::from_secs(30);
/// What was learned begins to fade after this long without need.
const NEEDED: Duration = Duration::from_secs(60);
/// Seconds below which a delay is noise of the network and the scheduler.
const NOISE: f32 = 0.005;

/// What a pick reads of it. Hot path: no allocation, no lock, no await.
#[derive(Debug)]
pub(crate) struct Capacity {
    /// Prompts that are read at a time, as bits of an `f32`.
    prompts: AtomicU32,
    /// Requests that run at a time; [`u32::MAX`] as long as that is not known.
    seats: AtomicU32,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { prompts: AtomicU32::new(1.0_f32.to_bits()), seats: AtomicU32::new(u32::MAX) }
    }
}

impl Capacity {
    /// Prompts that are read at a time, from 1.
    #[inline(always)]
    pub(crate) fn prompts(&self) -> f32 {
        f32::from_bits(self.prompts.load(Relaxed))
    }

    /// Requests that run at a time; `None` as long as that is not known.
    #[inline(always)]
    pub(crate) fn seats(&self) -> Option<u32> {
        Some(self.seats.load(Relaxed)).filter(|seats| *seats != u32::MAX)
    }

    fn set_prompts(&self, prompts: f32) {
        self.prompts.store(prompts.clamp(1.0, MOST_PROMPTS).to_bits(), Relaxed);
    }
}

/// One first token, beside what was predicted of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// When the request was sent.
    pub(crate) sent: Instant,
    /// Seconds of reading that were ahead of it, as predicted for one prompt after the other.
    pub(crate) ahead: f32,
    /// Seconds that its own prompt was predicted to take.
    pub(crate) own: f32,
    /// Seconds that it took, without the network and without what does not depend on the prompt.
    pub(crate) elapsed: f32,
    /// Requests whose prompts were unread there when it was sent.
    pub(crate) unread: u32,
}

impl Sample {
    /// How many prompts were there to be read at once, its own included.
    fn at_once(&self) -> f32 {
        1.0 + (self.unread as f32).max(self.ahead / self.own.max(1e-6))
    }
}

/// What this gateway has at a backend.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Own {
    /// Requests in flight.
    pub(crate) in_flight: u32,
    /// Those of them whose prompts are unread.
    pub(crate) unread: u32,
}

/// The evidence on which a [`Capacity`] rises and falls. Read and written beside a pick only.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// Seconds by prediction that a prompt takes with the backend to itself: the factor as bits of an `f32`, 0 before the
    /// first.
    alone: AtomicU32,
    /// First tokens in time since the last change.
    in_time: AtomicU32,
    prompts: Trial,
    /// Trials of two prompts in the place of one, of this backend and its peers.
    peers: Arc<Trial>,
    /// Nanoseconds of the last report that none waited, though as many prompts were unread as are read at a time.
    took_all: AtomicU64,
    /// Nanoseconds when the number of prompts was last lowered.
    lowered: AtomicU64,
    seats: Trial,
    /// Nanoseconds when requests were last held though it serves; 0 before that.
    held: AtomicU64,
    /// Nanoseconds of the last report that says how many wait; 0 before the first.
    reported: AtomicU64,
    /// Requests that waited there, and that ran, by that report.
    waited: AtomicU32,
    ran: AtomicU32,
    /// Nanoseconds when a report last differed from the one before it.
    moved: AtomicU64,
    /// Nanoseconds of the last report that said that some waited.
    last_waited: AtomicU64,
}

/// When something was last changed, and when it may next be raised. All in nanoseconds.
#[derive(Debug, Default)]
struct Trial {
    changed: AtomicU64,
    next: AtomicU64,
    pause: AtomicU64,
}

impl Trial {
    fn changed(&self) -> Instant {
        Instant::from_nanos(self.changed.load(Relaxed))
    }

    fn is_due(&self, now: Instant) -> bool {
        now.as_nanos() >= self.next.load(Relaxed)
    }

    fn raised(&self, now: Instant) {
        self.changed.store(now.as_nanos(), Relaxed);
        self.next.store((now + TRIAL).as_nanos(), Relaxed);
    }

    fn has_failed(&self) -> bool {
        self.pause.load(Relaxed) > 0
    }

    fn succeeded(&self) {
        self.pause.store(0, Relaxed);
        self.next.store(0, Relaxed);
    }

    fn failed(&self, now: Instant) {
        let pause = Duration::from_nanos(self.pause.load(Relaxed) * 2).clamp(TRIAL, LONGEST_TRIAL);
        self.pause.store(pause.as_nanos() as u64, Relaxed);
        self.changed.store(now.as_nanos(), Relaxed);
        self.next.store((now + pause).as_nanos(), Relaxed);
    }
}

impl Evidence {
    /// The evidence of a backend that has peers.
    pub(crate) fn beside(peer: &Self) -> Self {
        Self { peers: Arc::clone(&peer.peers), ..Self::default() }
    }

    /// A first token came: whether it came later for what was ahead of it.
    pub(crate) fn answered(&self, now: Instant, sample: Sample, capacity: &Capacity) {
        let Some(late) = self.is_late(&sample) else { return };
        if late {
            // Those that were sent together before it was lowered are late together.
            if sample.sent < Instant::from_nanos(self.lowered.load(Relaxed)) {
                return;
            }
            self.in_time.store(0, Relaxed);
            if capacity.prompts() > 1.0 {
                self.lower(now, capacity, 0.75);
            }
            return;
        }
        // What was sent before the last change, or while hardly anything was there, says nothing of how much may be there.
        if sample.sent < self.prompts.changed() || sample.at_once() < 0.9 * capacity.prompts() {
            return;
        }
        let in_time = self.in_time.fetch_add(1, Relaxed) + 1;
        if in_time >= CONFIRMED && self.is_held(now) && capacity.prompts() > 1.0 {
            self.in_time.store(0, Relaxed);
            self.prompts.succeeded();
            self.peers.succeeded();
            capacity.set_prompts((capacity.prompts() * 1.5).ceil());
            self.prompts.raised(now);
        }
    }

    /// A whole answer came. When its prompt was read is not observed, so it can only show that it was in time.
    pub(crate) fn answered_whole(&self, now: Instant, sample: Sample, capacity: &Capacity) {
        if self.is_late(&sample) == Some(false) {
            self.answered(now, sample, capacity);
        }
    }

    /// Whether a first token was later than it would have been with nothing ahead of it; `None` where hardly anything was,
    /// or it is not known how long a prompt takes alone.
    fn is_late(&self, sample: &Sample) -> Option<bool> {
        let factor = sample.elapsed.max(0.0) / sample.own.max(1e-6);
        let alone = f32::from_bits(self.alone.load(Relaxed));
        if sample.ahead < 0.25 * sample.own || alone == 0.0 || factor < alone {
            // With little ahead it is the time alone, and with much ahead it is no less than that.
            let weight = match factor < alone {
                _ if alone == 0.0 => 1.0,
                true => 0.1,
                false => 0.2,
            };
            let known = alone + (factor - alone) * weight;
            self.alone.store(known.max(f32::MIN_POSITIVE).to_bits(), Relaxed);
        }
        if sample.ahead < 0.5 * sample.own || alone == 0.0 {
            return None;
        }
        let alone = alone.min(factor) * sample.own;
        let of_those_ahead = alone * (sample.ahead / sample.own).min(1.0);
        Some(sample.elapsed - alone > (0.5 * of_those_ahead).max(NOISE))
    }

    fn lower(&self, now: Instant, capacity: &Capacity, share: f32) {
        let prompts = capacity.prompts();
        capacity.set_prompts(if prompts > 2.0 { prompts * share } else { 1.0 });
        self.lowered.store(now.as_nanos(), Relaxed);
        // That more than one are read at a time was wrong only where not even two are.
        match prompts > 2.0 {
            true => self.prompts.raised(now),
            false => {
                self.prompts.failed(now);
                self.peers.failed(now);
            }
        }
    }

    /// Requests are held, and all that stands against this backend is what it is still to read. True if it may be given
    /// more from now on.
    pub(crate) fn try_more_prompts(&self, now: Instant, capacity: &Capacity) -> bool {
        if capacity.prompts() >= MOST_PROMPTS || !self.prompts.is_due(now) {
            return false;
        }
        // Its own report goes before everything else, and one from before the last change does not tell of it. Without one the
        // prediction stands: it is made where the configuration says that one engine is there.
        let is_first = capacity.prompts() <= 1.0;
        let tells = Instant::from_nanos(if is_first { &self.reported } else { &self.took_all }.load(Relaxed));
        if tells == Instant::ORIGIN || now - tells >= TELLS || tells < self.prompts.changed() {
            return false;
        }
        if self.is_full(capacity) || (is_first && !self.peers.is_due(now)) {
            return false;
        }
        if is_first {
            self.peers.raised(now);
        }
        self.in_time.store(0, Relaxed);
        capacity.set_prompts(capacity.prompts() * 2.0);
        self.prompts.raised(now);
        true
    }

    /// Whether as many wait there as are read at a time, by its last report: fewer only wait for the end of a step.
    fn is_full(&self, capacity: &Capacity) -> bool {
        self.waited.load(Relaxed) as f32 >= capacity.prompts()
    }

    /// Requests are held though this backend serves.
    pub(crate) fn holds(&self, now: Instant) {
        self.held.store(now.as_nanos(), Relaxed);
    }

    fn is_held(&self, now: Instant) -> bool {
        let held = self.held.load(Relaxed);
        held != 0 && now - Instant::from_nanos(held) < HELD
    }

    /// It reports how loaded it is.
    pub(crate) fn reported(&self, now: Instant, report: &Report, own: Own, capacity: &Capacity) {
        let Some(waiting) = report.waiting else { return };
        let waited = self.waited.swap(waiting, Relaxed);
        let again = waited > 0;
        if waited != waiting || report.running.is_some_and(|running| running != self.ran.load(Relaxed)) {
            self.moved.store(now.as_nanos(), Relaxed);
        }
        self.reported.store(now.as_nanos().max(1), Relaxed);
        if waiting == 0 && own.unread as f32 >= capacity.prompts().floor() {
            self.took_all.store(now.as_nanos(), Relaxed);
        }
        if waiting > 0 {
            self.last_waited.store(now.as_nanos(), Relaxed);
            if self.is_full(capacity) && capacity.prompts() > 1.0 && now > self.prompts.changed() {
                self.lower(now, capacity, 0.5);
            }
        }
        let Some(running) = report.running.filter(|running| *running > 0) else { return };
        let ran = self.ran.swap(running, Relaxed);
        match capacity.seats() {
            // As many as before run while others wait: that is all that can run.
            None if waiting > 0 && again && running == ran => capacity.seats.store(running, Relaxed),
            Some(seats) if waiting > 0 && running > seats => capacity.seats.store(running, Relaxed),
            Some(seats) if waiting > 0 && again && running < seats => {
                capacity.seats.store(running.max(seats - seats / 2), Relaxed);
                self.seats.failed(now);
            }
            Some(seats) if waiting == 0 && own.in_flight.max(running) >= seats && self.is_held(now) => {
                let more = if self.seats.has_failed() { seats / 4 + 1 } else { seats };
                capacity.seats.store(seats.saturating_add(more).min(u32::MAX - 1), Relaxed);
            }
            _ => {}
        }
    }

    /// Lets fade what was not needed for long. To be called every few seconds.
    pub(crate) fn fade(&self, now: Instant, capacity: &Capacity) {
        let long_ago = |at: u64| now - Instant::from_nanos(at) > NEEDED;
        if long_ago(self.held.load(Relaxed)) && capacity.prompts() > 1.0 {
            capacity.set_prompts(capacity.prompts() * 0.9);
        }
        if capacity.seats().is_some() && long_ago(self.last_waited.load(Relaxed)) {
            capacity.seats.store(u32::MAX, Relaxed);
            self.seats.succeeded();
        }
    }

    /// Whether the backend works on what it has got, by its own report: some run and others wait, and that changes. One that
    /// hangs may go on to report what it reported last.
    pub(crate) fn is_busy(&self, now: Instant) -> bool {
        let reported = self.reported.load(Relaxed);
        let fresh = reported != 0 && now - Instant::from_nanos(reported) < TELLS;
        let moves = now - Instant::from_nanos(self.moved.load(Relaxed)) < MOVES;
        fresh && moves && self.waited.load(Relaxed) > 0 && self.ran.load(Relaxed) > 0
    }

    /// Requests that waited there by its last report, and that ran, and when that was; `None` before the first.
    pub(crate) fn last_report(&self) -> Option<(Instant, u32, u32)> {
        let reported = self.reported.load(Relaxed);
        (reported != 0)
            .then(|| (Instant::from_nanos(reported), self.waited.load(Relaxed), self.ran.load(Relaxed)))
    }
}

#[cfg(test)]
mod tests;
