use std::fmt;
#[cfg(not(feature = "shuttle"))]
use std::mem::offset_of;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_types::{BLOCK_TOKENS, BackendSpec, Instant, Prices};

use crate::affinity::{Cache, Index};
use crate::aged::{Aged, kept};
use crate::candidates::Answer;
use crate::capacity::{Capacity, Evidence, Own, Sample};
use crate::commitment::Commitment;
use crate::cost::Marginals;
use crate::domain::{Domain, Domains};
use crate::gray::{BesidePeers, Gray};
use crate::latency::Latency;
use crate::load::Share;
use crate::metrics::BackendMetrics;
use crate::reported::{Others, Report};
use crate::speed::Speed;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use crate::{Conditions, Config, Cost, Load, Outlier, Pace, RequestShape, Seen, Service};

/// Tokens that memory holds where nobody said: an 8B model on a GPU of 40 GB.
const UNKNOWN_KV_TOKENS: u32 = 150_000;
/// The share of memory that prompts have; the rest is answers being written.
const PROMPT_SHARE: f64 = 0.8;

/// Seconds over which the peak of times to first token fades (linkerd has ten).
const PEAK_SECONDS: f32 = 10.0;

/// What an operator and its domains have decided about a backend: read by every pick, so it stands here and not there.
struct Standing {
    /// Taken out by itself.
    taken_out: AtomicBool,
    /// Taken out, by itself or with a domain.
    drained: AtomicBool,
    /// What limits its requests beside its own load, as a rule nothing: [`OF_DOMAINS`], [`OF_SEATS`].
    limits: AtomicU32,
    /// The product of the weights of its domains, as the bits of an `f32`.
    weight: AtomicU32,
    /// Nanoseconds since when it is in service; 0 where that was always so, [`UNSEEN`] before a request could go there.
    since: AtomicU64,
    /// Seconds over which it is let in, as the bits of an `f32`.
    slow_start: AtomicU32,
}

const UNSEEN: u64 = u64::MAX;
/// How long a backend whose listener is closed may be silent.
const GONE: Duration = Duration::from_secs(2);
/// A domain of it limits its requests.
const OF_DOMAINS: u32 = 1;
/// It is known how many requests it runs at a time.
const OF_SEATS: u32 = 2;
/// What a backend gets at the very first, as a share.
const FIRST_SHARE: f32 = 0.1;

/// A backend as the router sees it: what it is, what is sent to it, how it does.
///
/// What a pick reads of each candidate stands first and side by side, on four cache lines in the order in which it reads
/// them: in a fleet of thousands they are what a pick waits for. Where prompts are asked for again it also looks whether the
/// cache is full.
#[repr(C, align(128))]
pub struct Backend {
    /// What was sent to it and has not come back.
    pub load: Load,
    /// How long it takes beside what was predicted.
    pub pace: Pace,
    /// Whether it may be used.
    pub outlier: Outlier,
    standing: Standing,
    /// Nanoseconds until when it asked to be left alone (429 with `Retry-After`).
    pushback: AtomicU64,
    /// Seconds of the network there and back, as they were measured, or else said beforehand; bits of an `f32`.
    round_trip: AtomicU32,
    /// How long it is predicted to take.
    pub(crate) speed: Speed,
    /// What using it costs.
    pub(crate) marginal: Marginals,
    /// Requests that it may have at a time.
    pub(crate) most: u32,
    /// Tokens that its memory holds.
    pub(crate) kv_tokens: Option<u32>,
    /// Which one it is: unique as long as the process lives, small, never used again.
    pub slot: usize,
    /// How long the tokens after the first take beside what was predicted.
    pub writing: Pace,
    /// How long it takes to read what it writes nothing for.
    pub pooled: Pace,
    /// What it takes beside reading: where something is written, and where nothing is.
    latency: [Latency; 2],
    /// How much it takes at a time.
    pub(crate) capacity: Capacity,
    /// What others put on it. Its first half is read by picks.
    pub(crate) others: Others,
    /// Why `capacity` is what it is.
    pub(crate) evidence: Evidence,
    /// The peak of recent times to first token.
    peak: Aged,
    /// What it is.
    pub spec: BackendSpec,
    /// What it has cached, as far as it can be known from here.
    pub(crate) cache: Option<Cache>,
    pub(crate) metrics: BackendMetrics,
    /// The domains that it is in, the widest first.
    pub domains: Arc<[Arc<Domain>]>,
    /// What pays for it, as long as something of that is left.
    pub(crate) commitment: Option<Arc<Commitment>>,
    /// What whoever watches it has seen last.
    pub seen: Seen,
    /// Nanoseconds since when probes find that its listener is closed; 0 where they do not.
    closed_since: AtomicU64,
    /// Nanoseconds when it last asked to be left alone.
    pushed_back: AtomicU64,
    /// What it is judged by beside its peers.
    pub(crate) gray: Gray,
}

