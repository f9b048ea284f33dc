//! A fleet whose backends do what a script says, on a clock that stands still until somebody waits.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use plimsoll_engines::{Answer, Call, Engine, Failure};
use plimsoll_pipeline::{Config, Flow, Pipeline, Shared, Snapshot, TokenStream};
use plimsoll_routing::Fleet;
use plimsoll_types::{
    BackendSpec, Blocks, Chunk, Clock, Envelope, Head, Instant, Kind, Peeked, Request, ServedModel, Sleep,
    Text, TokioClock,
};

/// What a backend does next.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Begins its answer: status, and whether a stream follows.
    Head(u16, bool),
    /// Sends an event without a token.
    Role,
    /// Sends an event with a token.
    Token,
    /// Sends an event as a real engine does.
    Event(&'static str),
    /// Sends the end of a stream.
    Done,
    /// Sends the whole of a plain answer.
    Plain,
    /// Is silent for so long.
    Wait(u64),
    /// Fails.
    Fail(Failure),
    /// Is silent for ever.
    Hang,
}

/// Scripts of one backend, one for each call.
#[derive(Default)]
pub(crate) struct Script {
    calls: RefCell<VecDeque<Vec<Step>>>,
    /// Calls that were made.
    pub(crate) made: Cell<usize>,
    /// The body of the last one.
    pub(crate) body: RefCell<Bytes>,
    /// Answers that are still wanted.
    pub(crate) open: Rc<Cell<usize>>,
}

struct Scripted {
    script: Rc<Script>,
    clock: Arc<dyn Clock>,
}

struct ScriptedAnswer {
    steps: VecDeque<Step>,
    sleep: Option<Sleep>,
    clock: Arc<dyn Clock>,
    open: Rc<Cell<usize>>,
}

impl Engine for Scripted {
    fn start(&self, call: &Call<'_>) -> Box<dyn Answer> {
        self.script.body.replace(call.request.body.clone());
        self.script.made.set(self.script.made.get() + 1);
        self.script.open.set(self.script.open.get() + 1);
        let steps = self.script.calls.borrow_mut().pop_front().unwrap_or_default().into();
        let (clock, open) = (Arc::clone(&self.clock), Rc::clone(&self.script.open));
        Box::new(ScriptedAnswer { steps, sleep: None, clock, open })
    }
}

impl Drop for ScriptedAnswer {
    fn drop(&mut self) {
        self.open.set(self.open.get() - 1);
    }
}

impl ScriptedAnswer {
    /// The next step that is not a silence.
    fn step(&mut self, cx: &mut Context<'_>) -> Poll<Option<Step>> {
        loop {
            if let Some(sleep) = &mut self.sleep {
                std::task::ready!(sleep.as_mut().poll(cx));
                self.sleep = None;
            }
            match self.steps.pop_front() {
                Some(Step::Wait(millis)) => {
                    let until = self.clock.now() + Duration::from_millis(millis);
                    self.sleep = Some(self.clock.sleep_until(until));
                }
                Some(Step::Hang) => {
                    self.steps.push_front(Step::Hang);
                    return Poll::Pending;
                }
                step => return Poll::Ready(step),
            }
        }
    }
}

impl Answer for ScriptedAnswer {
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        self.step(cx).map(|step| match step {
            Some(Step::Head(status, stream)) => Ok(Head { status, stream, ..Head::default() }),
            Some(Step::Fail(failure)) => Err(failure),
            other => panic!("the script should begin with a head, not {other:?}"),
        })
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Failure>>> {
        let chunk = |text: &'static str, peeked| {
            Some(Ok(Chunk { bytes: Bytes::from_static(text.as_bytes()), peeked }))
        };
        self.step(cx).map(|step| match step {
            Some(Step::Role) => chunk("role", Peeked::default()),
            Some(Step::Token) => chunk("token", Peeked { token_events: 1, ..Peeked::default() }),
            Some(Step::Event(data)) => {
                let peeked = plimsoll_engines::event::read(Kind::Chat, data.as_bytes()).peeked;
                // What a backend says of its errors goes no further.
                let told = if peeked.error { String::new() } else { format!("data: {data}\n\n") };
                Some(Ok(Chunk { bytes: told.into(), peeked }))
            }
            Some(Step::Done) => chunk("done", Peeked { done: true, ..Peeked::default() }),
            Some(Step::Plain) => chunk("plain", Peeked { done: true, ..Peeked::default() }),
            Some(Step::Fail(failure)) => Some(Err(failure)),
            None => None,
            other => panic!("the script has {other:?} where an event should be"),
        })
    }
}

