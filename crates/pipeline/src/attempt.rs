//! One try at one backend, up to the first token of a stream or the whole of a plain answer.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use plimsoll_engines::{Answer, Failure};
use plimsoll_routing::{Backend, Verdict};
use plimsoll_types::{Chunk, Clock, Head, Instant, Peeked, Refusal, ServeError};
use smallvec::SmallVec;

use crate::sweeper::Watch;

/// How long a backend that pushes back without saying for how long is left alone.
const PUSHBACK: Duration = Duration::from_secs(1);
/// How long one is left alone whose account is empty, at least.
const LASTING: Duration = Duration::from_secs(300);
/// Bytes of an answer that may come before its first token: roles, comments, Azure's filter results.
const MAX_PRELUDE: usize = 1 << 20;

/// The beginning of an answer that is good enough to show to the client.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) head: Head,
    pub(crate) chunks: SmallVec<[Chunk; 2]>,
}

/// Why an attempt gave no such beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    Failure(Failure),
    /// The backend was silent for too long.
    Timeout,
    /// The backend answered with a status that is its own fault.
    Status(u16),
    /// The backend asks to be left alone for so long, in these words.
    Pushback(Duration, Box<Refusal>),
    /// The backend refused the request, which is the request's fault.
    Refused(Box<Refusal>),
    /// The backend refused the request, and another one may serve it: it lacks the model, or room for such a prompt, or a
    /// filter before it does not like the prompt.
    Elsewhere(Box<Refusal>),
    /// The caller's time is over, or ours.
    Over(ServeError),
}

/// Its listener is closed, and what it had to do is not done: so ends a rolling update.
pub(crate) const GONE: Failure = Failure::Broken("it closed its listener and fell silent");

/// What second tries are made for.
pub(crate) const RETRY_REASONS: [&str; 6] =
    ["unreachable", "failed", "status", "timeout", "pushback", "refused"];

impl Ended {
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        match self {
            Self::Failure(Failure::Unreachable(_)) => Some(Verdict::Unreachable),
            Self::Failure(Failure::Broken(_)) | Self::Status(_) => Some(Verdict::Failed),
            Self::Timeout => Some(Verdict::Timeout),
            // An account that is empty is not filled in seconds.
            Self::Pushback(wait, refusal) if refusal.is_lasting() => {
                Some(Verdict::Pushback((*wait).max(LASTING)))
            }
            Self::Pushback(wait, _) => Some(Verdict::Pushback(*wait)),
            Self::Refused(_) | Self::Elsewhere(_) => Some(Verdict::Refused),
            Self::Over(_) => None,
        }
    }

    /// Whether another backend may be tried, and for which of [`RETRY_REASONS`]; `None` if it makes no sense.
    pub(crate) fn retry_reason(&self) -> Option<&'static str> {
        match self {
            Self::Failure(Failure::Unreachable(_)) => Some("unreachable"),
            Self::Failure(Failure::Broken(_)) => Some("failed"),
            Self::Status(_) => Some("status"),
            Self::Timeout => Some("timeout"),
            Self::Pushback(..) => Some("pushback"),
            Self::Elsewhere(_) => Some("refused"),
            Self::Refused(_) | Self::Over(_) => None,
        }
    }

    /// Whether no byte reached the backend, so that another try costs nobody anything.
    pub(crate) fn is_free(&self) -> bool {
        matches!(self, Self::Failure(Failure::Unreachable(_)))
    }

    pub(crate) fn error(self) -> ServeError {
        match self {
            Self::Failure(Failure::Unreachable(_)) | Self::Status(503) => ServeError::NoBackend,
            Self::Failure(Failure::Broken(why)) => ServeError::Backend(why),
            Self::Status(_) => ServeError::Backend("it answered with an error of its own"),
            Self::Timeout => ServeError::Deadline("the backend took too long to begin its answer"),
            Self::Pushback(retry_after, refusal) if refusal.message.is_empty() => {
                ServeError::Pushback { retry_after }
            }
            Self::Pushback(retry_after, refusal) => {
                Refusal { retry_after: Some(retry_after), ..*refusal }.into()
            }
            Self::Refused(refusal) | Self::Elsewhere(refusal) => ServeError::Refused(refusal),
            Self::Over(error) => error,
        }
    }
}

/// When an attempt is over, and when the caller's time is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// When a backend that gives no sign of life is given up.
    pub(crate) attempt: Instant,
    /// How long after its last token, for any request, the backend counts as at work.
    pub(crate) lately: Duration,
    /// When one that is at work for others is given up too.
    pub(crate) longest: Instant,
    /// How long one that has given a sign of life may take until its first token.
    pub(crate) quiet: Duration,
    /// When the caller's time is over.
    pub(crate) caller: Instant,
}

/// Waits for the answer in `watch` to begin.
pub(crate) async fn first(
    watch: &Watch,
    clock: &dyn Clock,
    (limits, backend): (Limits, &Backend),
) -> Result<Begun, Ended> {
    watch.limit.set(limits.attempt);
    watch.caller.set(limits.caller);
    watch.fired.set(false);
    let mut exchange = Waiting { watch, clock, limits, backend };
    let head = exchange.ask(|answer, cx| answer.poll_head(cx)).await?.map_err(Ended::Failure)?;
    match head.status {
        200..=299 if head.stream => exchange.first_token(head).await,
        200..=299 => exchange.plain(head).await,
        // Our credentials at the backend are wrong: nothing that the caller could mend.
        401 | 407 => {
            tracing::warn!(status = head.status, "a backend refuses the gateway's credentials");
            Err(Ended::Status(head.status))
        }
        400..=499 | 529 => Err(judged(exchange.refusal(head).await?)),
        503 if head.retry_after.is_some() => Err(judged(exchange.refusal(head).await?)),
        status => Err(Ended::Status(status)),
    }
}

