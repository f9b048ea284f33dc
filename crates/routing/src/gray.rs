//! Finds gray failures: backends that answer everything, and so much later than their peers that they are no use.
//!
//! ```text
//!                 slow at three looks in a row, and enough others are in service
//!   in service ────────────────────────────────────────────────────────────────▶ slow: one request in a while
//!       ▲                                                                              │
//!       └───────────────── half as slow as that, at a look after an answer ────────────┘
//! ```
//!
//! What is compared is how long first tokens and further tokens took beside what was predicted of each backend, so that long
//! prompts and full queues make no backend slow: what came since the last look, with the same of the peers. Those are the
//! members of a pool with the same accelerator, three at least: what was predicted of others may be wrong in another way. What
//! is only somewhat slow is no matter of this: its cost sends it less. A difference that no caller notices makes no
//! backend slow: twelve milliseconds are twelve times as long as one, and cost the caller eleven.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_types::Instant;

use crate::sync::{AtomicU32, AtomicU64, Ordering::Relaxed};
use crate::{Backend, Config, Pool, Service};

/// Peers that must have been measured, the backend itself among them.
const FEWEST: usize = 3;
/// Answers since the last judgement that one needs, and that are enough where one answer in a while is all that comes.
const ENOUGH: u32 = 5;
const ONE: u32 = 1;
/// Answers that are older than this are not counted together with new ones.
const WINDOW: Duration = Duration::from_secs(60);
/// Looks in a row at which it must be slow.
const STRIKES: u32 = 3;

/// What is measured of one backend between two looks.
#[derive(Debug, Default)]
pub(crate) struct Gray {
    first: Window,
    further: Window,
    strikes: AtomicU32,
}

/// What came since it was last looked at, and how slow that was.
#[derive(Debug, Default)]
struct Window {
    count: AtomicU32,
    /// Nanoseconds that it was predicted to take, and that it took.
    predicted: AtomicU64,
    elapsed: AtomicU64,
    /// Nanoseconds when it began; 0 where nothing has come since.
    since: AtomicU64,
    /// How many times as long as predicted the last answers took that were enough, as bits of an `f32`; 0 before that.
    times: AtomicU32,
    /// How slow it was beside its peers when that could last be said, as bits of an `f32`; 0 before that.
    beside: AtomicU32,
}

/// From when on something is slow.
#[derive(Debug, Clone, Copy)]
struct Bound {
    /// How many times as long as in the median of its peers.
    ratio: f32,
    /// By how many seconds an answer, at least.
    seconds: f32,
}

/// How many times as long as in the median of its peers something takes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct BesidePeers {
    /// The first token.
    pub ttft: Option<f32>,
    /// Each further token.
    pub itl: Option<f32>,
}

/// A backend that was found to be slow, or to be so no longer.
#[derive(Debug, Clone)]
pub struct Found {
    /// The backend.
    pub backend: Arc<Backend>,
    /// Whether it is slow.
    pub slow: bool,
    /// How slow.
    pub beside: BesidePeers,
}

impl Gray {
    /// A first token came that was predicted to take so many seconds, and took so many.
    pub(crate) fn answered(&self, (predicted, elapsed): (f32, f32)) {
        self.first.add(predicted, elapsed);
    }

    /// The same of the further ones of an answer.
    pub(crate) fn wrote(&self, (predicted, elapsed): (f32, f32)) {
        self.further.add(predicted, elapsed);
    }

    /// How slow it was beside its peers when that could last be said.
    pub(crate) fn beside(&self) -> BesidePeers {
        BesidePeers { ttft: self.first.beside(), itl: self.further.beside() }
    }

    /// Looks at what came, if that is `enough`, beside the medians of its peers. Gives whether any of that was slow.
    fn look(&self, medians: Medians, bound: Bound, enough: u32) -> Option<bool> {
        let looks = [(&self.first, medians.first), (&self.further, medians.further)];
        let seen = looks.map(|(window, median)| window.look(median?, bound, enough));
        let slow = seen.iter().flatten().any(|slow| *slow);
        seen.iter().flatten().next().map(|_| slow)
    }
}

impl Window {
    fn add(&self, predicted: f32, elapsed: f32) {
        let nanos = |seconds: f32| (seconds.max(0.0) * 1e9) as u64;
        self.predicted.fetch_add(nanos(predicted), Relaxed);
        self.elapsed.fetch_add(nanos(elapsed), Relaxed);
        self.count.fetch_add(1, Relaxed);
    }

