//! One request, from when it was due to the end of its answer.
//!
//! ```text
//!   due ── late ──▶ sent ── head ──▶ first token ── gap ── gap ──▶ end
//! ```
//!
//! Polled in place by the task of the request: a token is a look at the clock and an entry in a list.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use plimsoll_engines::{Answer, Call, Engine, Failure};
use plimsoll_types::{Chunk, Clock, Instant, Peeked, Request, Sleep, Text};

use super::keys::TenantKeys;
use super::log::{Gap, Log, Seen};
use super::tally::Tally;
use super::target::said;
use crate::report::Outcome;
use crate::trace::Arrival;

/// Bytes that are read of the answer to a refused request.
const REFUSAL: usize = 64 << 10;

/// What all requests of one thread share.
pub(super) struct Core {
    pub(super) engine: Rc<dyn Engine>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) keys: TenantKeys,
    /// How long an answer may take from when its request was sent.
    pub(super) timeout: Duration,
    pub(super) log: Arc<Log>,
    pub(super) tally: Arc<Tally>,
}

/// A request on its way. Dropping it writes down what became of it: if nobody said, it is unfinished.
pub(super) struct Flight {
    core: Rc<Core>,
    seen: Seen,
    /// Who answered, where the endpoint tells.
    backend: Option<Text>,
    last_token: Instant,
    gaps: Vec<Gap>,
}

impl Flight {
    /// Sends `request`, the `number`th of the run, which was due at `due`, and follows it to its end.
    pub(super) async fn fly(
        core: Rc<Core>,
        (number, arrival): (u32, Arrival),
        due: Instant,
        request: Request,
    ) {
        let sent = core.clock.now();
        core.tally.sent();
        let seen = Seen {
            request: number,
            arrival,
            due,
            sent,
            first_token: None,
            end: sent,
            outcome: Outcome::Unfinished,
            prompt_tokens: arrival.prompt_tokens,
            cached_tokens: 0,
            output_tokens: 0,
        };
        let mut flight = Self { core, seen, backend: None, last_token: sent, gaps: Vec::new() };
        let outcome = flight.follow(&request).await;
        flight.seen.outcome = outcome;
    }

    async fn follow(&mut self, request: &Request) -> Outcome {
        let mut answer = self.core.engine.start(&Call { request, alias: None, again: false });
        let mut late = self.core.clock.sleep_until(self.seen.sent + self.core.timeout);
        let head = match within(&mut late, |cx| answer.poll_head(cx)).await {
            None => return Outcome::Timeout,
            Some(Err(failure)) => return self.failed(failure, Outcome::Failed),
            Some(Ok(mut head)) => {
                let backend = head.fields.iter().position(|(name, _)| *name == "x-plimsoll-backend");
                self.backend = backend.map(|at| head.fields.swap_remove(at).1);
                head
            }
        };
        if !(200..300).contains(&head.status) {
            return self.refused(head.status, answer.as_mut(), &mut late).await;
        }
        let mut read = Peeked::default();
        loop {
            match within(&mut late, |cx| answer.poll_chunk(cx)).await {
                None => return Outcome::Timeout,
                Some(None) => break,
                Some(Some(Err(failure))) => return self.failed(failure, Outcome::Broken),
                Some(Some(Ok(chunk))) => {
                    self.take(&chunk, head.stream);
                    read.add(chunk.peeked);
                }
            }
        }
        self.ended(read)
    }

    /// Takes a piece of the answer.
    fn take(&mut self, chunk: &Chunk, stream: bool) {
        let peeked = &chunk.peeked;
        if stream && peeked.token_events > 0 {
            self.tokens(peeked.token_events, self.core.clock.now());
        }
        if let Some(usage) = peeked.usage {
            self.seen.prompt_tokens = usage.prompt;
            self.seen.cached_tokens = usage.cached;
            // What it says is exact; until then an event counts as a token.
            let more = usage.completion.saturating_sub(self.seen.output_tokens);
            self.core.tally.tokens(more);
            self.seen.output_tokens = usage.completion;
        }
    }

    /// Tokens that came in one piece: of these the first had to be waited for, and the others none.
    fn tokens(&mut self, count: u32, now: Instant) {
        if self.seen.first_token.is_none() {
            self.seen.first_token = Some(now);
            self.core.tally.first_token(now - self.seen.due);
            if count > 1 {
                self.gaps.push(Gap { at: now, gap: Duration::ZERO, tokens: count - 1 });
            }
        } else {
            self.gaps.push(Gap { at: now, gap: now - self.last_token, tokens: count });
        }
        self.last_token = now;
        self.seen.output_tokens += count;
        self.core.tally.tokens(count);
    }

    /// How an answer ended that was transferred in full.
    fn ended(&mut self, read: Peeked) -> Outcome {
        let why = match read {
            Peeked { error: true, .. } => "the endpoint reported an error inside its stream",
            Peeked { done: false, .. } => "the stream ended without its end marker",
            _ => return Outcome::Ok,
        };
        self.core.log.fault(why);
        Outcome::Broken
    }

    fn failed(&mut self, failure: Failure, otherwise: Outcome) -> Outcome {
        self.core.log.fault(&failure.to_string());
        if matches!(failure, Failure::Unreachable(_)) { Outcome::Unreachable } else { otherwise }
    }

    /// Reads why the endpoint did not do what it was asked.
    async fn refused(&mut self, status: u16, answer: &mut dyn Answer, late: &mut Sleep) -> Outcome {
        let mut body = Vec::new();
        while body.len() < REFUSAL
            && let Some(Some(Ok(chunk))) = within(late, |cx| answer.poll_chunk(cx)).await
        {
            body.extend_from_slice(&chunk.bytes);
        }
        let said = self.core.keys.hide(&said(status, &body));
        self.core.log.fault(&format!("{status}: {said}"));
        match status {
            429 | 503 => Outcome::Overloaded,
            400..=499 => Outcome::Refused,
            _ => Outcome::Failed,
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.seen.end = self.core.clock.now();
        self.core.tally.ended(self.seen.outcome);
        self.core.log.write((&self.seen, self.backend.as_deref()), &self.gaps);
    }
}

/// What `poll` gives, unless `late` comes first.
async fn within<T>(late: &mut Sleep, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Option<T> {
    poll_fn(|cx| match poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => late.as_mut().poll(cx).map(|()| None),
    })
    .await
}