/// Bytes of what a pick reads.
const HOT: usize = 4 * 64;
#[cfg(not(feature = "shuttle"))]
const _: () = assert!(offset_of!(Backend, outlier) == 64 && offset_of!(Backend, round_trip) == 128);
#[cfg(not(feature = "shuttle"))]
const _: () =
    assert!(offset_of!(Backend, writing) == 192 && offset_of!(Backend, others) + Others::HOT <= HOT);

impl Backend {
    /// A backend by itself, that nothing is known of yet.
    #[must_use]
    pub fn new(slot: usize, spec: BackendSpec) -> Self {
        Self::of_fleet(slot, spec, (None, &mut Domains::default()))
    }

    /// A backend of a fleet, whose cache is a part of `index`.
    pub(crate) fn of_fleet(
        slot: usize,
        spec: BackendSpec,
        (index, domains): (Option<&Arc<Index>>, &mut Domains),
    ) -> Self {
        let tokens = u64::from(spec.kv_tokens.unwrap_or(UNKNOWN_KV_TOKENS));
        let blocks = (tokens as f64 * PROMPT_SHARE) as u64 / BLOCK_TOKENS;
        let domains = domains.of(&spec.locality);
        Self {
            slot,
            cache: index.and_then(|index| index.join(slot, blocks as usize)),
            metrics: BackendMetrics::new(&spec),
            speed: spec.step_time.as_ref().map_or(Speed::UNKNOWN, Speed::of),
            marginal: Marginals::of(&spec.prices),
            most: spec.max_in_flight,
            kv_tokens: spec.kv_tokens,
            round_trip: AtomicU32::new(spec.round_trip.map_or(0.0, |time| time.as_secs_f32()).to_bits()),
            spec,
            load: Load::default(),
            pace: Pace::default(),
            writing: Pace::default(),
            pooled: Pace::default(),
            latency: Default::default(),
            capacity: Capacity::default(),
            evidence: Evidence::default(),
            peak: Aged::default(),
            others: Others::default(),
            outlier: Outlier::default(),
            domains,
            commitment: None,
            seen: Seen::default(),
            closed_since: AtomicU64::new(0),
            pushed_back: AtomicU64::new(0),
            gray: Gray::default(),
            standing: Standing {
                taken_out: AtomicBool::new(false),
                drained: AtomicBool::new(false),
                limits: AtomicU32::new(0),
                weight: AtomicU32::new(1.0_f32.to_bits()),
                since: AtomicU64::new(0),
                slow_start: AtomicU32::new(0),
            },
            pushback: AtomicU64::new(0),
        }
    }

    /// Seconds until a request sent now would get its first token if none of its prompt is cached: the network, what is
    /// queued before it and its own prompt, at the pace that was measured.
    #[must_use]
    pub fn expected_ttft(&self, request: &RequestShape<'_>, conditions: &Conditions) -> f32 {
        Cost::of(self, request, 0, conditions).ttft()
    }

    /// What it has cached, as far as that is known from here; `None` where the policy does not go by that.
    #[must_use]
    pub fn cache(&self) -> Option<&Cache> {
        self.cache.as_ref()
    }