    /// Notes how many times as long as predicted the answers took that came since, if that is `enough`; forgets those that
    /// have waited too long for others.
    fn note(&self, now: Instant, enough: u32) {
        let count = self.count.load(Relaxed);
        if count == 0 {
            return;
        }
        if count >= enough {
            let (predicted, elapsed) = (self.predicted.load(Relaxed), self.elapsed.load(Relaxed));
            self.times.store((elapsed as f32 / predicted.max(1) as f32).to_bits(), Relaxed);
            return;
        }
        match self.since.load(Relaxed) {
            0 => self.since.store(now.as_nanos().max(1), Relaxed),
            since if now - Instant::from_nanos(since) > WINDOW => self.clear(),
            _ => {}
        }
    }

    fn clear(&self) {
        // What comes between these is lost for one sum and not the other, which is nothing beside the rest.
        self.count.store(0, Relaxed);
        self.predicted.store(0, Relaxed);
        self.elapsed.store(0, Relaxed);
        self.since.store(0, Relaxed);
    }

    fn look(&self, median: f32, bound: Bound, enough: u32) -> Option<bool> {
        let count = self.count.load(Relaxed);
        if count < enough {
            return None;
        }
        let (predicted, elapsed) = (self.predicted.load(Relaxed), self.elapsed.load(Relaxed));
        self.clear();
        let usual = predicted as f32 * median;
        let ratio = elapsed as f32 / usual.max(1.0);
        self.beside.store(ratio.to_bits(), Relaxed);
        let later = (elapsed as f32 - usual) * 1e-9 / count as f32;
        Some(ratio >= bound.ratio && later >= bound.seconds)
    }

    /// How many times as long as predicted its answers took, when they were last enough.
    fn times(&self) -> Option<f32> {
        Some(self.times.load(Relaxed)).filter(|bits| *bits != 0).map(f32::from_bits)
    }

    fn beside(&self) -> Option<f32> {
        Some(self.beside.load(Relaxed)).filter(|bits| *bits != 0).map(f32::from_bits)
    }
}

/// How long peers take in the median beside what was predicted, where there are enough.
#[derive(Debug, Clone, Copy, Default)]
struct Medians {
    first: Option<f32>,
    further: Option<f32>,
}

/// Looks at all of `pools`; gives those of which something else is found than before.
pub(crate) fn look(pools: &[&Arc<Pool>], (now, config): (Instant, &Config)) -> Vec<Found> {
    let mut seen: HashMap<usize, (&Arc<Backend>, Medians)> = HashMap::new();
    for member in pools.iter().flat_map(|pool| &pool.members) {
        let enough = if member.outlier.is_slow() { ONE } else { ENOUGH };
        member.gray.first.note(now, enough);
        member.gray.further.note(now, enough);
    }
    for pool in pools {
        let [first, further] = [Of::First, Of::Further].map(|of| medians(pool, of));
        for member in &pool.members {
            let (_, known) = seen.entry(member.slot).or_insert((member, Medians::default()));
            let accelerator = &*member.spec.accelerator;
            // Of several pools the one in which it does worst counts.
            let least = |one: Option<f32>, other: Option<f32>| one.into_iter().chain(other).reduce(f32::min);
            known.first = least(known.first, first.get(accelerator).copied());
            known.further = least(known.further, further.get(accelerator).copied());
        }
    }
    let found = seen.into_values().filter_map(|(backend, medians)| {
        let slow = judge(backend, medians, (pools, now, config))?;
        Some(Found { backend: Arc::clone(backend), slow, beside: backend.gray.beside() })
    });
    found.collect()
}

/// Whether `backend` is slow, where that is news.
fn judge(
    backend: &Backend,
    medians: Medians,
    (pools, now, config): (&[&Arc<Pool>], Instant, &Config),
) -> Option<bool> {
    let (gray, limit) = (&backend.gray, config.slow_ratio as f32);
    let bound = Bound { ratio: limit, seconds: config.slow_seconds() };
    if backend.outlier.is_slow() {
        let alone = medians.first.is_none() && medians.further.is_none();
        let new = gray.look(medians, bound, ONE).is_some();
        let beside = gray.beside();
        let fast = new && [beside.ttft, beside.itl].into_iter().flatten().all(|ratio| ratio < limit / 2.0);
        return ((limit == 0.0 || alone || fast) && backend.recovers(now)).then_some(false);
    }
    if !gray.look(medians, bound, ENOUGH)? || limit == 0.0 {
        gray.strikes.store(0, Relaxed);
        return None;
    }
    let strikes = gray.strikes.fetch_add(1, Relaxed) + 1;
    let out = strikes >= STRIKES && can_spare(pools, backend, (now, config)) && backend.slows(now, config);
    out.then_some(true)
}

