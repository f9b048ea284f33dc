use rand::RngExt;
use rand::rngs::SmallRng;

use crate::policy::Policy;
use crate::{Candidates, RequestShape, Tier};

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
        // Each candidate draws a lot, and of equals the highest wins: one number for all is less work than one for each.
        let salt: u32 = rng.random();
        let lot = |index: usize| (index as u32 ^ salt).wrapping_mul(SPREAD);
        let (mut best, mut highest) = (0, 0);
        let (mut tier, mut least, mut slack) = (Tier::Full, f32::INFINITY, 0.0);
        for index in 0..candidates.len() {
            let cost = candidates.cost(index, request);
            let (of, total) = (cost.tier, cost.total());
            if of > tier || (of == tier && total > least + slack) {
                continue;
            }
            if of < tier || total < least - slack || lot(index) >= highest {
                (best, highest) = (index, lot(index));
            }
            if of < tier || total < least {
                (tier, least, slack) = (of, total, INDIFFERENT.0 + INDIFFERENT.1 * total);
            }
        }
        best
    }
}

/// 2^32 over the golden ratio, whose multiples lie evenly (Knuth, TAOCP 6.4).
const SPREAD: u32 = 0x9e37_79b9;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use plimsoll_types::{BackendSpec, Prices};

    use super::*;
    use crate::snapshot::tests::{busy, members, rng, shape, spec};
    use crate::{Backend, Conditions, Slo};

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

    #[test]
    fn who_keeps_what_is_promised_goes_before_who_is_cheaper_and_does_not() {
        let prices = [Prices { hour: 400.0, ..Prices::default() }, Prices::default()];
        let members: Vec<Arc<Backend>> = prices
            .into_iter()
            .enumerate()
            .map(|(slot, prices)| Arc::new(Backend::new(slot, BackendSpec { prices, ..spec("b") })))
            .collect();
        busy(&members[1], 20_000);
        let promised = |ttft: f32| {
            let slo = Slo { ttft, ..Slo::NONE };
            picks(&members, Conditions { seconds_per_dollar: 20.0, slo, ..Conditions::UNKNOWN })
        };
        assert_eq!(promised(f32::INFINITY), [0, 1_000], "waiting half a second is cheaper");
        assert_eq!(promised(0.3), [1_000, 0]);
        assert_eq!(promised(0.01), [0, 1_000], "nobody keeps it: what counts is the cost again");
    }

    #[test]
    fn nobody_is_sent_where_memory_is_full_who_has_a_choice() {
        let full = BackendSpec { kv_tokens: Some(10_000), ..spec("b") };
        let members: Vec<_> = (0..2).map(|slot| Arc::new(Backend::new(slot, full.clone()))).collect();
        busy(&members[0], 9_000);
        members[1].load.enter(members[1].share(&shape(5_000), 4_000));
        assert_eq!(picks(&members, Conditions::UNKNOWN), [0, 1_000]);
        busy(&members[1], 9_000);
        assert_eq!(
            picks(&members, Conditions::UNKNOWN),
            [1_000, 0],
            "of those that are full the less full one"
        );
    }
}
