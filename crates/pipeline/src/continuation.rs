//! A stream that loses its backend after its first token goes on at another one: the client sees a pause, and no seam.
//!
//! ```text
//!   TokenStream ── its backend is lost ──▶ go_on: what was told ──▶ attempts elsewhere ──▶ TokenStream
//!                                             │ it cannot be continued
//!                                             └──▶ an error event
//! ```
//!
//! What can be continued, and how it is asked for, [`plimsoll_engines::continuation`] knows. It takes a try from the budget, so
//! that others make fewer, but the budget does not forbid it: what is left to write was promised already, a backend that dies
//! takes many streams with it at once, and how often one goes on is bounded.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use plimsoll_engines::continuation::Told;
use plimsoll_routing::{Allowed, Backend};
use plimsoll_types::{Chunk, Instant, Kind, Request, ServeError};

use crate::Pipeline;
use crate::begin::{Job, Live, attempts, live};
use crate::shared::Lane;

/// An answer that is about to begin, or to go on.
pub(crate) type Beginning = Pin<Box<dyn Future<Output = Result<Live, ServeError>>>>;

/// What it takes to ask for the rest of an answer.
pub(crate) struct Rest {
    core: Rc<Pipeline>,
    /// As the caller sent it.
    request: Request,
    lane: Arc<Lane>,
    allowed: Allowed,
    told: Told,
    /// How often it may still go on.
    left: u64,
    /// The slots of the backends that it has lost.
    lost: Vec<usize>,
}

impl Rest {
    /// What is kept of a job whose stream has begun; nothing where it never goes on.
    pub(crate) fn of(job: &Job) -> Option<Box<Self>> {
        let left = job.held.snapshot.config.continuations;
        if left == 0 || job.lane.pool.members.len() < 2 {
            return None;
        }
        Some(Box::new(Self {
            told: Told::of(&job.request)?,
            core: Rc::clone(&job.core),
            request: job.request.clone(),
            lane: Arc::clone(&job.lane),
            allowed: job.allowed,
            left,
            lost: Vec::new(),
        }))
    }

    /// Counts how an answer ended that went on elsewhere: as continued only if all of it came.
    pub(crate) fn ends(&self, whole: bool) {
        if !self.lost.is_empty() {
            self.lane.metrics.continued(whole);
        }
    }

    /// A piece of the stream came: gives what of it the client is to be told.
    pub(crate) fn hear(&mut self, chunk: Chunk) -> Chunk {
        self.told.hear(chunk)
    }
}

/// Lets the rest of an answer be asked for, whose backend is lost for this reason, which is told if nobody goes on; gives it
/// back where that cannot be.
pub(crate) fn go_on(mut live: Box<Live>, why: &ServeError, now: Instant) -> Result<Beginning, Box<Live>> {
    let Some(mut rest) = live.rest.take() else { return Err(live) };
    let Some(mut request) = rest.told.rest(&rest.request).filter(|_| rest.left > 0) else {
        live.rest = Some(rest);
        return Err(live);
    };
    rest.left -= 1;
    let _ = rest.core.budget.borrow_mut().withdraw(now, &live.held.snapshot.config);
    // How long the caller bears silence counts from the last token.
    request.envelope.received = now;
    let Live { dispatched, mut held, .. } = *live;
    held.watch.answer.borrow_mut().take();
    held.watch.limit.set(Instant::NEVER);
    held.watch.backend.borrow_mut().take();
    held.meter.goes_on();
    rest.lost.push(dispatched.backend.slot);
    // It gives back what it has taken there.
    drop(dispatched);
    let (core, lane) = (Rc::clone(&rest.core), Arc::clone(&rest.lane));
    let job = Job { core, request, lane, allowed: rest.allowed, part_of: None, goes_on: true, held };
    Ok(Box::pin(elsewhere(job, rest, why.clone())))
}

async fn elsewhere(mut job: Job, rest: Box<Rest>, why: ServeError) -> Result<Live, ServeError> {
    let begun = attempts(&mut job, &rest.lost).await;
    match begun {
        Ok(begun) => Ok(Live { rest: Some(rest), ..live(job, begun) }),
        Err(error) => {
            tracing::debug!(request_id = %job.request.envelope.id, %error, "nobody goes on with a broken stream");
            job.lane.metrics.continued(false);
            job.held.meter.broken_stream(&why);
            Err(why)
        }
    }
}

/// Engines that take what was told of a chat as the beginning of its answer. Others would begin a new one, and nobody would
/// notice but the reader.
const CONTINUE_CHATS: [&str; 3] = ["vllm", "sglang", "llamacpp"];

/// Whether `backend` writes on where an answer of this kind broke: as it is said, or else by what it says of itself.
pub(crate) fn writes_on(backend: &Backend, kind: Kind) -> bool {
    let known = || backend.seen.reporting().is_some_and(|by| CONTINUE_CHATS.contains(&by.engine));
    kind == Kind::Completion || backend.spec.continues_chats.unwrap_or_else(known)
}
