use rand::RngExt;
use rand::rngs::SmallRng;

use crate::policy::Policy;
use crate::{Candidates, RequestShape};

/// Takes the backend at which the beginning of the prompt is at home, and the next one around the ring where that has
/// more than its share of the requests in flight (consistent hashing with bounded loads, Mirrokni et al., 2018).
///
/// It needs to know nothing of caches, and gateways agree without talking. It knows one beginning of a prompt only: two
/// conversations behind one system prompt have the same home.
#[derive(Debug, Default)]
pub struct PrefixHash;

/// How many times the mean may be in flight at one backend.
const BOUND: f32 = 1.25;

impl Policy for PrefixHash {
    fn pick(&self, _: &RequestShape<'_>, candidates: Candidates<'_>, rng: &mut SmallRng) -> usize {
        // Starting anywhere and keeping the first of equals spreads ties without a second pass.
        let (count, start) = (candidates.len(), rng.random_range(0..candidates.len()));
        let in_flight = |index: usize| candidates[index].load.in_flight();
        let (mut all, mut least) = (0_u64, start);
        for step in 0..count {
            let index = (start + step) % count;
            all += u64::from(in_flight(index));
            if in_flight(index) < in_flight(least) {
                least = index;
            }
        }
        // This one counts too, so that somebody always has room.
        let most = ((all + 1) as f32 * BOUND / count as f32).ceil() as u32;
        candidates.homes().find(|index| in_flight(*index) < most).unwrap_or(least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::tests::{busy, rng, shape, spec};
    use crate::{Config, Fleet, Router};
    use plimsoll_types::Blocks;

    fn fleet(count: usize) -> Fleet {
        let specs = (0..count).map(|index| spec(&format!("b{index}"))).collect();
        Fleet::new(specs, Config { policy: "prefix_hash", ..Config::default() }, None)
    }

    /// Where each of these prompts goes, one after the other, with what they are counted as until they go.
    fn homes(fleet: &Fleet, prompts: impl Iterator<Item = u64>) -> Vec<crate::Dispatched> {
        let (pool, mut router) = (fleet.pool("m").unwrap(), Router::new(rng().random()));
        prompts
            .map(|prompt| {
                let blocks = Blocks::new(&[prompt, prompt ^ 0x5555, prompt ^ 0xaaaa], 2_000);
                let request = RequestShape { blocks: &blocks, ..shape(500) };
                router.pick(pool, &request, &[], &fleet.config).unwrap()
            })
            .collect()
    }

    #[test]
    fn a_prompt_has_the_same_home_on_every_gateway() {
        let keys = || (1..200_u64).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for key in keys() {
            let home = |fleet: &Fleet| homes(fleet, std::iter::once(key))[0].backend.slot;
            assert_eq!(home(&fleet(6)), home(&fleet(6)));
        }
        let all = keys().map(|key| homes(&fleet(6), std::iter::once(key))[0].backend.slot);
        assert_eq!(all.collect::<std::collections::HashSet<_>>().len(), 6);
    }

    #[test]
    fn one_prompt_that_everybody_sends_fills_nobody_past_the_bound() {
        let fleet = fleet(8);
        let sent = homes(&fleet, std::iter::repeat_n(7, 400));
        let most = fleet.backends.iter().map(|backend| backend.load.in_flight()).max().unwrap();
        assert!((50..=63).contains(&most), "{most}");
        drop(sent);
    }

    #[test]
    fn without_a_beginning_the_emptiest_is_taken() {
        let fleet = fleet(4);
        [0, 1, 3].iter().for_each(|index| busy(&fleet.backends[*index], 10));
        let (pool, mut router) = (fleet.pool("m").unwrap(), Router::new(1));
        for _ in 0..20 {
            assert_eq!(router.pick(pool, &shape(10), &[], &fleet.config).unwrap().backend.slot, 2);
        }
    }

    #[test]
    fn among_thousands_a_home_is_found_too() {
        let fleet = fleet(3_000);
        let slots: Vec<usize> = (0..20).map(|_| homes(&fleet, std::iter::once(99))[0].backend.slot).collect();
        assert!(slots.iter().all(|slot| *slot == slots[0]), "{slots:?}");
    }
}
