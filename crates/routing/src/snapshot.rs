use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use plimsoll_telemetry::{Counter, Histogram, catalog};
use plimsoll_types::{BackendSpec, Instant};

use crate::affinity::Index;
use crate::answers::Answers;
use crate::capacity::Evidence;
use crate::commitment::{Commitment, Commitments};
use crate::domain::{Domain, DomainState, Domains};
use crate::gray;
use crate::journal::Journal;
use crate::latency::Latency;
use crate::load::Share;
use crate::places::Places;
use crate::policy::{self, Policy};
use crate::ring::Ring;
use crate::sync::{AtomicBool, Ordering::Relaxed};
use crate::tally::Tally;
use crate::{Allowed, Answer, Backend, Conditions, Config, Found, Learned, Pace, RequestShape, Service};

/// Backends that can stand in for each other: those that serve one model.
pub struct Pool {
    /// The model.
    pub model: String,
    /// Its backends, at least one.
    pub members: Vec<Arc<Backend>>,
    /// How long its backends take beside what was predicted, where one's own pace is not known.
    pub pace: Arc<Pace>,
    /// The same of prompts for which nothing is written.
    pub pooled: Arc<Pace>,
    /// What they take beside reading: where something is written, and where nothing is.
    latency: Arc<[Latency; 2]>,
    /// How long answers take until what a deadline is about, by [`Answer`].
    answers: Arc<[Answers; 3]>,
    /// Whether it is news that predictions are off.
    doubted: AtomicBool,
    /// The same of the tokens after the first.
    pub writing: Arc<Pace>,
    /// What is known of its requests.
    pub learned: Arc<Learned>,
    /// Who has which prompts cached, where the policy goes by that.
    pub(crate) index: Option<Arc<Index>>,
    /// What is told to other gateways.
    pub(crate) journal: Arc<Journal>,
    /// Where prompts are at home, where the policy goes by that.
    pub(crate) ring: Option<Ring>,
    pub(crate) policy: Box<dyn Policy>,
    places: Places,
    /// What is counted of picks.
    pub(crate) tally: Tally,
    /// Prompt tokens that were expected to be cached where they went.
    pub(crate) prefix_tokens: Counter,
    /// Measured over expected time to first token.
    pub(crate) prediction: Histogram,
}

impl Pool {
    /// The pool of `model`, whose backends are chosen by `policy`.
    #[must_use]
    pub fn new(model: &str, policy: &str, members: Vec<Arc<Backend>>) -> Self {
        Self {
            model: model.to_owned(),
            tally: Tally::new((model, policy), &members),
            prefix_tokens: catalog::PREFIX_TOKENS.counter(&[model]),
            prediction: catalog::TTFT_PREDICTION.histogram(&[model]),
            ring: policy::knows_homes(policy)
                .then(|| Ring::new(members.iter().map(|member| &*member.spec.name))),
            places: Places::of(members.iter().map(|member| &member.spec)),
            members,
            pace: Arc::default(),
            pooled: Arc::default(),
            latency: Arc::default(),
            answers: Arc::default(),
            doubted: AtomicBool::new(false),
            writing: Arc::default(),
            learned: Arc::default(),
            index: None,
            journal: Arc::new(Journal::new(0)),
            policy: policy::named(policy),
        }
    }

    /// Which member has this slot.
    pub(crate) fn member_in(&self, slot: usize) -> Option<usize> {
        // Slots are given in order, and members stand in the order of the fleet.
        let found = self.members.binary_search_by_key(&slot, |member| member.slot);
        found.ok().or_else(|| self.members.iter().position(|member| member.slot == slot))
    }

