//! Engines that compute steps: the scheduler of [`plimsoll_batching::step`] over an [`Executor`].
//!
//! An executor has a thread of its own. Between two steps that thread takes in who came and lets go who left; what was
//! written is put into the mailbox of its request, from which the core that asked takes it.
//!
//! ```text
//!   start ── ask: fields ──▶ inbox ──▶ driver: read, schedule ──▶ executor: step
//!                                         │                          │
//!   poll ◀── answer: dialect ◀── mailbox ◀┴──── text: stop strings ◀─┘
//! ```
//!
//! Nothing ends silently: where an executor fails, all that it was working on ends with an error, and it is loaded
//! again when the next request comes.
//!
//! Hot path: a token costs no allocation on its way, and one short lock for each request that it concerns.

mod answer;
mod ask;
mod driver;
mod embedding;
mod mailbox;
mod metrics;
mod ready;
mod sequence;
#[cfg(test)]
mod tests;
mod text;
mod texts;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};

use plimsoll_types::{Clock, Kind, Request, StepTime};
use tokio::sync::oneshot;

use crate::executor::Executor;
use crate::simulated::ask::Wrong;
use crate::simulated::dialect::Origin;
use crate::{Answer, Call, Engine, Failure};
use answer::SteppedAnswer;
use ask::Ask;
use driver::{Driver, Entering};
use embedding::EmbeddingAnswer;
use mailbox::{Mailbox, Post};

const GONE: Failure = Failure::Unreachable("the engine has stopped");

/// What an engine is told of itself.
#[derive(Clone)]
pub struct Setup {
    /// Its name, for metrics.
    pub name: String,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// The origin of the clock in seconds since 1970.
    pub epoch: u64,
    /// How long steps should take, if that is known.
    pub time: Option<StepTime>,
}

/// How loaded an engine is, as it was after its latest step.
#[derive(Debug, Default)]
pub struct Load {
    running: AtomicU32,
    waiting: AtomicU32,
    /// In thousandths.
    kv: AtomicU32,
}

impl Load {
    /// Sequences that are computed.
    #[must_use]
    pub fn running(&self) -> u32 {
        self.running.load(Relaxed)
    }

    /// Sequences that wait.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Relaxed)
    }

    /// The share of memory for keys and values that is held.
    #[must_use]
    pub fn kv_use(&self) -> f64 {
        f64::from(self.kv.load(Relaxed)) / 1_000.0
    }
}

/// What is said to the thread of an executor.
enum Command {
    /// A request comes.
    Enter(Entering),
    /// Somebody asks for the models.
    Models(oneshot::Sender<Result<Vec<String>, Failure>>),
}

/// One engine that computes steps, shared by all cores.
#[derive(Clone)]
pub struct Stepped {
    shared: Arc<Shared>,
}

struct Shared {
    setup: Setup,
    inbox: Sender<Command>,
    load: Arc<Load>,
    /// Decides ids, and what is drawn for those who bring no seed.
    serial: AtomicU64,
}

impl Stepped {
    /// Gives `executor` a thread. It is loaded when the first request comes, or somebody asks for its models.
    ///
    /// # Errors
    ///
    /// If the system has no thread left.
    pub fn start(executor: Box<dyn Executor>, setup: Setup) -> std::io::Result<Self> {
        let (inbox, commands) = channel();
        let load = Arc::new(Load::default());
        let driver = Driver::new(executor, &setup, Arc::clone(&load));
        std::thread::Builder::new().name("executor".into()).spawn(move || drive(driver, &commands))?;
        let serial = AtomicU64::new(seed());
        Ok(Self { shared: Arc::new(Shared { setup, inbox, load, serial }) })
    }

    /// The engine by which one core talks to it.
    #[must_use]
    pub fn engine(&self) -> Rc<dyn Engine> {
        Rc::new(SteppedEngine { shared: Arc::clone(&self.shared) })
    }

    /// Has the executor loaded now: what takes a while should not be waited for by the first request.
    pub fn prepare(&self) {
        let (asker, _) = oneshot::channel();
        // Where the thread has gone, whoever asks next is told.
        let _ = self.shared.inbox.send(Command::Models(asker));
    }

    /// The models that it serves.
    ///
    /// # Errors
    ///
    /// If the executor is not ready.
    pub async fn models(&self) -> Result<Vec<String>, Failure> {
        let (asker, answer) = oneshot::channel();
        self.shared.inbox.send(Command::Models(asker)).map_err(|_| GONE)?;
        answer.await.map_err(|_| GONE)?
    }

    /// How loaded it is.
    #[must_use]
    pub fn load(&self) -> &Load {
        &self.shared.load
    }
}

/// A number that no other process begins with.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

/// Runs until no core can ask any more and all is answered.
fn drive(mut driver: Driver, commands: &Receiver<Command>) {
    loop {
        let first = if driver.is_idle() {
            match commands.recv() {
                Ok(command) => Some(command),
                Err(_) => return,
            }
        } else {
            None
        };
        driver.take(first.into_iter().chain(commands.try_iter()));
        driver.step();
    }
}

struct SteppedEngine {
    shared: Arc<Shared>,
}

impl Engine for SteppedEngine {
    fn start(&self, call: &Call<'_>) -> Box<dyn Answer> {
        let Shared { setup, inbox, serial, .. } = &*self.shared;
        let request = call.request;
        let origin = Origin {
            // Numbers that differ in all their bits: some of them become seeds.
            serial: serial.fetch_add(1, Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            created: setup.epoch + setup.clock.now().as_nanos() / 1_000_000_000,
            fingerprint: "plimsoll",
            model: call.alias.unwrap_or(&request.envelope.model).to_owned(),
            shows_usage: request.envelope.protocol.shows_usage(),
        };
        let mailbox = Arc::new(Mailbox::default());
        let (ask, answer) = match asked(request, origin, &mailbox) {
            Ok(asked) => asked,
            Err(wrong) => return Box::new(SteppedAnswer::known(wrong)),
        };
        // Where the thread has gone, the post is dropped, and the mailbox says so.
        let _ = inbox.send(Command::Enter(Entering { ask, post: Arc::new(Post::new(mailbox)) }));
        answer
    }
}

/// What a request asks, and the answer that comes into `mailbox`.
fn asked(request: &Request, origin: Origin, mailbox: &Arc<Mailbox>) -> Result<(Ask, Box<dyn Answer>), Wrong> {
    let mailbox = Arc::clone(mailbox);
    if request.envelope.kind == Kind::Embedding {
        let (ask, answer) = EmbeddingAnswer::read(request, origin, mailbox)?;
        return Ok((ask, Box::new(answer)));
    }
    let created = origin.created;
    let (ask, dialect) = Ask::read(request, origin)?;
    let answer = SteppedAnswer::new(mailbox, (dialect, ask.choices()), request.envelope.stream, created);
    Ok((ask, Box::new(answer)))
}