    /// Prompt tokens that were sent to it from here and are taken to be still unread, those of plain requests among them.
    #[must_use]
    pub fn unread_tokens(&self, now: Instant) -> u64 {
        let whole = self.load.whole_nanos_left(now) as f32 * 1e-9 / self.speed.token.max(1e-9);
        self.load.queued_tokens() + whole as u64
    }

    /// It says how loaded it is.
    pub fn reported(&self, now: Instant, report: &Report) {
        self.take_report(now, report, self.load.in_flight());
    }

    /// It says so along with the answer to a request that is over there, and is not given back here yet.
    pub fn reported_at_end(&self, now: Instant, report: &Report) {
        self.take_report(now, report, self.load.in_flight().saturating_sub(1));
    }

    fn take_report(&self, now: Instant, report: &Report, own: u32) {
        self.others.reported(now, report, (own, self.unread_tokens(now)));
        let own = Own { in_flight: own, unread: self.load.unread() };
        self.evidence.reported(now, report, own, &self.capacity);
        self.set_limit(OF_SEATS, self.capacity.seats().is_some());
    }

    /// Whether it runs the same models on the same accelerator.
    pub(crate) fn is_peer_of(&self, other: &Self) -> bool {
        (&self.spec.accelerator, &self.spec.models) == (&other.spec.accelerator, &other.spec.models)
    }

    /// Prompts that it is taken to read at a time, from 1.
    #[must_use]
    pub fn prompts_at_a_time(&self) -> f32 {
        self.capacity.prompts()
    }

    /// Requests that it is taken to run at a time; `None` as long as that was not seen.
    #[must_use]
    pub fn seats(&self) -> Option<u32> {
        self.capacity.seats()
    }

    /// When it last reported how many requests wait there, how many do, and how many run.
    #[must_use]
    pub fn last_report(&self) -> Option<(Instant, u32, u32)> {
        self.evidence.last_report()
    }

    /// Whether it is at work on what it has got though this request hears nothing: tokens came from it within `lately`, or it
    /// reports that requests run there and others wait.
    #[must_use]
    pub fn is_at_work(&self, now: Instant, lately: Duration) -> bool {
        self.load.since_token(now).is_some_and(|since| since <= lately) || self.evidence.is_busy(now)
    }

    /// Seconds that it takes beside reading.
    #[inline(always)]
    pub(crate) fn latency(&self, answer: Answer) -> &Latency {
        &self.latency[usize::from(answer.is_pooled())]
    }

    /// How long it takes to read for such an answer beside what was predicted.
    #[inline(always)]
    pub(crate) fn reading_pace(&self, answer: Answer) -> &Pace {
        if answer.is_pooled() { &self.pooled } else { &self.pace }
    }

    /// Lets fade what was learned and not seen again, the latency towards what is usual for such an answer.
    pub(crate) fn fade(&self, now: Instant, usual: impl Fn(Answer) -> f32) {
        self.evidence.fade(now, &self.capacity);
        self.set_limit(OF_SEATS, self.capacity.seats().is_some());
        for answer in [Answer::Stream, Answer::Pooled] {
            self.latency(answer).fade(usual(answer));
        }
    }

    /// A first token came, or an answer as a whole: what that says of how much it takes at a time.
    pub(crate) fn shows(&self, now: Instant, sample: Sample, answer: Answer) {
        match answer {
            Answer::Whole => self.evidence.answered_whole(now, sample, &self.capacity),
            Answer::Stream | Answer::Pooled => self.evidence.answered(now, sample, &self.capacity),
        }
    }

    /// Seconds until it has read what others sent there, at this pace and where one of their prompts takes so many seconds
    /// in the mean.
    pub(crate) fn others_seconds(&self, now: Instant, (pace, prompt): (f32, f32)) -> f32 {
        match self.others.unread(now) {
            Some((0.0, _)) => 0.0,
            // It has read for as long as the report is old.
            Some((tokens, age)) => (self.speed.prefill(tokens as u32, 0) * pace - age).max(0.0),
            None => self.others.waiting_seconds(now, prompt * pace),
        }
    }

