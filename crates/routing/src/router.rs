//! From a pool to one backend. Hot path: no allocation, no lock, no await.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_types::Instant;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::{Backend, Candidates, Config, Dispatched, Pool, RequestShape, Service};

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
}

impl Router {
    /// A router whose choices are decided by `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { rng: SmallRng::seed_from_u64(seed), chosen: Vec::new() }
    }

    /// Picks a backend of `pool` for `request` whose slot is not among `tried`, and counts the request in there.
    ///
    /// # Errors
    ///
    /// Where nobody can be picked, with the reason.
    pub fn pick(
        &mut self,
        pool: &Arc<Pool>,
        request: &RequestShape,
        tried: &[usize],
        config: &Config,
    ) -> Result<Dispatched, PickError> {
        if let Some(probe) = due_for_probation(&pool.members, tried, request.now) {
            return Ok(self.dispatch(pool, probe, request, true));
        }
        self.choose(&pool.members, tried, request.now, config);
        let chosen = (self.chosen.len() < pool.members.len()).then_some(self.chosen.as_slice());
        let Some(candidates) = Candidates::new(&pool.members, chosen, pool.prior(request.now)) else {
            return Err(why_nobody(&pool.members, tried, request.now));
        };
        let index = pool.policy.pick(request, candidates, &mut self.rng);
        let member = chosen.map_or(index, |chosen| chosen[index] as usize);
        Ok(self.dispatch(pool, member, request, false))
    }

    /// Fills `chosen` with the members that may be picked. Where too few of the pool are in service, with all that
    /// have room: the panic threshold.
    fn choose(&mut self, members: &[Arc<Backend>], tried: &[usize], now: Instant, config: &Config) {
        self.chosen.clear();
        let mut open = 0_u32;
        for (index, member) in members.iter().enumerate() {
            let in_service = member.outlier.service(now) == Service::Open;
            open += u32::from(in_service);
            if in_service && member.service(now) == Service::Open && usable(member, tried) {
                self.chosen.push(index as u32);
            }
        }
        let panic = f64::from(open) < config.panic_threshold * members.len() as f64;
        if panic || self.chosen.is_empty() {
            // Where all asked to be left alone, each still gets one request at a time: it may know better by now.
            let alone =
                |member: &Backend| member.pushback_left(now).is_zero() || member.load.in_flight() == 0;
            let free = |member: &Backend| usable(member, tried) && alone(member);
            let all = members.iter().enumerate().filter(|(_, member)| free(member));
            self.chosen.clear();
            self.chosen.extend(all.map(|(index, _)| index as u32));
        }
    }

    fn dispatch(
        &mut self,
        pool: &Arc<Pool>,
        member: usize,
        request: &RequestShape,
        probe: bool,
    ) -> Dispatched {
        pool.picks[member].increment(1);
        Dispatched::new(&pool.members[member], pool, request, probe)
    }
}

fn usable(member: &Backend, tried: &[usize]) -> bool {
    member.has_room() && !tried.contains(&member.slot)
}

/// A member whose ejection is over and that nobody is trying yet; its one place is taken here. Only a request that
/// has another try left is sent there: it may well fail.
fn due_for_probation(members: &[Arc<Backend>], tried: &[usize], now: Instant) -> Option<usize> {
    if !tried.is_empty() {
        return None;
    }
    let due = |member: &&Arc<Backend>| member.service(now) == Service::Probation && member.has_room();
    let index = members.iter().position(|member| due(&member))?;
    members[index].outlier.take_probe().then_some(index)
}

fn why_nobody(members: &[Arc<Backend>], tried: &[usize], now: Instant) -> PickError {
    let left = || members.iter().filter(|member| !tried.contains(&member.slot));
    if left().next().is_none() {
        return PickError::NobodyLeft;
    }
    match left().map(|member| member.pushback_left(now)).filter(|wait| !wait.is_zero()).min() {
        Some(wait) => PickError::Pushback(wait),
        None => PickError::Full,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Verdict;
    use crate::snapshot::tests::{members, shape};

    fn pool(count: usize) -> Arc<Pool> {
        Arc::new(Pool::new("m", "power_of_two", members(count)))
    }

    fn at(millis: u64) -> RequestShape {
        RequestShape { prompt_tokens: 10, now: Instant::ORIGIN + Duration::from_millis(millis) }
    }

    fn eject(pool: &Arc<Pool>, member: usize, now: Instant) {
        for _ in 0..3 {
            let mut sent = Dispatched::new(&pool.members[member], pool, &shape(1), false);
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
    fn when_most_are_ejected_ejections_are_ignored() {
        let (pool, mut router, config) = (pool(3), Router::new(1), Config::default());
        for member in 0..3 {
            eject(&pool, member, Instant::ORIGIN);
        }
        assert!(router.pick(&pool, &at(10), &[], &config).is_ok());
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
