use rand::RngExt;
use rand::rngs::SmallRng;

use crate::policy::Policy;
use crate::{Candidates, RequestShape};

/// Takes the backend where the request costs least, in seconds of its caller, of others and of money ([`Cost`]).
///
/// Those that cost hardly more than the cheapest are as good: one of them is taken at random, so that gateways that see
/// the same do not all do the same.
///
/// [`Cost`]: crate::Cost
#[derive(Debug, Default)]
pub struct ExpectedCost;

/// Seconds, and share of the cost, that nobody notices.
const INDIFFERENT: (f32, f32) = (0.002, 0.03);

impl Policy for ExpectedCost {
    fn pick(&self, request: &RequestShape<'_>, candidates: Candidates<'_>, rng: &mut SmallRng) -> usize {
        let count = candidates.len();
        // From anywhere, for the sake of those that cost exactly the same.
        let start = rng.random_range(0..count);
        let (mut best, mut least, mut equals) = (start, f32::INFINITY, 0_u32);
        for step in 0..count {
            let index = (start + step) % count;
            let cost = candidates.cost(index, request).total();
            let slack = INDIFFERENT.0 + INDIFFERENT.1 * least.min(cost);
            if cost < least - slack || equals == 0 {
                (best, least, equals) = (index, cost, 1);
            } else if cost <= least + slack {
                // One of all that are as good, each as likely as any other.
                equals += 1;
                if rng.random_range(0..equals) == 0 {
                    best = index;
                }
                least = least.min(cost);
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use plimsoll_types::{BackendSpec, Prices};

    use super::*;
    use crate::snapshot::tests::{busy, members, rng, shape, spec};
    use crate::{Backend, Conditions};

    fn picks(members: &[std::sync::Arc<crate::Backend>], conditions: Conditions) -> Vec<u32> {
        let candidates = Candidates::new(members, None, conditions).unwrap();
        let (mut rng, mut counts) = (rng(), vec![0; members.len()]);
        for _ in 0..1_000 {
            counts[ExpectedCost.pick(&shape(1_000), candidates, &mut rng)] += 1;
        }
        counts
    }

    #[test]
    fn the_one_that_answers_first_is_taken_and_equals_share() {
        let members = members(4);
        busy(&members[2], 50_000);
        let counts = picks(&members, Conditions::UNKNOWN);
        assert_eq!(counts[2], 0);
        assert!([0, 1, 3].iter().all(|index| (250..420).contains(&counts[*index])), "{counts:?}");
    }

    #[test]
    fn an_endpoint_paid_by_tokens_gets_what_a_committed_gpu_has_no_time_for() {
        let prices = [
            Prices { hour: 4.0, committed: true, ..Prices::default() },
            Prices { million_prompt: 3.0, million_answer: 15.0, ..Prices::default() },
        ];
        let members: Vec<Arc<Backend>> = prices
            .into_iter()
            .enumerate()
            .map(|(slot, prices)| Arc::new(Backend::new(slot, BackendSpec { prices, ..spec("b") })))
            .collect();
        let conditions = Conditions { seconds_per_dollar: 20.0, ..Conditions::UNKNOWN };
        assert_eq!(picks(&members, conditions), [1_000, 0]);
        busy(&members[0], 50_000);
        assert_eq!(picks(&members, conditions), [0, 1_000]);
    }
}
