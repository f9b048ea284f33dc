use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use plimsoll_types::{BackendSpec, Clock, Instant, Kind, Request};

use super::answer::{Job, Route, SimulatedAnswer};
use super::ask::{Fields, Wrong};
use super::dialect::{FINGERPRINT, Origin};
use super::generation::Generation;
use super::gpu::{Gpu, Work};
use super::known::{self, Known};
use super::random::mix;
use super::table::GpuModel;
use crate::{Answer, Call, Engine};

/// What a simulated model can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Skill {
    /// It writes.
    Write,
    /// It turns texts into vectors.
    Embed,
}

impl Skill {
    fn can(self, kind: Kind) -> bool {
        match kind {
            Kind::Chat | Kind::Completion | Kind::Response | Kind::Message => self == Self::Write,
            Kind::Embedding | Kind::Rerank | Kind::Score => self == Self::Embed,
            Kind::Tokenize | Kind::Detokenize | Kind::CountTokens => true,
        }
    }
}

/// One backend of the embedded fleet, shared by all cores.
#[derive(Clone)]
pub struct Simulated {
    shared: Arc<Shared>,
}

struct Shared {
    spec: BackendSpec,
    skill: Skill,
    gpu: Arc<Gpu>,
    one_way: Duration,
    seed: u64,
    epoch: u64,
    /// Requests so far.
    served: AtomicU64,
}

impl Simulated {
    /// A backend as `spec` describes it, so far away, with such a GPU. `epoch` is the origin of the clock
    /// in seconds since 1970.
    pub(super) fn new(
        spec: BackendSpec,
        skill: Skill,
        gpu: &GpuModel,
        round_trip: Duration,
        (seed, epoch): (u64, u64),
    ) -> Self {
        let (gpu, one_way) = (Arc::new(Gpu::new(gpu.time, gpu.limits())), round_trip / 2);
        let shared = Shared { spec, skill, gpu, one_way, seed, epoch, served: AtomicU64::new(0) };
        Self { shared: Arc::new(shared) }
    }

    /// What routing and operators want to know of it.
    #[must_use]
    pub fn spec(&self) -> &BackendSpec {
        &self.shared.spec
    }

    /// The engine by which one core talks to it. All of them share one GPU.
    #[must_use]
    pub fn engine(&self, clock: Arc<dyn Clock>) -> Rc<dyn Engine> {
        let Shared { gpu, one_way, epoch, .. } = &*self.shared;
        let route = Route { clock, gpu: Arc::clone(gpu), one_way: *one_way, epoch: *epoch };
        Rc::new(SimulatedEngine { shared: Arc::clone(&self.shared), route })
    }
}

struct SimulatedEngine {
    shared: Arc<Shared>,
    route: Route,
}

impl Engine for SimulatedEngine {
    fn start(&self, call: &Call<'_>) -> Box<dyn Answer> {
        let now = self.route.clock.now();
        let origin = Origin {
            serial: mix(self.shared.seed, self.shared.served.fetch_add(1, Relaxed)),
            created: self.shared.epoch + now.as_nanos() / 1_000_000_000,
            fingerprint: FINGERPRINT,
            model: call.alias.unwrap_or(&call.request.envelope.model).to_owned(),
            shows_usage: call.request.envelope.protocol.shows_usage(),
        };
        let answer = job(self.shared.skill, call.request, origin)
            .and_then(|(job, work)| self.answer(job, work, now))
            .or_else(|wrong| self.answer(Job::Known(Known::from(wrong)), None, now));
        Box::new(answer.expect("nothing is asked of a GPU that refuses"))
    }
}

impl SimulatedEngine {
    fn answer(&self, job: Job, work: Option<Work>, now: Instant) -> Result<SimulatedAnswer, Wrong> {
        SimulatedAnswer::new(self.route.clone(), job, work, now).map_err(Wrong::from)
    }
}

fn job(skill: Skill, request: &Request, origin: Origin) -> Result<(Job, Option<Work>), Wrong> {
    let kind = request.envelope.kind;
    if !skill.can(kind) {
        let message = format!("the model `{}` does not serve {}", request.envelope.model, kind.path());
        return Err(Wrong { message, param: Some("model"), code: Some("model_not_supported") });
    }
    let fields = Fields::read(&request.body)?;
    if matches!(kind, Kind::Chat | Kind::Completion | Kind::Response | Kind::Message) {
        let (generation, work) = Generation::read(kind, &fields, request.envelope.stream, origin)?;
        return Ok((Job::Generation(Box::new(generation)), Some(work)));
    }
    let (answer, work) = known::read(kind, &fields, &origin)?;
    Ok((Job::Known(answer), work))
}