/// What a refusal means, whether it came as a status, as an event, or under a status of success.
fn judged(refusal: Refusal) -> Ended {
    let refusal = Box::new(refusal);
    match refusal.status {
        429 | 503 | 529 => Ended::Pushback(refusal.retry_after.unwrap_or(PUSHBACK), refusal),
        // A filter before one backend may not like what another serves.
        403 => Ended::Elsewhere(refusal),
        408 | 500.. => Ended::Status(refusal.status),
        _ if refusal.is_of_this_backend() => Ended::Elsewhere(refusal),
        _ => Ended::Refused(refusal),
    }
}

struct Waiting<'a> {
    watch: &'a Watch,
    clock: &'a dyn Clock,
    limits: Limits,
    backend: &'a Backend,
}

impl Waiting<'_> {
    /// Polls the answer until it gives something or a limit passes.
    async fn ask<T>(
        &mut self,
        mut poll: impl FnMut(&mut dyn Answer, &mut Context<'_>) -> Poll<T>,
    ) -> Result<T, Ended> {
        poll_fn(|cx| {
            if self.watch.fired.get() {
                self.check_limits()?;
            }
            let mut answer = self.watch.answer.borrow_mut();
            let Some(answer) = answer.as_deref_mut() else {
                return Poll::Ready(Err(Ended::Over(ServeError::Internal)));
            };
            match poll(answer, cx) {
                Poll::Ready(given) => Poll::Ready(Ok(given)),
                Poll::Pending => {
                    self.watch.wake_by(cx);
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn check_limits(&self) -> Result<(), Ended> {
        let now = self.clock.now();
        if self.watch.cut.get() {
            Err(Ended::Over(ServeError::Draining))
        } else if now >= self.watch.caller.get() {
            Err(Ended::Over(ServeError::Deadline("the time that the caller allows is over")))
        } else if self.backend.is_gone(now) {
            Err(Ended::Failure(GONE))
        } else if now < self.watch.limit.get() {
            Ok(())
        } else if now < self.limits.longest && self.backend.is_at_work(now, self.limits.lately) {
            // It is not silent: all its seats are taken, and this request waits there as it would have waited here.
            self.watch.limit.set(now + self.limits.lately);
            self.watch.fired.set(false);
            Ok(())
        } else {
            Err(Ended::Timeout)
        }
    }

    async fn first_token(&mut self, head: Head) -> Result<Begun, Ended> {
        let (mut chunks, mut size) = (SmallVec::<[Chunk; 2]>::new(), 0);
        loop {
            let chunk = self.ask(|answer, cx| answer.poll_chunk(cx)).await?;
            let Some(chunk) = chunk.transpose().map_err(Ended::Failure)? else {
                return Err(Ended::Failure(Failure::Broken("the stream ended before its first token")));
            };
            let Peeked { token_events, error, done, finish, .. } = chunk.peeked;
            if error && token_events == 0 {
                return Err(self.reported_error("it reported an error before the first token"));
            }
            if chunks.is_empty() {
                // It lives. Whether it reads, thinks, searches or holds a call of a tool back: that takes minutes.
                self.watch.limit.set(self.clock.now() + self.limits.quiet);
            }
            size += chunk.bytes.len();
            chunks.push(chunk);
            if token_events > 0 || done || finish.is_some() || size > MAX_PRELUDE {
                return Ok(Begun { head, chunks });
            }
        }
    }

    /// What the backend said of an error that it reported elsewhere than in its status.
    fn reported_error(&self, why: &'static str) -> Ended {
        let refusal = self.watch.answer.borrow_mut().as_deref_mut().and_then(Answer::refusal);
        refusal.map_or(Ended::Failure(Failure::Broken(why)), |refusal| judged(*refusal))
    }

    /// What the backend says by an answer with this head.
    async fn refusal(&mut self, head: Head) -> Result<Refusal, Ended> {
        let chunk = self.ask(|answer, cx| answer.poll_chunk(cx)).await?;
        let bytes = chunk.and_then(Result::ok).unwrap_or_default().bytes;
        let says =
            |name: &str| head.fields.iter().find(|(field, _)| *field == name).map(|(_, value)| &**value);
        Ok(Refusal {
            retry_after: head.retry_after,
            should_retry: says("x-should-retry").and_then(|word| word.parse().ok()),
            ..plimsoll_engines::refusal(head.status, &bytes)
        })
    }

    async fn plain(&mut self, head: Head) -> Result<Begun, Ended> {
        let chunk = self.ask(|answer, cx| answer.poll_chunk(cx)).await?;
        let chunk = chunk.transpose().map_err(Ended::Failure)?.unwrap_or_else(|| Chunk {
            // An answer without a body is a whole one.
            peeked: Peeked { done: true, ..Peeked::default() },
            ..Chunk::default()
        });
        if chunk.peeked.error {
            return Err(self.reported_error("it reported an error under a status of success"));
        }
        Ok(Begun { head, chunks: SmallVec::from_iter([chunk]) })
    }
}

/// Polls the answer in `watch`; `None` where it is over or was taken away.
pub(crate) fn poll_chunk(watch: &Watch, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Failure>>> {
    let mut answer = watch.answer.borrow_mut();
    match answer.as_deref_mut() {
        Some(answer) => Poll::Ready(ready!(answer.poll_chunk(cx))),
        None => Poll::Ready(None),
    }
}