    /// Where a request may be served, if any member is there: what its tenant allows, of which one must hold, and what it
    /// allows itself.
    pub fn allowed<'a>(
        &self,
        tenant: impl Iterator<Item = &'a str>,
        request: impl Iterator<Item = &'a str>,
    ) -> Option<Allowed> {
        self.places.allowed(tenant, request)
    }

    /// Whether a member is one for this request at all. Hot path.
    pub(crate) fn is_eligible(&self, member: usize, request: &RequestShape<'_>) -> bool {
        self.places.admit(member, request.allowed) && !self.members[member].is_drained()
    }

    /// A member was taken out. Where most of a domain of it is out by now, something has befallen the domain, and the rest
    /// of it is taken out too: each returns by a request of its own. What befalls all of a pool is no matter of domains.
    pub(crate) fn spread(&self, fallen: &Backend, (now, config): (Instant, &Config)) {
        for domain in fallen.domains.iter().rev() {
            let inside =
                |member: &&Arc<Backend>| member.domains.iter().any(|other| Arc::ptr_eq(other, domain));
            let count = self.members.iter().filter(inside).count();
            let is_out = |member: &&Arc<Backend>| member.outlier.service(now) != Service::Open;
            let out = self.members.iter().filter(inside).filter(is_out).count();
            if count == self.members.len() {
                return;
            }
            if out < 2 || out as f64 <= config.domain_threshold * count as f64 {
                continue;
            }
            let fell = self.members.iter().filter(inside).filter(|member| member.falls(now, config)).count();
            if fell > 0 {
                catalog::DOMAIN_EJECTIONS.counter(&[&domain.name]).increment(1);
            }
        }
    }

    /// Whether a backend that serves and may serve `request` has nothing in flight, and its slot is not among `tried`.
    #[must_use]
    pub fn has_idle(&self, request: &RequestShape<'_>, tried: &[usize]) -> bool {
        self.members.iter().enumerate().any(|(index, member)| {
            self.is_eligible(index, request)
                && !tried.contains(&member.slot)
                && member.service(request.now) == Service::Open
                && member.load.in_flight() == 0
                && member.domains_have_room()
        })
    }

    /// How things stand at `now`.
    #[must_use]
    pub fn conditions(&self, now: Instant, config: &Config) -> Conditions {
        let pace = self.pace.read(now, 1.0);
        // Other gateways send as much more as they have more in flight.
        let all = self.learned.work(now) / (1.0 - self.learned.others(now));
        let utilisation = all * pace / self.members.len() as f32;
        let (prompt, hit) = (self.learned.prompt_seconds(now), self.learned.hit(now));
        Conditions {
            pooled: self.pooled.read(now, 1.0),
            writing: self.writing.read(now, 1.0),
            ..Conditions::new((pace, utilisation, prompt, hit), config)
        }
    }

    /// How long its backends take to read for such an answer beside what was predicted.
    pub(crate) fn reading_pace(&self, answer: Answer) -> &Pace {
        if answer.is_pooled() { &self.pooled } else { &self.pace }
    }

    /// Seconds that its backends take beside reading.
    pub(crate) fn latency(&self, answer: Answer) -> &Latency {
        &self.latency[usize::from(answer.is_pooled())]
    }

    /// How long `request` takes from when it is sent until what its deadline is about: its first token if it is a stream,
    /// or all of it. `None` as long as that was not confirmed by answers of this pool.
    #[must_use]
    pub fn expected_answer(&self, request: &RequestShape<'_>) -> Option<Duration> {
        let predicted =
            self.predicted_answer(request.answer, (request.prompt_tokens, request.expected_output));
        self.answers[request.answer as usize].expected(request.now, predicted)
    }

    /// How long it takes at least, by the fastest tenth of such answers; `None` as [`Self::expected_answer`].
    #[must_use]
    pub fn least_answer(&self, request: &RequestShape<'_>) -> Option<Duration> {
        let predicted =
            self.predicted_answer(request.answer, (request.prompt_tokens, request.expected_output));
        self.answers[request.answer as usize].least(request.now, predicted)
    }

    /// Seconds that it would take on one of the backends, were that idle and its prompt not cached.
    pub(crate) fn predicted_answer(&self, answer: Answer, (prompt, output): (u32, u32)) -> f32 {
        let speed = &self.members[0].speed;
        let reading = speed.prefill(prompt.max(1), 0);
        match answer {
            Answer::Stream | Answer::Pooled => reading,
            Answer::Whole => reading + output as f32 * speed.decode(1.0, 0.0),
        }
    }

    /// An answer took so many seconds until what a deadline is about.
    pub(crate) fn answered(&self, now: Instant, answer: Answer, (predicted, took): (f32, f32)) {
        if self.answers[answer as usize].answered(now, predicted, took) {
            self.doubted.store(true, Relaxed);
        }
    }

    /// Whether its predictions have been off for the last dozen answers. Says so once.
    #[must_use]
    pub fn is_doubted(&self) -> bool {
        self.doubted.swap(false, Relaxed)
    }

    /// How many times as long as predicted its answers take, where that is farthest from once.
    #[must_use]
    pub fn prediction_error(&self) -> f32 {
        let far = |error: &f32| error.max(error.recip());
        self.answers.iter().map(Answers::error).max_by(|a, b| far(a).total_cmp(&far(b))).unwrap_or(1.0)
    }

    /// A request was sent to `backend`, one of its members.
    pub(crate) fn works(&self, now: Instant, (backend, share): (&Backend, Share)) {
        self.learned.works(now, share.nanos as f32 * 1e-9);
        self.learned.shares(now, backend.others_share(now));
    }
}