    /// Another gateway has sent it a prompt that begins with `blocks`.
    pub fn holds(&self, blocks: &[u64], now: Instant) {
        if let Some(cache) = &self.cache {
            cache.insert(blocks, now);
        }
    }

    /// Other gateways have sent it so many prompt tokens that are still to be read.
    pub fn is_to_read(&self, tokens: u64, now: Instant) {
        self.others.have_unread(now, tokens);
    }

    /// Whether what it reads takes the place of something else in its cache.
    pub(crate) fn evicts(&self) -> bool {
        self.cache.as_ref().is_some_and(Cache::is_full)
    }

    /// The share of its requests that others have sent, as far as it says so.
    pub(crate) fn others_share(&self, now: Instant) -> f32 {
        self.others.share(now)
    }

    /// Seconds since it last said how loaded it is; `None` if it never did.
    #[must_use]
    pub fn report_age(&self, now: Instant) -> Option<f32> {
        self.others.age(now)
    }

    /// What others put on it, by its last report and faded with its age: requests that wait, requests that run, and the
    /// share of memory in use by whomever.
    #[must_use]
    pub fn others(&self, now: Instant) -> (f32, f32, f32) {
        (self.others.waiting(now), self.others.running(now), self.others.kv_used(now))
    }

    /// The peak of its recent times to first token, in seconds, which fades.
    #[must_use]
    pub fn peak_ttft(&self, now: Instant) -> f32 {
        self.peak.read(now).map_or(0.0, |(peak, age)| peak * kept(age, PEAK_SECONDS))
    }

    /// A first token came after so many seconds.
    pub(crate) fn answered(&self, now: Instant, ttft: f32) {
        self.peak.update(now, |before| {
            let (peak, age) = before.unwrap_or_default();
            let kept = kept(age, PEAK_SECONDS);
            if ttft > peak * kept { ttft } else { peak * kept + ttft * (1.0 - kept) }
        });
    }

    /// Seconds of the network there and back: as measured, or what was said beforehand.
    #[must_use]
    pub fn round_trip(&self) -> f32 {
        f32::from_bits(self.round_trip.load(Relaxed))
    }

    /// The network there and back was measured.
    pub fn set_round_trip(&self, measured: Duration) {
        self.round_trip.store(measured.as_secs_f32().to_bits(), Relaxed);
    }

    /// A probe found it dead, which counts until `until` if no other says so again. True if that is news.
    pub fn found_dead(&self, now: Instant, until: Instant) -> bool {
        let news = self.outlier.found_dead(now, until);
        if news {
            self.metrics.ejections.increment(1);
        }
        news
    }

    /// A probe found that its listener is closed, or open, or could not say.
    pub fn is_closed(&self, now: Instant, closed: bool) {
        match (closed, self.closed_since.load(Relaxed)) {
            (true, 0) => self.closed_since.store(now.as_nanos().max(1), Relaxed),
            (false, 1..) => self.closed_since.store(0, Relaxed),
            _ => {}
        }
    }

    /// Whether it is gone: its listener is closed, and no token of any stream came since then or for two seconds. A backend that
    /// is drained closes its listener too, and writes on.
    #[must_use]
    pub fn is_gone(&self, now: Instant) -> bool {
        match self.closed_since.load(Relaxed) {
            0 => false,
            since => {
                let silent = self.load.since_token(now).unwrap_or(Duration::MAX);
                now - Instant::from_nanos(since) >= GONE && silent >= GONE
            }
        }
    }

    /// A probe found it alive. True if that brings it back into service.
    pub fn found_alive(&self, now: Instant) -> bool {
        let back = self.outlier.found_alive();
        if back {
            self.is_back(now);
        }
        back
    }

    /// Seconds that a token of those that are written now is predicted to take.
    pub(crate) fn predicted_token(&self, now: Instant) -> f32 {
        let decoding = self.load.decoding() as f32 + self.others.running(now);
        self.speed.decode(decoding.max(1.0), self.load.context() as f32)
    }

