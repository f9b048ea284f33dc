use rand::RngExt;
use rand::rngs::SmallRng;

use crate::policy::Policy;
use crate::{Candidates, RequestShape};

/// Takes the backend that has most of the prompt cached, if that is half of it at least, and otherwise the one with the
/// fewest requests in flight; where backends are unevenly full, always that one.
///
/// The rule of SGLang's router (`cache_aware`), with its constants. It switches between two aims, where `expected_cost`
/// adds both up, and counts requests, however long they are.
#[derive(Debug, Default)]
pub struct PrefixAffinity;

/// The share of a prompt that must be cached for it to count.
const MATCHED: f32 = 0.5;
/// Unevenly full: the fullest has so many requests more than the emptiest, and so many times as many.
const UNEVEN: (u32, f32) = (32, 1.1);

impl Policy for PrefixAffinity {
    fn pick(&self, request: &RequestShape<'_>, candidates: Candidates<'_>, rng: &mut SmallRng) -> usize {
        // From anywhere, for the sake of equals.
        let (count, start) = (candidates.len(), rng.random_range(0..candidates.len()));
        let in_flight = |index: usize| candidates[index].load.in_flight();
        let (mut owner, mut least, mut most) = (start, start, 0);
        for step in 0..count {
            let index = (start + step) % count;
            let (here, cached) = (in_flight(index), candidates.cached(index));
            most = most.max(here);
            if here < in_flight(least) {
                least = index;
            }
            let best = candidates.cached(owner);
            if cached > best || (cached == best && here < in_flight(owner)) {
                owner = index;
            }
        }
        let fewest = in_flight(least);
        let uneven = most - fewest > UNEVEN.0 && most as f32 > UNEVEN.1 * fewest as f32;
        let matched = candidates.cached(owner) as f32 > MATCHED * request.prompt_tokens as f32;
        if matched && !uneven { owner } else { least }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Conditions;
    use crate::candidates::Cached;
    use crate::snapshot::tests::{busy, members, rng, shape};

    /// Where a prompt of 1,000 tokens goes of which the backends have so many cached, with so many requests at each.
    fn picked(cached: &[u32], in_flight: &[u32]) -> usize {
        let members = members(cached.len());
        for (member, count) in members.iter().zip(in_flight) {
            (0..*count).for_each(|_| busy(member, 100));
        }
        let known = Cached { by_slot: cached, ..Cached::default() };
        let candidates = Candidates::new(&members, None, Conditions::UNKNOWN).unwrap().knowing(known);
        PrefixAffinity.pick(&shape(1_000), candidates, &mut rng())
    }

    #[test]
    fn who_has_more_than_half_gets_it_however_busy() {
        assert_eq!(picked(&[0, 501, 100], &[0, 30, 2]), 1);
        assert_eq!(picked(&[900, 501, 900], &[12, 0, 5]), 2, "of those who have as much, the emptier one");
    }

    #[test]
    fn less_than_half_is_nothing() {
        assert_eq!(picked(&[0, 500, 100], &[3, 1, 0]), 2);
    }

    #[test]
    fn where_backends_are_unevenly_full_caches_do_not_count() {
        assert_eq!(picked(&[0, 990, 0], &[7, 38, 6]), 1);
        assert_eq!(picked(&[0, 990, 0], &[7, 39, 6]), 2);
        assert_eq!(picked(&[0, 990, 0], &[400, 435, 399]), 1, "hardly more, of so many");
    }
}