/// A pipeline over scripted backends.
pub(crate) struct House {
    pub(crate) pipeline: Rc<Pipeline>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) scripts: Vec<Rc<Script>>,
}

impl House {
    /// A house whose backend `i` answers its calls by the scripts in `backends[i]`.
    pub(crate) fn new(config: Config, backends: Vec<Vec<Vec<Step>>>) -> Self {
        Self::narrow(config, backends, 100)
    }

    /// The same, where each backend takes so many requests at a time.
    pub(crate) fn narrow(config: Config, backends: Vec<Vec<Vec<Step>>>, max_in_flight: u32) -> Self {
        let everywhere = vec![""; backends.len()];
        Self::at(config, (backends, &everywhere), max_in_flight)
    }

    /// The same, where each backend has a label that says where it is.
    pub(crate) fn at(
        config: Config,
        (backends, places): (Vec<Vec<Vec<Step>>>, &[&str]),
        max_in_flight: u32,
    ) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::start());
        let specs = places.iter().enumerate().map(|(index, place)| BackendSpec {
            name: format!("b{index}"),
            models: vec![ServedModel::plain("m")],
            max_in_flight,
            residency: vec![(*place).to_owned()],
            ..BackendSpec::default()
        });
        // In turn: which backend comes first is part of the script.
        let routing =
            plimsoll_routing::Config { policy: "round_robin", ..plimsoll_routing::Config::default() };
        let shared = Shared::new(Snapshot::new(Fleet::new(specs.collect(), routing, None), config));
        let scripts: Vec<Rc<Script>> = backends
            .into_iter()
            .map(|calls| Rc::new(Script { calls: RefCell::new(calls.into()), ..Script::default() }))
            .collect();
        let (own, own_clock) = (scripts.clone(), Arc::clone(&clock));
        let make = Box::new(move |backend: &plimsoll_routing::Backend| -> Rc<dyn Engine> {
            Rc::new(Scripted { script: Rc::clone(&own[backend.slot]), clock: Arc::clone(&own_clock) })
        });
        let pipeline = Pipeline::new(Arc::clone(&shared), Arc::clone(&clock), make, (1, 1));
        Self { pipeline, shared, clock, scripts }
    }

    /// Calls that were made of all backends.
    pub(crate) fn calls(&self) -> usize {
        self.scripts.iter().map(|script| script.made.get()).sum()
    }

    /// What is still counted anywhere.
    pub(crate) fn held(&self) -> (u64, u32, u64, usize) {
        let fleet = &self.shared.snapshot().fleet;
        let in_flight = fleet.backends.iter().map(|backend| backend.load.in_flight()).sum();
        let queued = fleet.backends.iter().map(|backend| backend.load.queued_tokens()).sum();
        (
            self.shared.in_flight(),
            in_flight,
            queued,
            self.scripts.iter().map(|script| script.open.get()).sum(),
        )
    }

    pub(crate) fn request(&self, stream: bool) -> Request {
        let envelope = Envelope {
            id: Text::from_static("id"),
            protocol: plimsoll_types::Protocol::Http,
            kind: Kind::Chat,
            model: Text::from_static("m"),
            model_at: 0..0,
            stream,
            ask_usage: None,
            prompt_tokens: 10,
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
            received: self.clock.now(),
        };
        Request { envelope, body: Bytes::new() }
    }
}

/// What comes next.
pub(crate) async fn next(tokens: &mut TokenStream) -> Option<Flow> {
    poll_fn(|cx| tokens.poll_next(cx)).await
}

/// All that comes, in words.
pub(crate) async fn all(tokens: &mut TokenStream) -> Vec<String> {
    let mut seen = Vec::new();
    while let Some(flow) = next(tokens).await {
        seen.push(match flow {
            Flow::Chunk(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Flow::Quiet => "quiet".into(),
            Flow::Failed(error) => format!("failed: {error}"),
        });
    }
    seen
}

/// Runs a test on one core, as a pipeline does.
pub(crate) async fn on_a_core(test: impl Future<Output = ()>) {
    tokio::task::LocalSet::new().run_until(test).await;
}

/// Milliseconds between two moments.
pub(crate) fn millis(from: Instant, to: Instant) -> u64 {
    (to - from).as_millis() as u64
}