    /// A request that read `share` of its prompt and wrote so many tokens has ended: what that was worth.
    pub(crate) fn spent(&self, prompt_tokens: u32, share: Share, tokens: u32) {
        if self.metrics.worth.is_none() && self.commitment.is_none() {
            return;
        }
        let (prices, decoding) = (&self.spec.prices, self.load.decoding().max(1) as f32);
        let token = self.speed.decode(decoding, self.load.context() as f32) / decoding;
        let seconds = share.nanos as f64 * 1e-9 + f64::from(tokens) * f64::from(token);
        let dollars = prices.second() * seconds + prices.tokens(prompt_tokens, tokens);
        let committed = self.commitment.as_ref().filter(|commitment| commitment.is_in_force());
        let worth = committed.and(self.metrics.worth_committed.as_ref()).or(self.metrics.worth.as_ref());
        if let Some(worth) = worth {
            worth.increment((dollars * 1e6).round() as u64);
        }
        if let Some(commitment) = &self.commitment {
            commitment.spend(dollars, u64::from(prompt_tokens) + u64::from(tokens));
        }
    }

    /// Looks whether something is left of what pays for it.
    pub(crate) fn look_at_commitment(&self) {
        if let Some(commitment) = &self.commitment {
            let paid = Prices::default();
            self.marginal.set(if commitment.is_in_force() { &paid } else { &self.spec.prices });
        }
    }

    /// What `request` adds to its load if `cached` tokens of the prompt are there.
    pub(crate) fn share(&self, request: &RequestShape<'_>, cached: u32) -> Share {
        let uncached = request.prompt_tokens.saturating_sub(cached).max(1);
        // Engines pool many texts in one step. What is written for they read in steps that others write in: there the whole
        // price of a step keeps a backend from more prompts than its writers bear.
        let seconds = match request.answer {
            Answer::Pooled => self.speed.work(uncached, cached),
            Answer::Stream | Answer::Whole => self.speed.prefill(uncached, cached),
        };
        Share {
            tokens: u64::from(uncached),
            nanos: (f64::from(seconds) * 1e9) as u64,
            context: u64::from(uncached) + u64::from(request.expected_output),
        }
    }

    /// Takes it out of service, or in again; what runs there ends.
    pub(crate) fn take_out(&self, out: bool) {
        self.standing.taken_out.store(out, Relaxed);
    }

    /// Looks at what was decided about it and its domains.
    pub(crate) fn settle(&self, config: &Config) {
        self.standing.slow_start.store(config.slow_start.as_secs_f32().to_bits(), Relaxed);
        let drained =
            self.standing.taken_out.load(Relaxed) || self.domains.iter().any(|domain| domain.is_drained());
        self.standing.drained.store(drained, Relaxed);
        self.set_limit(OF_DOMAINS, self.domains.iter().any(|domain| domain.is_limited()));
        let of_domains: f32 = self.domains.iter().map(|domain| domain.weight()).product();
        let weight = of_domains * self.spec.weight.unwrap_or(1.0);
        self.standing.weight.store(weight.to_bits(), Relaxed);
    }

