//! One core: a single-threaded runtime with its own pipeline and its own connections to backends.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use arc_swap::Guard;
use bytes::Bytes;
use plimsoll_engines::{Answer, Call, Engine, Failure};
use plimsoll_pipeline::{MakeEngine, Pipeline};
use plimsoll_routing::Backend;
use plimsoll_routing::policy::reads_prompts;
use plimsoll_telemetry::{Gauge, catalog};
use plimsoll_types::{Chunk, Clock, Head, Kind, ServeError, Tenant, Text};
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::connection::serve_connection;
use crate::house::{House, Settings};
use crate::janitor::Janitor;
use crate::openai::error::shape;
use crate::openai::peek::{Peeked, peek};
use crate::openai::prompt::Prompt;
use crate::salts;

/// What the tasks of one core share.
pub(crate) struct Core {
    pub(crate) house: Arc<House>,
    pub(crate) pipeline: Rc<Pipeline>,
    pub(crate) janitor: Rc<Janitor>,
    pub(crate) clock: Arc<dyn Clock>,
    ids: Cell<u64>,
    /// Where the beginning of a prompt is gathered.
    prompt: RefCell<Prompt>,
    id_prefix: u64,
}

/// A core as the acceptor sees it.
pub(crate) struct Seat {
    /// Its open connections.
    pub(crate) connections: AtomicUsize,
    gauge: Gauge,
}

impl Seat {
    pub(crate) fn new(index: usize) -> Arc<Self> {
        let gauge = catalog::CLIENT_CONNECTIONS.gauge(&[&index.to_string()]);
        gauge.increment(0.0);
        Arc::new(Self { connections: AtomicUsize::new(0), gauge })
    }

    /// A connection takes its place; given back when dropped.
    pub(crate) fn take(self: &Arc<Self>) -> Taken {
        self.connections.fetch_add(1, Relaxed);
        self.gauge.increment(1.0);
        Taken(Arc::clone(self))
    }
}

/// The place of one connection.
pub(crate) struct Taken(Arc<Seat>);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
        self.0.gauge.decrement(1.0);
    }
}

/// An accepted connection on its way to its core.
pub(crate) type Accepted = (std::net::TcpStream, Taken);

impl Core {
    fn new(house: Arc<House>, (seed, cores): (u64, usize)) -> Rc<Self> {
        let clock = Arc::clone(&house.clock);
        let pipeline =
            Pipeline::new(Arc::clone(&house.shared), Arc::clone(&clock), make_engine(&house), (seed, cores));
        let janitor = Janitor::start(&clock, &house);
        Rc::new(Self {
            house,
            pipeline,
            janitor,
            clock,
            ids: Cell::new(0),
            prompt: RefCell::default(),
            id_prefix: seed,
        })
    }

    pub(crate) fn settings(&self) -> Guard<Arc<Settings>> {
        self.house.settings()
    }

    /// Reads what the way through the house needs of a body, and what its prompt begins with if the policy goes by that.
    pub(crate) fn peek(
        &self,
        kind: Kind,
        body: &Bytes,
        (settings, tenant): (&Settings, Option<&Tenant>),
    ) -> Result<Peeked, ServeError> {
        let mut prompt = self.prompt.borrow_mut();
        let salt = tenant.map(|tenant| tenant.salt.clone()).unwrap_or_default();
        prompt.share_by(salt.clone());
        let wanted = reads_prompts(settings.config.routing.policy).then_some(&mut *prompt);
        let mut peeked = peek(kind, body, &settings.config.requests, wanted)?;
        if kind.streams() && !salt.is_empty() {
            peeked.cache_salt = Some(salts::splice(&salt, body, peeked.salt_at.clone()));
        }
        Ok(peeked)
    }

    /// A request id that no other request of this process has.
    pub(crate) fn new_id(&self) -> Text {
        let next = self.ids.get().wrapping_add(1);
        self.ids.set(next);
        Text::from(format!("req-{:016x}{next:012x}", self.id_prefix))
    }

