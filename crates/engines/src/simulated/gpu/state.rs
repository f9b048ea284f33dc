use std::collections::{BTreeMap, VecDeque};
use std::task::Waker;
use std::time::Duration;

use plimsoll_batching::step::{Limits, Next, Refusal, SequenceId};
use plimsoll_types::{Instant, StepTime};
use smallvec::SmallVec;

use super::super::steps::Steps;
use super::{Received, Ticket, Work, Written};

/// Steps through which one who waits is woken for each.
const FOLLOWED: u64 = 16;
/// After them it sleeps for this part of the time that it has waited.
const PART: u32 = 16;

/// What is behind the lock of a GPU.
#[derive(Debug)]
pub(super) struct State {
    pub(super) steps: Steps,
    /// When the last thing happened.
    told: Instant,
    /// Requests on their way, in the order of their arrivals.
    arriving: VecDeque<(Instant, Ticket)>,
    /// By ticket, and the tickets that nobody has.
    requests: Vec<Request>,
    vacant: Vec<Ticket>,
    /// Whose a sequence is, by its slot.
    owners: Vec<Owner>,
    /// Those that sleep through steps, in the order of their arrivals.
    line: BTreeMap<(Instant, Ticket), Waker>,
}

#[derive(Debug, Default)]
struct Request {
    /// What it asks, until it has arrived.
    work: Option<Work>,
    arrives: Instant,
    sequences: SmallVec<[SequenceId; 1]>,
    /// How many of them are not over.
    left: u32,
    /// What was written when and has not been received.
    mail: VecDeque<(Instant, u32)>,
    cached: u32,
    /// When something was last written, or when it arrived.
    heard: Instant,
    /// The number of the step from which on it follows every step.
    since: u64,
    in_line: bool,
}

#[derive(Debug, Clone, Copy)]
struct Owner {
    ticket: Ticket,
    index: u32,
    /// Whether what is cached of it is still to be counted: when it is let in first, and for one copy of a prompt.
    counts: bool,
}

impl State {
    pub(super) fn new(time: StepTime, limits: Limits) -> Self {
        Self {
            steps: Steps::new(time, limits),
            told: Instant::ORIGIN,
            arriving: VecDeque::new(),
            requests: Vec::new(),
            vacant: Vec::new(),
            owners: Vec::new(),
            line: BTreeMap::new(),
        }
    }

    pub(super) fn enter(&mut self, work: Work, arrives: Instant) -> Result<Ticket, Refusal> {
        work.sequences().try_for_each(|sequence| self.steps.scheduler().check(&sequence))?;
        let ticket = self.vacant.pop().unwrap_or_else(|| {
            self.requests.push(Request::default());
            self.requests.len() as Ticket - 1
        });
        let left = work.outputs.len() as u32;
        self.requests[ticket as usize] =
            Request { work: Some(work), arrives, left, heard: arrives, ..Request::default() };
        let at = self.arriving.partition_point(|(other, _)| *other <= arrives);
        self.arriving.insert(at, (arrives, ticket));
        Ok(ticket)
    }

    /// Lets the next thing happen that was due by `now`; false if there is none. `wake` gets whom it concerns.
    pub(super) fn advance(&mut self, now: Instant, wake: &mut SmallVec<[Waker; 4]>) -> bool {
        let arrival = self.arriving.front().map_or(Instant::NEVER, |(at, _)| *at);
        let end = self.steps.ends().unwrap_or(Instant::NEVER);
        if arrival.min(end) > now {
            return false;
        }
        if arrival <= end {
            self.arrive()
        } else {
            self.finish(end, wake)
        }
        true
    }

