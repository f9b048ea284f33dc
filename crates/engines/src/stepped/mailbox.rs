use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::Failure;
use crate::simulated::ask::Wrong;
use crate::simulated::dialect::Likelihoods;
use crate::simulated::text::End;

const STOPPED: Failure = Failure::Broken("the engine stopped");

/// What the thread of an executor has for one request, and where the core that asked takes it.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    inner: Mutex<Inner>,
    left: AtomicBool,
}

#[derive(Debug, Default)]
struct Inner {
    verdict: Option<Result<Taken, Declined>>,
    mail: Mail,
    /// The vectors of texts, one after the other.
    vectors: Vec<f32>,
    failed: Option<Failure>,
    waker: Option<Waker>,
}

/// A request that is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    /// Tokens of its prompts.
    pub(super) tokens: u32,
    /// Numbers of a vector, where it asks for vectors.
    pub(super) vector: u32,
}

/// Why a request is not computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Declined {
    /// It is the caller's fault.
    Wrong(Wrong),
    /// It is not.
    Failed(Failure),
}

/// What was written since somebody looked.
#[derive(Debug, Default)]
pub(super) struct Mail {
    /// One for each token.
    pub(super) events: Vec<Event>,
    /// What all of them say.
    pub(super) text: String,
    /// How likely they were; nothing, if nobody wants to know.
    pub(super) likely: Likelihoods,
    /// Prompt tokens that did not have to be computed.
    pub(super) cached: u32,
}

/// A token was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event {
    /// Of which choice.
    pub(super) choice: u32,
    /// Where its text ends in that of the mail.
    pub(super) text_end: usize,
    /// Whether and how the choice ended with it.
    pub(super) end: Option<End>,
}

impl Mailbox {
    /// Whether the request is let in.
    pub(super) fn poll_verdict(&self, cx: &mut Context<'_>) -> Poll<Result<Taken, Declined>> {
        let mut inner = self.lock();
        match inner.verdict.take() {
            Some(verdict) => Poll::Ready(verdict),
            None => match inner.failed {
                Some(failure) => Poll::Ready(Err(Declined::Failed(failure))),
                None => wait(&mut inner, cx),
            },
        }
    }

    /// Exchanges `mail` for what was written.
    pub(super) fn poll_mail(&self, mail: &mut Mail, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        mail.events.clear();
        mail.text.clear();
        mail.likely.clear();
        let mut inner = self.lock();
        if inner.mail.events.is_empty() {
            return inner.failed.map_or_else(|| wait(&mut inner, cx), |failure| Poll::Ready(Err(failure)));
        }
        mail.cached = inner.mail.cached;
        std::mem::swap(mail, &mut inner.mail);
        inner.mail.cached = mail.cached;
        Poll::Ready(Ok(()))
    }

    /// All vectors of a request, once there are so many numbers.
    pub(super) fn poll_vectors(
        &self,
        numbers: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Vec<f32>, Failure>> {
        let mut inner = self.lock();
        if inner.vectors.len() == numbers {
            return Poll::Ready(Ok(std::mem::take(&mut inner.vectors)));
        }
        inner.failed.map_or_else(|| wait(&mut inner, cx), |failure| Poll::Ready(Err(failure)))
    }

    /// Nobody wants the rest.
    pub(super) fn leave(&self) {
        self.left.store(true, Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is complete before anything can panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait<T>(inner: &mut Inner, cx: &Context<'_>) -> Poll<T> {
    match &mut inner.waker {
        Some(waker) => waker.clone_from(cx.waker()),
        none => *none = Some(cx.waker().clone()),
    }
    Poll::Pending
}

/// The side of a mailbox that is written to. When all that write are gone, so is what has not been written.
#[derive(Debug)]
pub(super) struct Post(Arc<Mailbox>);

impl Post {
    /// Writes to `mailbox`.
    pub(super) fn new(mailbox: Arc<Mailbox>) -> Self {
        Self(mailbox)
    }

    /// Whether the caller has gone.
    pub(super) fn is_left(&self) -> bool {
        self.0.left.load(Relaxed)
    }

    /// The request is let in, or not.
    pub(super) fn decide(&self, verdict: Result<Taken, Declined>) {
        self.change(|inner| inner.verdict = Some(verdict));
    }

    /// So many tokens of a prompt were there already.
    pub(super) fn cached(&self, tokens: u32) {
        self.0.lock().mail.cached += tokens;
    }

    /// A token of `choice`: `say` appends its text, and how likely it was, and gives whether and how that ended the choice.
    pub(super) fn write(&self, choice: u32, say: impl FnOnce(&mut Mail) -> Option<End>) -> Option<End> {
        let mut ended = None;
        self.change(|inner| {
            ended = say(&mut inner.mail);
            inner.mail.events.push(Event { choice, text_end: inner.mail.text.len(), end: ended });
        });
        ended
    }

    /// The vector of the next text.
    pub(super) fn embed(&self, vector: &[f32]) {
        self.change(|inner| inner.vectors.extend_from_slice(vector));
    }

    /// What is left will not be written.
    pub(super) fn fail(&self, failure: Failure) {
        self.change(|inner| inner.failed = inner.failed.or(Some(failure)));
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        let waker = {
            let mut inner = self.0.lock();
            change(&mut inner);
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        self.fail(STOPPED);
    }
}
