//! From a pool to one backend. Hot path: no allocation, no lock, no await.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::dispatched::Found;
use crate::prefixes::Prefixes;
use crate::tally::SAMPLED;
use crate::{
    Backend, Candidates, Conditions, Config, Dispatched, Explanation, Line, Pool, RequestShape, Service,
};

/// Why nobody could be picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PickError {
    /// Every backend of the pool was tried, or is out of service.
    #[error("no backend is left to try")]
    NobodyLeft,
    /// Those that could be tried are full.
    #[error("every backend is full")]
    Full,
    /// Those that could be tried asked to be left alone for at least this long.
    #[error("every backend asks to be left alone")]
    Pushback(Duration),
}

/// Picks backends on one core: holds its randomness and the space that a pick needs.
pub struct Router {
    rng: SmallRng,
    chosen: Vec<u32>,
    prefixes: Prefixes,
    /// Picks so far.
    picks: u32,
}

impl Router {
    /// A router whose choices are decided by `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            rng: SmallRng::seed_from_u64(seed),
            chosen: Vec::new(),
            prefixes: Prefixes::default(),
            picks: 0,
        }
    }

    /// Picks a backend of `pool` for `request` whose slot is not among `tried`, and counts the request in there.
    ///
    /// # Errors
    ///
    /// Where nobody can be picked, with the reason.
    pub fn pick(
        &mut self,
        pool: &Arc<Pool>,
        request: &RequestShape<'_>,
        tried: &[usize],
        config: &Config,
    ) -> Result<Dispatched, PickError> {
        let conditions = pool.conditions(request.now, config);
        let line = Line::of(request, &conditions, config);
        let round = Round::of(pool.members.len(), &mut self.rng);
        let usable = |index: usize, line: &Line<'_>| {
            let member = &pool.members[index];
            pool.is_eligible(index, request)
                && member.service(request.now) == Service::Open
                && usable(member, tried, line)
        };
        let due = self.choose(pool, round, (tried, request), (&line, config));
        // Only a request that has another try left is sent where it may well fail.
        if let Some(probe) = due.filter(|probe| tried.is_empty() && pool.members[*probe].outlier.take_probe())
        {
            return Ok(dispatch(pool, probe, request, ((&conditions, Found::default()), true)));
        }
        self.prefixes.look_up(pool, request, |index| usable(index, &line));
        if self.chosen.is_empty() && !round.is_whole() {
            // Whoever can serve it is found, be there only one.
            self.choose(pool, Round::whole(pool.members.len()), (tried, request), (&line, config));
        }
        self.add_owners(pool, |index, cached| {
            // Who has most of the prompt takes it though it has much to read: this adds little to it, and elsewhere all of it
            // would have to be read.
            let has_most = 2 * cached > request.prompt_tokens;
            let line = if has_most { line.for_holders() } else { line };
            (has_most || !round.is_whole()) && usable(index, &line)
        });
        let picked = self.pick_chosen(pool, request, conditions);
        self.prefixes.forget();
        picked.ok_or(()).or_else(|()| self.pick_again(pool, request, tried, config))
    }

    /// No backend has room: picks again if evidence allows to give one more. A trial has its time, so that this does not go on
    /// without end.
    #[cold]
    #[inline(never)]
    fn pick_again(
        &mut self,
        pool: &Arc<Pool>,
        request: &RequestShape<'_>,
        tried: &[usize],
        config: &Config,
    ) -> Result<Dispatched, PickError> {
        match find_room(pool, request, tried, config) {
            true => self.pick(pool, request, tried, config),
            false => Err(why_nobody(pool, tried, request)),
        }
    }

    /// Lets the policy pick one of those that are chosen, if there is any.
    fn pick_chosen(
        &mut self,
        pool: &Arc<Pool>,
        request: &RequestShape<'_>,
        conditions: Conditions,
    ) -> Option<Dispatched> {
        let chosen = (self.chosen.len() < pool.members.len()).then_some(self.chosen.as_slice());
        let candidates = Candidates::new(&pool.members, chosen, conditions)?;
        let candidates = candidates.knowing(self.prefixes.cached()).at_home(self.prefixes.homes());
        let index = pool.policy.pick(request, candidates, &mut self.rng);
        self.picks = self.picks.wrapping_add(1);
        if self.picks.is_multiple_of(SAMPLED) {
            pool.tally.regrets(index, request, candidates);
            pool.tally.find_nearest(&pool.members);
        }
        let explanation = request.explain.then(|| Explanation::of(index, request, candidates));
        let member = chosen.map_or(index, |chosen| chosen[index] as usize);
        let found = self.prefixes.found(member, candidates.cached(index));
        if pool.index.is_some() && !request.blocks.hashes().is_empty() {
            pool.tally.matched(found.expected, self.prefixes.most());
        }
        let mut dispatched = dispatch(pool, member, request, ((&conditions, found), false));
        dispatched.explanation = explanation;
        Some(dispatched)
    }

    /// Those that have the prompt cached, or where it is at home, are candidates too if they are `usable` with so many tokens
    /// of it, whomever the round came by.
    fn add_owners(&mut self, pool: &Pool, usable: impl Fn(usize, u32) -> bool) {
        for slot in self.prefixes.owners() {
            let Some(index) = pool.member_in(*slot as usize) else { continue };
            let cached = self.prefixes.cached().of(*slot as usize);
            if usable(index, cached) && !self.chosen.contains(&(index as u32)) {
                self.chosen.push(index as u32);
            }
        }
    }

    /// Fills `chosen` with those members of `round` that may be picked. Where too few of them are in service, with all
    /// that have room: the panic threshold. Gives one whose ejection is over and that nobody is trying yet.
    fn choose(
        &mut self,
        pool: &Pool,
        round: Round,
        (tried, request): (&[usize], &RequestShape<'_>),
        (line, config): (&Line<'_>, &Config),
    ) -> Option<usize> {
        let (now, members) = (request.now, &pool.members);
        let usable = |member: &Backend| usable(member, tried, line);
        self.chosen.clear();
        let (mut known, mut open, mut full, mut due) = (0_u32, 0_u32, 0_u32, None);
        let eligible = |index: &usize| pool.is_eligible(*index, request);
        round.indices().filter(eligible).for_each(|index| {
            let member = &members[index];
            let service = member.outlier.service(now);
            let in_service = service == Service::Open;
            open += u32::from(in_service);
            known += u32::from(in_service || !member.outlier.has_fallen());
            let wanted = in_service || (service == Service::Probation && due.is_none());
            if !wanted || member.is_pushed_back(now) {
                return;
            }
            match (usable(member), in_service) {
                (true, true) => self.chosen.push(index as u32),
                (true, false) => due = Some(index),
                (false, true) => full += u32::from(!tried.contains(&member.slot)),
                (false, false) => {}
            }
        });
        let panic = f64::from(open) < config.panic_threshold * f64::from(known);
        // Where those in service are merely full, the request waits for them: it is not sent to those that fail.
        if panic || (self.chosen.is_empty() && full == 0) {
            // Where all asked to be left alone, each still gets one request at a time: it may know better by now.
            let alone = |member: &Backend| !member.is_pushed_back(now) || member.load.in_flight() == 0;
            let free = |index: &usize| eligible(index) && usable(&members[*index]) && alone(&members[*index]);
            // That requests fail may be nobody's fault; that nobody answers a probe is a fact, unless nobody does anywhere.
            let answers = |index: &usize| !members[*index].outlier.is_dead(now);
            self.chosen.clear();
            self.chosen.extend(round.indices().filter(free).filter(answers).map(|index| index as u32));
            if self.chosen.is_empty() {
                self.chosen.extend(round.indices().filter(free).map(|index| index as u32));
            }
        }
        due
    }
}

/// The members that a pick looks at: all of a small pool, and some of a large one, others each time.
#[derive(Debug, Clone, Copy)]
struct Round {
    members: usize,
    start: usize,
    /// Runs of neighbours, evenly around the pool, and how long each is.
    runs: usize,
    run: usize,
}

/// Members that a pick looks at in the most: the best of so many is hardly worse than the best of all, and looking at
/// thousands would cost more than the difference.
const LOOKED_AT: usize = 128;
/// How many of them are neighbours in the configuration: few, for they are often in one place, and more than one, since what
/// is known of neighbours lies on one line of memory.
const RUN: usize = 8;

impl Round {
    fn of(members: usize, rng: &mut SmallRng) -> Self {
        if members <= LOOKED_AT {
            return Self::whole(members);
        }
        Self { members, start: rng.random_range(0..members), runs: LOOKED_AT / RUN, run: RUN }
    }

    fn whole(members: usize) -> Self {
        Self { members, start: 0, runs: 1, run: members }
    }

    fn is_whole(self) -> bool {
        self.run == self.members
    }

    fn indices(self) -> impl Iterator<Item = usize> {
        let around = move |index: usize| if index < self.members { index } else { index - self.members };
        (0..self.runs).flat_map(move |number| {
            let first = around(self.start + number * self.members / self.runs);
            (first..first + self.run).map(around)
        })
    }
}

fn dispatch(
    pool: &Arc<Pool>,
    member: usize,
    request: &RequestShape<'_>,
    (known, probe): ((&Conditions, Found), bool),
) -> Dispatched {
    pool.tally.picked(member);
    Dispatched::new(&pool.members[member], pool, request, known, probe)
}

#[inline(always)]
fn usable(member: &Backend, tried: &[usize], line: &Line<'_>) -> bool {
    !tried.contains(&member.slot) && line.has_room(member)
}

/// Every backend is at its line, so the request is held. A backend that is full by prediction only is given more, as
/// far as evidence allows. True if one is: there is a pause between trials, so the caller does not loop forever.
#[cold]
fn find_room(pool: &Pool, request: &RequestShape<'_>, tried: &[usize], config: &Config) -> bool {
    let line = Line::of(request, &pool.conditions(request.now, config), config);
    let now = request.now;
    let serves = |(index, member): &(usize, &Arc<Backend>)| {
        pool.is_eligible(*index, request)
            && !tried.contains(&member.slot)
            && member.service(now) == Service::Open
    };
    let mut more = false;
    for (_, member) in pool.members.iter().enumerate().filter(serves) {
        member.evidence.holds(now);
        // One is enough for this request: what is raised without need is tried at the expense of the next one.
        more =
            more || (line.is_only_to_read(member) && member.evidence.try_more_prompts(now, &member.capacity));
    }
    more
}

fn why_nobody(pool: &Pool, tried: &[usize], request: &RequestShape<'_>) -> PickError {
    let now = request.now;
    let is_left = |(index, member): &(usize, &Arc<Backend>)| {
        pool.is_eligible(*index, request) && !tried.contains(&member.slot)
    };
    let left = || pool.members.iter().enumerate().filter(is_left).map(|(_, member)| member);
    if left().next().is_none() {
        return PickError::NobodyLeft;
    }
    if left().any(|member| member.service(now) == Service::Open) {
        return PickError::Full;
    }
    match left().map(|member| member.pushback_left(now)).filter(|wait| !wait.is_zero()).min() {
        Some(wait) => PickError::Pushback(wait),
        None => PickError::Full,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_types::Instant;

    use crate::Verdict;
    use crate::snapshot::tests::{members, shape};

    fn pool(count: usize) -> Arc<Pool> {
        Arc::new(Pool::new("m", "power_of_two", members(count)))
    }

    fn at(millis: u64) -> RequestShape<'static> {
        RequestShape {
            prompt_tokens: 10,
            ..RequestShape::typical(Instant::ORIGIN + Duration::from_millis(millis))
        }
    }

    fn eject(pool: &Arc<Pool>, member: usize, now: Instant) {
        for _ in 0..3 {
            let mut sent = Dispatched::new(
                &pool.members[member],
                pool,
                &shape(1),
                (&Conditions::UNKNOWN, Found::default()),
                false,
            );
            sent.judge(Verdict::Failed, now, &Config::default());
        }
    }

    #[test]
    fn the_next_attempt_goes_to_another_backend() {
        let (pool, mut router, config) = (pool(3), Router::new(1), Config::default());
        let mut tried = Vec::new();
        for _ in 0..3 {
            let sent = router.pick(&pool, &at(0), &tried, &config).unwrap();
            assert!(!tried.contains(&sent.backend.slot));
            tried.push(sent.backend.slot);
        }
        assert_eq!(router.pick(&pool, &at(0), &tried, &config).err(), Some(PickError::NobodyLeft));
    }

    #[test]
    fn an_ejected_backend_gets_nothing_and_then_one_request() {
        let (pool, mut router, config) = (pool(3), Router::new(1), Config::default());
        eject(&pool, 1, Instant::ORIGIN);
        for _ in 0..100 {
            assert_ne!(router.pick(&pool, &at(10), &[], &config).unwrap().backend.slot, 1);
        }
        let probe = router.pick(&pool, &at(1_500), &[], &config).unwrap();
        assert_eq!(probe.backend.slot, 1);
        for _ in 0..100 {
            assert_ne!(router.pick(&pool, &at(1_500), &[], &config).unwrap().backend.slot, 1);
        }
    }

    #[test]
    fn in_a_pool_of_thousands_all_are_reached_and_the_only_one_left_is_found() {
        let (pool, mut router, config) = (pool(2_000), Router::new(1), Config::default());
        let reached: std::collections::HashSet<usize> =
            (0..40_000).map(|_| router.pick(&pool, &at(0), &[], &config).unwrap().backend.slot).collect();
        assert!(reached.len() > 1_990, "{}", reached.len());
        let tried: Vec<usize> = (0..2_000).filter(|slot| *slot != 1_234).collect();
        assert_eq!(router.pick(&pool, &at(0), &tried, &config).unwrap().backend.slot, 1_234);
    }

    #[test]
    fn when_most_are_ejected_ejections_are_ignored() {
        let (pool, mut router, config) = (pool(3), Router::new(1), Config::default());
        for member in 0..3 {
            eject(&pool, member, Instant::ORIGIN);
        }
        assert!(router.pick(&pool, &at(10), &[], &config).is_ok());
    }

    #[test]
    fn though_most_are_dead_nobody_is_sent_to_the_dead_unless_all_are() {
        let (pool, mut router, config) = (pool(3), Router::new(1), Config::default());
        let until = Instant::ORIGIN + Duration::from_secs(5);
        pool.members[0].found_dead(Instant::ORIGIN, until);
        pool.members[2].found_dead(Instant::ORIGIN, until);
        for _ in 0..100 {
            assert_eq!(router.pick(&pool, &at(10), &[], &config).unwrap().backend.slot, 1);
        }
        pool.members[1].found_dead(Instant::ORIGIN, until);
        assert!(
            router.pick(&pool, &at(10), &[], &config).is_ok(),
            "the network of the gateway may be at fault"
        );
    }

    #[test]
    fn who_has_most_of_a_prompt_gets_it_though_it_has_much_to_read() {
        let specs = ["a", "b"].map(|name| plimsoll_types::BackendSpec {
            kv_tokens: Some(1_000_000),
            step_time: Some(plimsoll_types::StepTime { beta: 0.025, ..plimsoll_types::StepTime::default() }),
            ..crate::snapshot::tests::spec(name)
        });
        let config = Config { policy: "expected_cost", ..Config::default() };
        let fleet = crate::Fleet::new(specs.into(), config, None);
        let (pool, mut router) = (fleet.pool("m").unwrap(), Router::new(1));
        let blocks = plimsoll_types::Blocks::new(&(1..80).collect::<Vec<u64>>(), 40_000);
        let known = RequestShape { prompt_tokens: 10_000, blocks: &blocks, ..at(1_000) };
        let first = router.pick(pool, &known, &[], &fleet.config).unwrap();
        let other = fleet.backends.iter().find(|backend| backend.slot != first.backend.slot).unwrap();
        crate::snapshot::tests::busy(other, 10_000);
        let full = |request: &RequestShape<'_>, router: &mut Router| {
            router.pick(pool, request, &[], &fleet.config).err()
        };
        assert_eq!(full(&at(1_000), &mut router), Some(PickError::Full), "both have much to read");
        let next = router.pick(pool, &known, &[], &fleet.config).unwrap();
        assert_eq!(next.backend.slot, first.backend.slot);
    }

    #[test]
    fn a_backend_that_pushed_back_gets_one_request_at_a_time() {
        let (pool, mut router, config) = (pool(1), Router::new(1), Config::default());
        let mut sent = router.pick(&pool, &at(0), &[], &config).unwrap();
        sent.judge(Verdict::Pushback(Duration::from_secs(2)), Instant::ORIGIN, &config);
        drop(sent);
        let one = router.pick(&pool, &at(500), &[], &config).unwrap();
        let refused = router.pick(&pool, &at(500), &[], &config).err();
        assert_eq!(refused, Some(PickError::Pushback(Duration::from_millis(1_500))));
        assert!(router.pick(&pool, &at(2_001), &[], &config).is_ok());
        drop(one);
    }
}