/// The fleet frozen at one instant: swapped as a whole, never changed.
pub struct Fleet {
    /// Every backend.
    pub backends: Vec<Arc<Backend>>,
    domains: Domains,
    commitments: Commitments,
    pools: HashMap<String, Arc<Pool>>,
    known: String,
    /// How the router is to behave.
    pub config: Config,
    next_slot: usize,
    /// Who has which prompts cached, where the policy goes by that.
    index: Option<Arc<Index>>,
    /// What was sent where, for other gateways.
    pub journal: Arc<Journal>,
}

/// Numbers that the journal has room for: a second of a thousand prompts of 60,000 tokens each.
const JOURNAL: usize = 1 << 19;

impl Fleet {
    /// The fleet of `specs`. A backend that `before` had under the same name with the same spec stays the one it was,
    /// with all that is in flight there and all that was learned.
    #[must_use]
    pub fn new(specs: Vec<BackendSpec>, config: Config, before: Option<&Self>) -> Self {
        let index = policy::knows_prefixes(config.policy).then(|| {
            let same = before.and_then(|fleet| fleet.index.clone());
            same.unwrap_or_else(|| Index::new(config.prefix_blocks as usize))
        });
        let knows = index.is_some();
        let journal =
            before.map_or_else(|| Arc::new(Journal::new(JOURNAL)), |fleet| Arc::clone(&fleet.journal));
        let mut domains = Domains::after(before.map(|fleet| &fleet.domains), &config.domains);
        let commitments = Commitments::after(before.map(|fleet| &fleet.commitments), &config.commitments);
        let of = |spec: &BackendSpec| spec.commitment.as_ref().and_then(|name| commitments.get(name));
        let mut next_slot = before.map_or(0, |fleet| fleet.next_slot);
        let mut backends: Vec<Arc<Backend>> = Vec::with_capacity(specs.len());
        for spec in specs {
            let known = before.map_or(&[][..], |fleet| &fleet.backends);
            let stays = |backend: &&Arc<Backend>| backend.spec == spec && backend.cache.is_some() == knows;
            if let Some(same) = known.iter().find(stays) {
                backends.push(Arc::clone(same));
                continue;
            }
            next_slot += 1;
            let mut new = Backend::of_fleet(next_slot - 1, spec, (index.as_ref(), &mut domains));
            new.commitment = of(&new.spec).cloned();
            new.look_at_commitment();
            if let Some(peer) = known.iter().chain(&backends).find(|backend| backend.is_peer_of(&new)) {
                new.evidence = Evidence::beside(&peer.evidence);
            }
            if before.is_some() {
                new.comes();
            }
            backends.push(Arc::new(new));
        }
        domains.keep(backends.iter().flat_map(|backend| backend.domains.iter()), &config.domains);
        let mut members: BTreeMap<String, Vec<Arc<Backend>>> = BTreeMap::new();
        for backend in &backends {
            backend.settle(&config);
            for model in &backend.spec.models {
                members.entry(model.name.clone()).or_default().push(Arc::clone(backend));
            }
        }
        let known = members.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let pools = members.into_iter().map(|(model, members)| {
            let mut pool = Pool::new(&model, config.policy, members);
            pool.index.clone_from(&index);
            pool.journal = Arc::clone(&journal);
            if let Some(same) = before.and_then(|fleet| fleet.pool(&model)) {
                pool.pace = Arc::clone(&same.pace);
                pool.pooled = Arc::clone(&same.pooled);
                pool.latency = Arc::clone(&same.latency);
                pool.answers = Arc::clone(&same.answers);
                pool.writing = Arc::clone(&same.writing);
                pool.learned = Arc::clone(&same.learned);
            }
            (model, Arc::new(pool))
        });
        let pools = pools.collect();
        Self { backends, domains, commitments, pools, known, config, next_slot, index, journal }
    }

