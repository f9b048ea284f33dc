//! What the pipeline polls: an answer of its own, or a part of one that others share.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use plimsoll_batching::micro::Ticket;
use plimsoll_engines::{Answer, Call, Engine, Failure};
use plimsoll_types::{Chunk, Clock, Head, Instant, Peeked, Sleep};

use super::drive::drive;
use super::group::{Due, Group, UnderWay};
use super::member::{Member, Told};
use crate::Shared;

/// An answer of its own, whose lane waits for its end.
pub(super) struct Lone {
    answer: Box<dyn Answer>,
    under_way: Option<UnderWay>,
    clock: Arc<dyn Clock>,
}

impl Lone {
    pub(super) fn new(answer: Box<dyn Answer>, under_way: UnderWay, clock: Arc<dyn Clock>) -> Self {
        Self { answer, under_way: Some(under_way), clock }
    }
}

impl Answer for Lone {
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        let head = ready!(self.answer.poll_head(cx));
        if !head.as_ref().is_ok_and(|head| head.status < 300) {
            self.under_way = None;
        }
        Poll::Ready(head)
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Failure>>> {
        let chunk = ready!(self.answer.poll_chunk(cx));
        let ends = chunk.as_ref().is_none_or(|chunk| chunk.as_ref().is_ok_and(|chunk| chunk.peeked.done));
        if ends && let Some(under_way) = self.under_way.take() {
            under_way.came_back(self.clock.now());
        }
        Poll::Ready(chunk)
    }
}

/// A part of an answer that others share.
pub(super) struct Part {
    member: Arc<Member>,
    group: Arc<Group>,
    ticket: Ticket,
    engine: Rc<dyn Engine>,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    /// When to look whether it is time, and what wakes it then.
    look: Option<(Instant, Sleep)>,
    state: State,
}

enum State {
    Waiting,
    Alone(Box<dyn Answer>),
    Answered(Option<Chunk>),
}

impl Part {
    pub(super) fn new(
        member: Arc<Member>,
        (group, ticket): (Arc<Group>, Ticket),
        engine: Rc<dyn Engine>,
        (shared, clock): (Arc<Shared>, Arc<dyn Clock>),
    ) -> Self {
        Self { member, group, ticket, engine, shared, clock, look: None, state: State::Waiting }
    }

    fn poll_told(&mut self, cx: &mut Context<'_>) -> Poll<Told> {
        loop {
            match self.member.hears(cx) {
                Ok(told) => return Poll::Ready(told),
                Err(false) => return Poll::Pending,
                Err(true) => {}
            }
            match self.group.next(self.clock.now(), &self.shared.snapshot().config.batching) {
                Due::Leaves(batch) => {
                    // A task, since whoever is here may leave before the others have their parts.
                    let (engine, clock) = (Rc::clone(&self.engine), Arc::clone(&self.clock));
                    tokio::task::spawn_local(drive(batch, engine, clock));
                }
                // It is called when a call comes back or the one before it leaves.
                Due::Waits(Instant::NEVER) => return Poll::Pending,
                Due::Waits(until) => {
                    if self.look.as_ref().is_none_or(|(at, _)| *at != until) {
                        self.look = Some((until, self.clock.sleep_until(until)));
                    }
                    if let Some((_, sleep)) = &mut self.look {
                        ready!(sleep.as_mut().poll(cx));
                    }
                    self.look = None;
                }
            }
        }
    }
}

impl Answer for Part {
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        if let State::Waiting = self.state {
            match ready!(self.poll_told(cx)) {
                Told::Answered(head, share) => {
                    let peeked = Peeked { usage: share.usage, done: true, ..Peeked::default() };
                    self.state = State::Answered(Some(Chunk { bytes: share.body, peeked }));
                    return Poll::Ready(Ok(head));
                }
                Told::Status(head) => {
                    self.state = State::Answered(None);
                    return Poll::Ready(Ok(head));
                }
                Told::Failed(failure) => {
                    self.state = State::Answered(None);
                    return Poll::Ready(Err(failure));
                }
                Told::Alone(under_way) => {
                    let Member { request, alias, .. } = &*self.member;
                    let call = Call { request, alias: alias.as_deref(), again: false };
                    let answer = self.engine.start(&call);
                    let clock = Arc::clone(&self.clock);
                    self.state = State::Alone(match under_way {
                        Some(under_way) => Box::new(Lone::new(answer, under_way, clock)),
                        None => answer,
                    });
                }
            }
        }
        match &mut self.state {
            State::Alone(answer) => answer.poll_head(cx),
            State::Waiting | State::Answered(_) => Poll::Pending,
        }
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Failure>>> {
        match &mut self.state {
            State::Waiting => Poll::Ready(None),
            State::Alone(answer) => answer.poll_chunk(cx),
            State::Answered(chunk) => Poll::Ready(chunk.take().map(Ok)),
        }
    }

    fn is_accounted_for(&self) -> bool {
        match &self.state {
            State::Alone(answer) => answer.is_accounted_for(),
            State::Waiting | State::Answered(_) => self.member.is_accounted_for(),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.member.leaves() {
            self.group.cancel(self.ticket);
        }
    }
}
