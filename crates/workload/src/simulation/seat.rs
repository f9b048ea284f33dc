use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use plimsoll_batching::step::SequenceId;
use plimsoll_engines::Failure;
use plimsoll_types::Instant;

/// A request's place at a station, shared by the GPU and the request's own task.
pub(super) struct Seat {
    /// From which gateway it came.
    pub(super) gateway: usize,
    /// Which rank works on it.
    pub(super) rank: usize,
    /// Whether its answer is a stream; if not, all of it is told at its end.
    pub(super) streams: bool,
    /// Its name on the GPU, as long as it is there.
    pub(super) id: Cell<Option<SequenceId>>,
    /// Tokens that the gateway was told of and has not taken.
    told: Cell<u32>,
    /// Tokens that were written, and those of them that are on their way or there.
    written: Cell<u32>,
    delivered: Cell<u32>,
    /// When its last token was written.
    pub(super) last_write: Cell<Instant>,
    next_report: Cell<Instant>,
    /// Prompt tokens that were known already, once it was let in.
    pub(super) cached: Cell<Option<u32>>,
    complete: Cell<bool>,
    failed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// What is new at a seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct News {
    /// Tokens that came.
    pub(super) tokens: u32,
    /// Whether they are the last, and how many prompt tokens were known already.
    pub(super) last: Option<u32>,
}

impl Seat {
    /// A request from this gateway for this rank, on whose GPU it is not yet.
    pub(super) fn new(gateway: usize, rank: usize, streams: bool) -> Self {
        Self {
            gateway,
            rank,
            streams,
            id: Cell::new(None),
            told: Cell::new(0),
            written: Cell::new(0),
            delivered: Cell::new(0),
            last_write: Cell::default(),
            next_report: Cell::default(),
            cached: Cell::new(None),
            complete: Cell::new(false),
            failed: Cell::new(false),
            waker: RefCell::default(),
        }
    }

    /// A token was written, or a prompt read for which nothing is written. Gives how many pieces the gateway is to be
    /// told of now.
    pub(super) fn wrote(&self, now: Instant, last: bool, coalesce: Option<Duration>) -> u32 {
        self.written.set(self.written.get() + 1);
        if !self.streams && !last {
            return 0;
        }
        if let Some(every) = coalesce {
            if self.written.get() > 1 && !last && now < self.next_report.get() {
                return 0;
            }
            self.next_report.set(now + every);
        }
        let tokens = self.written.get() - self.delivered.get();
        self.delivered.set(self.written.get());
        tokens
    }

    /// Takes what is new; the station may have lost it.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<Result<News, Failure>> {
        if self.told.get() > 0 {
            let tokens = self.told.take();
            let last = self.complete.get().then(|| self.cached.get().unwrap_or(0));
            return Poll::Ready(Ok(News { tokens, last }));
        }
        if self.failed.get() {
            return Poll::Ready(Err(Failure::Broken("the backend died")));
        }
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Whether anything came or will not come.
    pub(super) fn has_news(&self) -> bool {
        self.told.get() > 0 || self.failed.get()
    }

    /// Tokens arrived at the gateway.
    pub(super) fn tell(&self, tokens: u32, last: bool) {
        self.told.set(self.told.get() + tokens);
        self.complete.set(last);
        self.wake();
    }

    /// The backend lost it.
    pub(super) fn fail(&self) {
        self.failed.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}