    /// Sets the gauges of its backends and domains; called when somebody is about to read them.
    pub fn observe(&self, now: Instant) {
        for backend in &self.backends {
            backend.observe(now, &self.config);
        }
        self.commitments.observe();
        if let Some(index) = &self.index {
            catalog::PREFIX_REFUSED.counter(&[]).absolute(index.refused());
        }
        for domain in self.domains.all() {
            let state = self.state_of(domain, now);
            domain.metrics.in_flight.set(state.in_flight as f64);
            let share = f64::from(state.in_service) / f64::from(state.backends.max(1));
            domain.metrics.in_service.set(share);
        }
    }

    /// How a domain of it does.
    #[must_use]
    pub fn state_of(&self, domain: &Domain, now: Instant) -> DomainState {
        let mut state = DomainState::default();
        let inside = |backend: &&Arc<Backend>| backend.domains.iter().any(|other| other.name == domain.name);
        for backend in self.backends.iter().filter(inside) {
            state.backends += 1;
            state.in_service += u32::from(backend.service(now) == Service::Open && !backend.is_drained());
            state.in_flight += u64::from(backend.load.in_flight());
        }
        state
    }

    /// Clouds, regions, zones and racks of its backends, and those of which the configuration speaks.
    pub fn domains(&self) -> impl Iterator<Item = &Arc<Domain>> {
        self.domains.all()
    }

    /// Probes found backends dead: what has befallen a domain is seen.
    pub fn spread(&self, now: Instant) {
        for pool in self.pools.values() {
            for fallen in pool.members.iter().filter(|member| member.outlier.is_dead(now)) {
                pool.spread(fallen, (now, &self.config));
            }
        }
    }

    /// What is paid for anyway.
    pub fn commitments(&self) -> impl Iterator<Item = &Arc<Commitment>> {
        self.commitments.all()
    }

    /// Looks, so many seconds after 1970, which commitments have something left, and prices their backends by that. To be
    /// called every few seconds.
    pub fn look_at_commitments(&self, wall: Duration) {
        self.commitments.all().for_each(|commitment| commitment.look(wall));
        self.backends.iter().for_each(|backend| backend.look_at_commitment());
    }

    /// Lets fade what was learned of backends and not seen again, once for each however many models it serves.
    fn fade(&self, now: Instant) {
        for backend in &self.backends {
            // Its latency fades towards that of a model whose answers were seen.
            let served = backend.spec.models.iter().filter_map(|model| self.pools.get(&model.name));
            let known =
                |answer| served.clone().map(|pool| pool.latency(answer).read()).find(|usual| *usual != 0.0);
            backend.fade(now, |answer| known(answer).unwrap_or(0.0));
        }
    }

    /// Looks which backends have become slow beside their peers, or are so no longer, and takes them out of service but for
    /// one request in a while, or in again. To be called every few seconds.
    pub fn look_for_slow(&self, now: Instant) -> Vec<Found> {
        let pools: Vec<&Arc<Pool>> = self.pools.values().collect();
        self.fade(now);
        gray::look(&pools, (now, &self.config))
    }