    /// The next request arrives: all its sequences queue before a step may begin with the first.
    fn arrive(&mut self) {
        let Some((at, ticket)) = self.arriving.pop_front() else { return };
        let request = &mut self.requests[ticket as usize];
        let Some(work) = request.work.take() else { return };
        for (index, sequence) in work.sequences().enumerate() {
            let id = self.steps.queue(&sequence).expect("it was checked when it entered");
            let owner = Owner { ticket, index: index as u32, counts: index % work.copies() == 0 };
            match self.owners.get_mut(id.slot()) {
                Some(slot) => *slot = owner,
                None => self.owners.push(owner),
            }
            request.sequences.push(id);
        }
        self.told = self.told.max(at);
        if self.steps.ends().is_none() {
            self.steps.start(self.told);
            self.note_admitted();
        }
        self.requests[ticket as usize].since = self.steps.tally().steps;
    }

    /// The step under way ends at `at`, and the next begins.
    fn finish(&mut self, at: Instant, wake: &mut SmallVec<[Waker; 4]>) {
        let (requests, owners, line) = (&mut self.requests, &self.owners, &mut self.line);
        let step = self.steps.tally().steps;
        self.steps.finish(|wrote| {
            let owner = &owners[wrote.id.slot()];
            let request = &mut requests[owner.ticket as usize];
            request.mail.push_back((at, owner.index));
            request.left -= u32::from(wrote.last);
            (request.heard, request.since) = (at, step);
            if std::mem::take(&mut request.in_line) {
                wake.extend(line.remove(&(request.arrives, owner.ticket)));
            }
            Next::Continue
        });
        self.told = at;
        self.note_admitted();
    }

    /// Notes what is cached of those who are let in for the step that begins.
    fn note_admitted(&mut self) {
        for admitted in self.steps.plan().admitted() {
            let owner = &mut self.owners[admitted.id.slot()];
            if std::mem::take(&mut owner.counts) {
                self.requests[owner.ticket as usize].cached += admitted.cached;
            }
        }
    }

    pub(super) fn receive(
        &mut self,
        ticket: Ticket,
        (now, one_way): (Instant, Duration),
        written: &mut Written,
        waker: &Waker,
    ) -> Result<Received, Instant> {
        let request = &mut self.requests[ticket as usize];
        if std::mem::take(&mut request.in_line) {
            self.line.remove(&(request.arrives, ticket));
        }
        if request.work.is_some() {
            return Err(request.arrives);
        }
        let Some(&(at, _)) = request.mail.front() else {
            if request.left == 0 {
                return Ok(Received { at: request.heard, cached: request.cached, over: true });
            }
            return Err(self.may_write(ticket, now, waker));
        };
        if at + one_way > now {
            return Err(at);
        }
        while let Some((_, index)) = request.mail.front().filter(|(other, _)| *other == at) {
            written.push(*index);
            request.mail.pop_front();
        }
        let over = request.left == 0 && request.mail.is_empty();
        Ok(Received { at, cached: request.cached, over })
    }

    /// When something may be written for a request that has no mail: at the end of a step, but whoever has waited
    /// through many does not look at each.
    fn may_write(&mut self, ticket: Ticket, now: Instant, waker: &Waker) -> Instant {
        let request = &mut self.requests[ticket as usize];
        let ends = self.steps.ends().expect("somebody is not over, so a step is under way");
        let later = now + now.since(request.heard) / PART;
        if later <= ends || self.steps.tally().steps - request.since <= FOLLOWED {
            return ends;
        }
        request.in_line = true;
        self.line.insert((request.arrives, ticket), waker.clone());
        later
    }

    /// Frees what a request has. Gives the waker of the first in line, which may be let in now.
    pub(super) fn leave(&mut self, ticket: Ticket) -> Option<Waker> {
        let request = std::mem::take(&mut self.requests[ticket as usize]);
        request.sequences.iter().for_each(|id| self.steps.cancel(*id));
        if request.work.is_some() {
            self.arriving.retain(|(_, other)| *other != ticket);
        }
        if request.in_line {
            self.line.remove(&(request.arrives, ticket));
        }
        self.vacant.push(ticket);
        let ((_, first), waker) = self.line.pop_first()?;
        let first = &mut self.requests[first as usize];
        (first.since, first.in_line) = (self.steps.tally().steps, false);
        Some(waker)
    }
}