    /// Whether it gets nothing new, because an operator wants it so.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.standing.drained.load(Relaxed)
    }

    /// How much it is wanted, up to 1.
    #[must_use]
    pub fn weight(&self) -> f32 {
        f32::from_bits(self.standing.weight.load(Relaxed))
    }

    /// It has just come, beside others that serve already.
    pub(crate) fn comes(&self) {
        self.standing.since.store(UNSEEN, Relaxed);
    }

    /// It answered a request that was sent at this time: one that was sent since it asked to be left alone shows that it takes
    /// requests again.
    pub(crate) fn takes_requests(&self, sent: Instant) {
        // Reading first keeps the line shared while all is well.
        if self.pushback.load(Relaxed) != 0 && sent.as_nanos() >= self.pushed_back.load(Relaxed) {
            self.pushback.store(0, Relaxed);
        }
    }

    /// It is back in service.
    pub(crate) fn is_back(&self, now: Instant) {
        self.standing.since.store(now.as_nanos(), Relaxed);
    }

    /// How far it is let in, from a tenth to 1: one that has just come or come back is cold, and all requests that wait
    /// elsewhere would fall upon it. Its time begins with the first request that may go there.
    #[must_use]
    pub fn ramp(&self, now: Instant) -> f32 {
        let since = match self.standing.since.load(Relaxed) {
            // As a rule, so it is all that is looked at.
            0 => return 1.0,
            // Not with the first that does: what others carry alone at ten times less would never go there.
            UNSEEN => {
                self.is_back(now);
                return self.ramp(now);
            }
            since => (now - Instant::from_nanos(since)).as_secs_f32(),
        };
        let window = f32::from_bits(self.standing.slow_start.load(Relaxed));
        if window == 0.0 {
            return 1.0;
        }
        (since / window).clamp(FIRST_SHARE, 1.0)
    }

    /// How many times what a request costs counts there.
    pub(crate) fn times(&self, now: Instant) -> f32 {
        let share = self.weight() * self.ramp(now);
        // As a rule, and cheaper than to divide.
        if share == 1.0 { 1.0 } else { share.recip() }
    }

    /// What may be sent to it at `now`.
    #[must_use]
    pub fn service(&self, now: Instant) -> Service {
        if self.is_pushed_back(now) {
            return Service::Ejected;
        }
        self.outlier.service(now)
    }

    /// Whether it is one engine, which reads one prompt after the other: it says how loaded it is as engines do, or it was
    /// said what it runs on. Behind other addresses may be many.
    pub(crate) fn reads_in_turn(&self) -> bool {
        self.spec.step_time.is_some() || self.others.is_known()
    }

    /// Whether a domain or its seats limit its requests: one look, since as a rule neither does.
    #[inline(always)]
    pub(crate) fn is_limited(&self) -> bool {
        self.standing.limits.load(Relaxed) != 0
    }

    fn set_limit(&self, limit: u32, holds: bool) {
        match holds {
            true => self.standing.limits.fetch_or(limit, Relaxed),
            false => self.standing.limits.fetch_and(!limit, Relaxed),
        };
    }

    /// Whether its domains may have one more request.
    #[inline]
    pub(crate) fn domains_have_room(&self) -> bool {
        self.standing.limits.load(Relaxed) & OF_DOMAINS == 0
            || self.domains.iter().all(|domain| domain.has_room())
    }

    /// Tokens of prompts and expected answers that its memory may hold at this share of it; `None` where that is not known
    /// or not bounded.
    pub(crate) fn line_tokens(&self, share: f32) -> Option<f32> {
        self.kv_tokens.filter(|_| share.is_finite()).map(|room| room as i64 as f32 * share * self.weight())
    }

    /// Seconds that a token takes if `request` is written there too.
    pub(crate) fn token_with_one_more(&self, request: &RequestShape<'_>) -> f32 {
        let decoding = self.load.decoding() as f32 + self.others.running(request.now);
        let length = request.prompt_tokens as f32 + request.expected_output as f32 * 0.5;
        self.speed.decode(decoding + 1.0, self.load.context() as f32 + length)
    }

    /// It asked to be left alone for `wait`.
    pub(crate) fn push_back(&self, now: Instant, wait: Duration) {
        self.pushed_back.store(now.as_nanos(), Relaxed);
        self.pushback.fetch_max((now + wait).as_nanos(), Relaxed);
    }

    /// Whether it wants to be left alone.
    #[inline]
    pub(crate) fn is_pushed_back(&self, now: Instant) -> bool {
        self.pushback.load(Relaxed) > now.as_nanos()
    }

    /// How long it still wants to be left alone.
    #[must_use]
    pub fn pushback_left(&self, now: Instant) -> Duration {
        Instant::from_nanos(self.pushback.load(Relaxed)) - now
    }

    /// Its domain fails, and it with it. True if it was in service.
    pub(crate) fn falls(&self, now: Instant, config: &Config) -> bool {
        let news = self.outlier.falls(now, config);
        if news {
            self.metrics.ejections.increment(1);
        }
        news
    }

    /// How slow it was beside its peers when that was last looked at.
    #[must_use]
    pub fn beside_peers(&self) -> BesidePeers {
        self.gray.beside()
    }

    /// It was found slow beside its peers. True if that takes it out of service.
    pub(crate) fn slows(&self, now: Instant, config: &Config) -> bool {
        let news = self.outlier.slows(now, config);
        if news {
            self.metrics.ejections.increment(1);
            self.metrics.slow_ejections.increment(1);
        }
        news
    }

    /// It is slow no longer. True if it was.
    pub(crate) fn recovers(&self, now: Instant) -> bool {
        let was_slow = self.outlier.is_slow();
        if self.outlier.recovers() {
            self.is_back(now);
        }
        was_slow
    }

    /// Sets its gauges; called when somebody is about to read them.
    pub fn observe(&self, now: Instant, config: &Config) {
        let healthy = match self.outlier.service(now) {
            Service::Open => 1.0,
            Service::Probation => 0.5,
            Service::Ejected => 0.0,
        };
        let expected = self.expected_ttft(&RequestShape::typical(now), &Conditions::UNKNOWN);
        self.metrics.observe(self.load.in_flight(), self.load.queued_tokens(), expected, healthy);
        self.metrics.observe_peers(self.beside_peers());
        self.metrics.observe_capacity(&self.capacity);
        let share = if config.line_kv_share > 0.0 { config.line_kv_share as f32 } else { f32::INFINITY };
        self.metrics.observe_line(self.load.context(), self.line_tokens(share));
        self.metrics.observe_report(self.report_age(now));
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend")
            .field("slot", &self.slot)
            .field("name", &self.spec.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::tests::{shape, spec};

    #[test]
    fn one_that_is_back_is_let_in_little_by_little() {
        let at = |seconds: u64| Instant::ORIGIN + Duration::from_secs(seconds);
        let backend = Backend::new(0, spec("b"));
        backend.settle(&Config { slow_start: Duration::from_secs(10), ..Config::default() });
        assert_eq!(backend.ramp(at(1)), 1.0, "one that was always there is warm");
        backend.is_back(at(20));
        assert_eq!([20, 25, 30, 99].map(|seconds| backend.ramp(at(seconds))), [0.1, 0.5, 1.0, 1.0]);
        backend.comes();
        assert_eq!(backend.ramp(at(99)), 0.1, "without traffic it stays cold");
        assert_eq!(backend.ramp(at(104)), 0.5, "and then it is let in, whether or not it was asked");
    }

    #[test]
    fn a_good_answer_to_a_request_that_was_sent_since_ends_a_pushback() {
        let at = |seconds: u64| Instant::ORIGIN + Duration::from_secs(seconds);
        let backend = Backend::new(0, spec("b"));
        backend.push_back(at(10), Duration::from_secs(60));
        backend.takes_requests(at(9));
        assert!(backend.is_pushed_back(at(11)), "it was sent before");
        backend.takes_requests(at(12));
        assert!(!backend.is_pushed_back(at(13)));
    }

    #[test]
    fn one_that_closed_its_listener_is_gone_once_it_is_silent_and_not_while_it_writes() {
        let at = |millis: u64| Instant::ORIGIN + Duration::from_millis(millis);
        let backend = Backend::new(0, spec("b"));
        backend.is_closed(at(1_000), true);
        backend.load.wrote(at(2_500));
        assert!(!backend.is_gone(at(3_500)), "it is drained");
        assert!(backend.is_gone(at(4_700)));
        backend.is_closed(at(5_000), false);
        assert!(!backend.is_gone(at(9_000)));
    }

    #[test]
    fn a_measured_round_trip_takes_the_place_of_what_was_said_beforehand() {
        let said = Some(Duration::from_millis(80));
        let backend = Backend::new(0, BackendSpec { round_trip: said, ..spec("b") });
        let network = || Cost::of(&backend, &shape(10), 0, &Conditions::UNKNOWN).network;
        assert_eq!(network(), 0.08);
        backend.set_round_trip(Duration::from_millis(2));
        assert_eq!(network(), 0.002);
    }
}