/// Whether enough others are in service in each pool that it is in: more slow ones than that are nobody's fault.
fn can_spare(pools: &[&Arc<Pool>], backend: &Backend, (now, config): (Instant, &Config)) -> bool {
    pools.iter().filter(|pool| pool.member_in(backend.slot).is_some()).all(|pool| {
        let others = pool.members.iter().filter(|member| member.slot != backend.slot);
        let open = others.filter(|member| member.service(now) == Service::Open).count();
        open > 0 && open as f64 >= config.panic_threshold * pool.members.len() as f64
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    First,
    Further,
}

/// The median of the members of `pool` that have been measured, by their accelerator, where they are enough.
fn medians(pool: &Pool, of: Of) -> HashMap<&str, f32> {
    let mut groups: HashMap<&str, Vec<f32>> = HashMap::new();
    for member in &pool.members {
        let window = match of {
            Of::First => &member.gray.first,
            Of::Further => &member.gray.further,
        };
        if let Some(times) = window.times() {
            groups.entry(&member.spec.accelerator).or_default().push(times);
        }
    }
    let enough = groups.into_iter().filter(|(_, peers)| peers.len() >= FEWEST);
    enough
        .map(|(accelerator, mut peers)| {
            // Of an even number the lower one: the slow ones must not decide what is slow.
            let middle = (peers.len() - 1) / 2;
            let (_, median, _) = peers.select_nth_unstable_by(middle, f32::total_cmp);
            (accelerator, median.max(f32::MIN_POSITIVE))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fleet;
    use crate::snapshot::tests::spec;

    fn at(seconds: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(seconds)
    }

    fn fleet(count: usize, config: Config) -> Fleet {
        Fleet::new((0..count).map(|number| spec(&format!("b{number}"))).collect(), config, None)
    }

    fn limited() -> Config {
        Config { slow_ratio: 4.0, ..Config::default() }
    }

    /// Each backend answers so often, and takes so many times as long as was predicted.
    fn answer(fleet: &Fleet, now: Instant, (count, paces): (usize, &[f32])) {
        for (backend, pace) in fleet.backends.iter().zip(paces) {
            for _ in 0..count {
                backend.pace.measured(now, 1.0, (1.0, *pace));
                backend.gray.answered((1.0, *pace));
            }
        }
    }

    /// What is found at each of the looks from `from` on, as whether who is slow.
    fn looks<const N: usize>(fleet: &Fleet, from: u64, paces: &[&[f32; N]]) -> Vec<Vec<(usize, bool)>> {
        let look = |(round, paces): (u64, &&[f32; N])| {
            let now = at(from + 5 * round);
            answer(fleet, now, (20, *paces));
            fleet.look_for_slow(now).iter().map(|found| (found.backend.slot, found.slow)).collect()
        };
        (0..).zip(paces).map(look).collect()
    }

    #[test]
    fn who_is_slow_at_three_looks_gets_one_request_in_a_while_until_it_is_well() {
        let fleet = fleet(4, limited());
        let (sick, well) = ([1.0, 6.0, 1.1, 0.9], [1.0; 4]);
        let found = looks(&fleet, 5, &[&sick, &sick, &sick, &sick]);
        assert_eq!(found, [vec![], vec![], vec![(1, true)], vec![]]);
        let outlier = &fleet.backends[1].outlier;
        assert_eq!(outlier.service(at(16)), Service::Ejected);
        assert_eq!(outlier.service(at(21)), Service::Probation);
        assert!(!outlier.succeeded(at(22), &fleet.config), "that it answers was never the question");
        assert_eq!(
            (outlier.service(at(22)), outlier.service(at(28))),
            (Service::Ejected, Service::Probation)
        );
        assert!(fleet.backends[1].gray.beside().ttft.unwrap() > 4.0);
        assert_eq!(looks(&fleet, 25, &[&sick]), [vec![]], "it is as slow as it was");
        answer(&fleet, at(40), (1, &well));
        assert_eq!(fleet.look_for_slow(at(40)).iter().map(|found| found.slow).collect::<Vec<_>>(), [false]);
        assert_eq!(outlier.service(at(40)), Service::Open);
        assert!(fleet.backends[1].ramp(at(41)) < 0.5, "it is let in little by little");
    }

    #[test]
    fn slow_writing_is_slow_too() {
        let fleet = fleet(3, limited());
        for round in 1..=3 {
            let now = at(5 * round);
            for (backend, pace) in fleet.backends.iter().zip([1.0, 1.0, 8.0]) {
                for _ in 0..10 {
                    backend.writing.measured(now, 1.0, (1.0, pace));
                    backend.gray.wrote((1.0, pace));
                }
            }
            let slow: Vec<usize> = fleet.look_for_slow(now).iter().map(|found| found.backend.slot).collect();
            assert_eq!(slow, if round == 3 { vec![2] } else { vec![] });
        }
    }

    #[test]
    fn a_few_answers_and_a_while_in_between_are_no_verdict() {
        let fleet = fleet(3, limited());
        for round in 1..20 {
            answer(&fleet, at(5 * round), (1, &[1.0, 1.0, 9.0]));
            let found = fleet.look_for_slow(at(5 * round));
            assert_eq!(found.is_empty(), round < 15, "{round}: five answers each make a look that counts");
            if !found.is_empty() {
                return;
            }
        }
        panic!("it was never found");
    }

    #[test]
    fn what_no_caller_notices_takes_no_backend_out_however_many_times_as_long_it_is() {
        let fleet = fleet(4, limited());
        for round in 1..=6 {
            for (backend, elapsed) in fleet.backends.iter().zip([0.001, 0.001, 0.012, 0.001]) {
                (0..20).for_each(|_| backend.gray.answered((0.001, elapsed)));
            }
            assert!(fleet.look_for_slow(at(5 * round)).is_empty());
        }
        assert!(fleet.backends[2].beside_peers().ttft.unwrap() > 10.0, "though operators are told");
    }

    #[test]
    fn a_stall_of_all_at_once_makes_none_of_them_slow() {
        let fleet = fleet(4, limited());
        let (well, stalled) = ([1.0; 4], [9.0, 8.0, 9.0, 10.0]);
        let found = looks(&fleet, 5, &[&well, &stalled, &stalled, &stalled, &stalled, &well]);
        assert!(found.iter().all(Vec::is_empty), "{found:?}");
    }

    #[test]
    fn who_was_well_in_between_begins_again() {
        let fleet = fleet(4, limited());
        let (sick, well) = ([1.0, 9.0, 1.0, 1.0], [1.0; 4]);
        let found = looks(&fleet, 5, &[&sick, &sick, &well, &well, &well, &sick, &sick]);
        assert!(found.iter().all(Vec::is_empty), "{found:?}");
    }

    #[test]
    fn no_more_are_taken_out_than_the_panic_threshold_allows() {
        let fleet = fleet(6, Config { panic_threshold: 0.8, ..limited() });
        let found = looks(&fleet, 5, &[&[1.0, 1.0, 1.0, 1.0, 9.0, 9.0]; 6]);
        assert_eq!(found.iter().flatten().filter(|(_, slow)| *slow).count(), 1, "{found:?}");
    }

    #[test]
    fn who_has_no_peers_and_whoever_differs_a_little_is_left_alone() {
        let config = limited();
        let two = fleet(2, config.clone());
        assert!(looks(&two, 5, &[&[1.0, 15.0]; 4]).iter().all(Vec::is_empty), "which of the two is slow?");
        let three = fleet(3, config.clone());
        assert!(looks(&three, 5, &[&[1.0, 1.0, 3.5]; 4]).iter().all(Vec::is_empty));
        let off = fleet(3, Config { slow_ratio: 0.0, ..config });
        assert!(looks(&off, 5, &[&[1.0, 1.0, 15.0]; 4]).iter().all(Vec::is_empty));
        let of = |accelerator: &str| plimsoll_types::BackendSpec {
            accelerator: accelerator.into(),
            ..spec(accelerator)
        };
        let mixed = Fleet::new(["H200", "A10", "L4"].map(of).into(), limited(), None);
        assert!(looks(&mixed, 5, &[&[1.0, 15.0, 1.0]; 4]).iter().all(Vec::is_empty), "others are no peers");
    }
}
