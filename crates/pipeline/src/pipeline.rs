use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use plimsoll_engines::Engine;
use plimsoll_routing::{Allowed, Backend, Explanation, Router};
use plimsoll_telemetry::catalog;
use plimsoll_types::{Clock, Envelope, Head, Request, ServeError, Text};

use crate::begin::{Held, Job, Live, begin};
use crate::lane;
use crate::meter::Meter;
use crate::retry::Budget;
use crate::shared::{Lane, Shared, Snapshot};
use crate::sweeper::{Sweeper, Watch};
use crate::token_stream::TokenStream;

/// Makes the engine by which one core talks to a backend.
pub type MakeEngine = Box<dyn Fn(&Backend) -> Rc<dyn Engine>>;

/// The way of every request on one core.
pub struct Pipeline {
    pub(crate) shared: Arc<Shared>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) router: RefCell<Router>,
    pub(crate) budget: RefCell<Budget>,
    pub(crate) sweeper: Rc<Sweeper>,
    make_engine: MakeEngine,
    /// By the backend's slot.
    engines: RefCell<Vec<Option<Rc<dyn Engine>>>>,
    /// The snapshot of the last request.
    seen: RefCell<Arc<Snapshot>>,
}

/// An answer that may be shown to the client.
pub struct Response {
    /// Its beginning, as the backend gave it. Of a stream whose first token has not come yet, what is known.
    pub head: Head,
    /// What follows.
    pub body: TokenStream,
    /// Why it comes from where it comes, where the caller asked and the beginning is there.
    pub explanation: Option<Box<Explanation>>,
}

type Beginning = Pin<Box<dyn Future<Output = Result<Live, ServeError>>>>;

impl Pipeline {
    /// The pipeline of one core out of `cores`, whose choices are decided by `seed`.
    #[must_use]
    pub fn new(
        shared: Arc<Shared>,
        clock: Arc<dyn Clock>,
        make_engine: MakeEngine,
        (seed, cores): (u64, usize),
    ) -> Rc<Self> {
        let snapshot = shared.snapshot();
        let budget = Budget::new(cores, &snapshot.config);
        Rc::new(Self {
            sweeper: Sweeper::new(Arc::clone(&clock), Arc::clone(&shared)),
            shared,
            clock,
            router: RefCell::new(Router::new(seed)),
            budget: RefCell::new(budget),
            make_engine,
            engines: RefCell::default(),
            seen: RefCell::new(snapshot),
        })
    }

    /// Serves `request`: gives the answer once it has begun, or after `hold_headers` if it is a stream.
    ///
    /// # Errors
    ///
    /// What the caller is to be told, before anything of an answer was shown.
    pub async fn serve(self: &Rc<Self>, request: Request) -> Result<Response, ServeError> {
        let stream = request.envelope.stream;
        let job = self.admit(request)?;
        if !stream {
            return begin(job).await.map(respond);
        }
        let watch = job.held.watch.share();
        let config = &job.held.snapshot.config;
        let keep_alive = config.keep_alive;
        watch.quiet.set(self.clock.now() + config.hold_headers);
        let mut beginning: Beginning = Box::pin(begin(job));
        match poll_fn(|cx| match beginning.as_mut().poll(cx) {
            Poll::Ready(begun) => Poll::Ready(Some(begun)),
            Poll::Pending => self.held_long_enough(&watch),
        })
        .await
        {
            Some(begun) => begun.map(respond),
            None => {
                let head = Head { status: 200, stream: true, content_type: EVENT_STREAM, ..Head::default() };
                let body = TokenStream::beginning(beginning, watch, Arc::clone(&self.clock), keep_alive);
                Ok(Response { head, body, explanation: None })
            }
        }
    }

    fn held_long_enough<T>(&self, watch: &Watch) -> Poll<Option<T>> {
        if watch.fired.get() {
            let now = self.clock.now();
            if now >= watch.quiet.get() {
                return Poll::Ready(None);
            }
        }
        Poll::Pending
    }

    fn admit(self: &Rc<Self>, request: Request) -> Result<Job, ServeError> {
        let snapshot = self.shared.snapshot();
        self.notice(&snapshot);
        let lane = snapshot.lane(&request.envelope.model).inspect_err(|_| refused("model_not_found"))?;
        let allowed = allowed(&lane, &request.envelope).inspect_err(|_| refused("residency"))?;
        let permit = self.shared.admit(&snapshot.config).inspect_err(|_| refused("overloaded"))?;
        self.budget.borrow_mut().deposit(request.envelope.received, &snapshot.config);
        let meter = Meter::new(&lane, &self.clock, &request.envelope, snapshot.config.log_requests);
        let held = Held { watch: self.sweeper.watch(), meter, snapshot, _permit: Some(permit) };
        Ok(Job { core: Rc::clone(self), request, lane, allowed, part_of: None, goes_on: false, held })
    }

    /// The engine of a backend, made when it is first needed here.
    pub(crate) fn engine(&self, backend: &Backend) -> Rc<dyn Engine> {
        let mut engines = self.engines.borrow_mut();
        if engines.len() <= backend.slot {
            engines.resize(backend.slot + 1, None);
        }
        let engine = engines[backend.slot].get_or_insert_with(|| {
            lane::before((self.make_engine)(backend), backend, (&self.shared, &self.clock))
        });
        Rc::clone(engine)
    }

    /// Lets go of the engines of backends that have left the fleet, and with them of idle connections.
    fn notice(&self, snapshot: &Arc<Snapshot>) {
        if Arc::ptr_eq(&self.seen.borrow(), snapshot) {
            return;
        }
        for (slot, engine) in self.engines.borrow_mut().iter_mut().enumerate() {
            if !snapshot.fleet.backends.iter().any(|backend| backend.slot == slot) {
                *engine = None;
            }
        }
        self.seen.replace(Arc::clone(snapshot));
    }

    /// What this core shares with the others.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The time by this pipeline's clock.
    #[must_use]
    pub fn now(&self) -> plimsoll_types::Instant {
        self.clock.now()
    }
}

/// Where a request may be served.
fn allowed(lane: &Lane, envelope: &Envelope) -> Result<Allowed, ServeError> {
    let tenant = envelope.tenant.iter().flat_map(|tenant| &tenant.residency).map(String::as_str);
    let asked = envelope.residency.iter().flat_map(|places| places.split(',')).map(str::trim);
    lane.pool.allowed(tenant, asked).ok_or_else(|| ServeError::Invalid {
        message: "no backend of this model is where this request may be served: see `x-plimsoll-residency` and the \
                  tenant's residency"
            .into(),
        param: None,
        code: "residency",
    })
}

/// Counts a request that is not let in. Rare, so the handle is looked up.
fn refused(reason: &str) {
    catalog::REFUSALS.counter(&[reason]).increment(1);
}

const EVENT_STREAM: Text = Text::from_static("text/event-stream");

fn respond(mut live: Live) -> Response {
    let head = std::mem::take(&mut live.begun.head);
    live.begun.head.stream = head.stream;
    let explanation = live.dispatched.explanation.take();
    Response { head, body: TokenStream::live(live), explanation }
}
