//! One try at one backend, up to the first token of a stream or the whole of a plain answer.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use plimsoll_engines::{Answer, Failure};
use plimsoll_routing::{Backend, Verdict};
use plimsoll_types::{Chunk, Clock, Head, Instant, Peeked, ServeError};
use smallvec::SmallVec;

use crate::sweeper::Watch;

/// How long a backend that pushes back without saying for how long is left alone.
const PUSHBACK: Duration = Duration::from_secs(1);
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
    Pushback(Duration),
    /// The backend refused the request, which is the request's fault.
    Refused(ServeError),
    /// The caller's time is over, or ours.
    Over(ServeError),
}

/// What second tries are made for.
pub(crate) const RETRY_REASONS: [&str; 5] = ["unreachable", "failed", "status", "timeout", "pushback"];

impl Ended {
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        match self {
            Self::Failure(Failure::Unreachable(_)) => Some(Verdict::Unreachable),
            Self::Failure(Failure::Broken(_)) | Self::Status(_) => Some(Verdict::Failed),
            Self::Timeout => Some(Verdict::Timeout),
            Self::Pushback(wait) => Some(Verdict::Pushback(*wait)),
            Self::Refused(_) => Some(Verdict::Refused),
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
            Self::Pushback(_) => Some("pushback"),
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
            Self::Pushback(retry_after) => ServeError::Pushback { retry_after },
            Self::Refused(error) | Self::Over(error) => error,
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
        429 => Err(Ended::Pushback(head.retry_after.unwrap_or(PUSHBACK))),
        // Our credentials at the backend are wrong: nothing that the caller could mend.
        401 | 403 | 407 => {
            tracing::warn!(status = head.status, "a backend refuses the gateway's credentials");
            Err(Ended::Status(head.status))
        }
        400..=499 => {
            let body = exchange.plain(head.clone()).await?;
            let bytes = body.chunks.first().map(|chunk| chunk.bytes.clone()).unwrap_or_default();
            Err(Ended::Refused(plimsoll_engines::refusal(head.status, &bytes)))
        }
        status => Err(Ended::Status(status)),
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
                return Err(Ended::Failure(Failure::Broken("it reported an error before the first token")));
            }
            size += chunk.bytes.len();
            chunks.push(chunk);
            if token_events > 0 || done || finish.is_some() || size > MAX_PRELUDE {
                return Ok(Begun { head, chunks });
            }
        }
    }

    async fn plain(&mut self, head: Head) -> Result<Begun, Ended> {
        let chunk = self.ask(|answer, cx| answer.poll_chunk(cx)).await?;
        let chunk = chunk.transpose().map_err(Ended::Failure)?.unwrap_or_else(|| Chunk {
            // An answer without a body is a whole one.
            peeked: Peeked { done: true, ..Peeked::default() },
            ..Chunk::default()
        });
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