    /// Counts a request that was refused at the door. Rare, so the handle is looked up.
    pub(crate) fn refused(&self, error: &ServeError) {
        catalog::REFUSALS.counter(&[shape(error).code.as_deref().unwrap_or("other")]).increment(1);
    }
}

/// The engine of a backend that has left the fleet: a request that began some configurations ago may still pick it.
struct Gone;

impl Engine for Gone {
    fn start(&self, _: &Call<'_>) -> Box<dyn Answer> {
        Box::new(Self)
    }
}

impl Answer for Gone {
    fn poll_head(&mut self, _: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        Poll::Ready(Err(Failure::Unreachable("the backend has left the fleet")))
    }

    fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Chunk, Failure>>> {
        Poll::Ready(None)
    }
}

fn make_engine(house: &Arc<House>) -> MakeEngine {
    let house = Arc::clone(house);
    Box::new(move |backend: &Backend| {
        let key = (backend.spec.name.clone(), backend.spec.identity.clone());
        let settings = house.settings();
        let openai = settings
            .engines
            .openai
            .get(&key)
            .map(|backend| -> Rc<dyn Engine> { backend.engine(&house.clock) });
        let grpc = || {
            let backend = settings.engines.grpc.get(&key);
            backend.map(|backend| -> Rc<dyn Engine> { backend.engine(&house.clock) })
        };
        let stepped = || settings.engines.stepped.get(&key).map(|backend| backend.engine());
        let simulated =
            || settings.engines.simulated.get(&key).map(|gpu| gpu.engine(Arc::clone(&house.clock)));
        openai.or_else(grpc).or_else(stepped).or_else(simulated).unwrap_or_else(|| Rc::new(Gone))
    })
}

/// Runs a core until the acceptor is gone and its last connection has ended.
pub(crate) fn run(
    house: Arc<House>,
    seed_and_cores: (u64, usize),
    mut accepted: UnboundedReceiver<Accepted>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(%error, "a core could not start"),
    };
    tokio::task::LocalSet::new().block_on(&runtime, async move {
        let core = Core::new(house, seed_and_cores);
        while let Some((stream, taken)) = accepted.recv().await {
            match TcpStream::from_std(stream) {
                Ok(stream) => {
                    let core = Rc::clone(&core);
                    tokio::task::spawn_local(async move {
                        serve_connection(core, stream).await;
                        drop(taken);
                    });
                }
                Err(error) => tracing::warn!(%error, "a connection was lost on its way to its core"),
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{assemble, config};
    use bytes::Bytes;
    use plimsoll_types::{BackendSpec, Blocks, Envelope, Instant, Kind, Request, TokioClock};
    use std::task::Waker;

    #[test]
    fn a_backend_that_left_the_fleet_cannot_be_reached_and_nothing_panics() {
        let house = assemble::house(config::Config::default(), Arc::new(TokioClock::start()), None).unwrap();
        let left = Backend::new(99, BackendSpec { name: "left".into(), ..BackendSpec::default() });
        let envelope = Envelope {
            id: Text::from_static("id"),
            protocol: plimsoll_types::Protocol::Http,
            kind: Kind::Chat,
            model: Text::from_static("m"),
            model_at: 0..0,
            stream: false,
            ask_usage: None,
            prompt_tokens: 1,
            blocks: Blocks::default(),
            max_tokens: None,
            tenant: None,
            tools: false,
            query: None,
            home: None,
            priority: plimsoll_types::Priority::Normal,
            residency: None,
            deadline: None,
            patience: None,
            forward: Vec::new(),
            explain: false,
            cache_salt: None,
            received: Instant::ORIGIN,
        };
        let request = Request { envelope, body: Bytes::new() };
        let call = Call { request: &request, alias: None, again: true };
        let mut answer = make_engine(&house)(&left).start(&call);
        let head = answer.poll_head(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(head, Poll::Ready(Err(Failure::Unreachable(_)))));
    }
}