    /// Takes a domain out of service, or in again; what runs there ends. False if there is none of that name.
    #[must_use]
    pub fn take_out_domain(&self, name: &str, out: bool) -> bool {
        let Some(domain) = self.domains.get(name) else { return false };
        domain.take_out(out);
        self.backends.iter().for_each(|backend| backend.settle(&self.config));
        true
    }

    /// Takes a backend out of service, or in again; what runs there ends. False if there is none of that name.
    #[must_use]
    pub fn take_out_backend(&self, name: &str, out: bool) -> bool {
        let named = self.backends.iter().filter(|backend| backend.spec.name == name);
        named
            .map(|backend| {
                backend.take_out(out);
                backend.settle(&self.config);
            })
            .count()
            > 0
    }

    /// The pool of `model`.
    #[must_use]
    pub fn pool(&self, model: &str) -> Option<&Arc<Pool>> {
        self.pools.get(model)
    }

    /// All pools, in no order.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.pools.values()
    }

    /// The models that exist, in order, with commas between.
    #[must_use]
    pub fn known_models(&self) -> &str {
        if self.known.is_empty() { "none yet" } else { &self.known }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::RequestShape;
    use plimsoll_types::ServedModel;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    pub(crate) fn spec(name: &str) -> BackendSpec {
        BackendSpec {
            name: name.into(),
            models: vec![ServedModel::plain("m")],
            max_in_flight: 1_000,
            ..BackendSpec::default()
        }
    }

    pub(crate) fn members(count: usize) -> Vec<Arc<Backend>> {
        (0..count).map(|slot| Arc::new(Backend::new(slot, spec(&format!("b{slot}"))))).collect()
    }

    pub(crate) fn rng() -> SmallRng {
        SmallRng::seed_from_u64(1)
    }

    pub(crate) fn shape(prompt_tokens: u32) -> RequestShape<'static> {
        RequestShape { prompt_tokens, ..RequestShape::typical(Instant::ORIGIN) }
    }

    /// So many prompt tokens are sent to `backend` and stay there.
    pub(crate) fn busy(backend: &Backend, prompt_tokens: u32) {
        backend.load.enter(backend.share(&shape(prompt_tokens), 0));
    }

    #[test]
    fn a_backend_that_stays_keeps_what_is_in_flight() {
        let first = Fleet::new(vec![spec("a"), spec("b")], Config::default(), None);
        busy(&first.backends[0], 7);
        first.pool("m").unwrap().pace.measured(Instant::ORIGIN, 1.0, (1.0, 3.0));
        let second = Fleet::new(vec![spec("c"), spec("a")], Config::default(), Some(&first));
        assert_eq!(second.backends[1].load.in_flight(), 1);
        assert_eq!(second.backends[0].slot, 2, "slots are never used again");
        assert_eq!(second.known_models(), "m");
        assert!(second.pool("m").unwrap().pace.is_known(), "what a pool has learned stays too");
    }

    #[test]
    fn a_backend_that_comes_to_a_pool_in_which_nothing_waits_gets_its_part_after_the_slow_start() {
        let config = Config { policy: "expected_cost", ..Config::default() };
        let first = Fleet::new(vec![spec("a")], config.clone(), None);
        let fleet = Fleet::new(vec![spec("a"), spec("b")], config, Some(&first));
        let mut router = crate::Router::new(1);
        let mut picks_of_b = [0, 0];
        for second in 0..60_u32 {
            let now = Instant::ORIGIN + Duration::from_secs(u64::from(second));
            let request = RequestShape { now, ..shape(100) };
            let picked = router.pick(fleet.pool("m").unwrap(), &request, &[], &fleet.config).unwrap();
            picks_of_b[usize::from(second >= 10)] += u32::from(picked.backend.slot == 1);
        }
        assert!(picks_of_b[0] <= 5, "{picks_of_b:?}: a cold backend gets less");
        assert!((15..=35).contains(&picks_of_b[1]), "{picks_of_b:?}");
    }
}
