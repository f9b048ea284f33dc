use std::sync::Arc;

use crate::{Backend, Candidates, Cost, RequestShape, Tier};

/// Why a request went where it went: what it was expected to cost there and elsewhere.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// How many backends could have been picked.
    pub candidates: usize,
    /// Which of `costs` was picked.
    pub picked: usize,
    /// What it was expected to cost at the cheapest of them and at the one that was picked, the cheapest of the best tier first.
    pub costs: Vec<Expected>,
}

/// What a request was expected to cost at one backend.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The backend.
    pub backend: Arc<Backend>,
    /// Tokens of the prompt that were expected to be cached there.
    pub cached: u32,
    /// The cost.
    pub cost: Cost,
}

/// Backends of which an explanation tells in the most.
const TOLD: usize = 8;

impl Explanation {
    /// Why `request` goes to candidate `picked`. It allocates: only those who ask for it pay for it.
    pub(crate) fn of(picked: usize, request: &RequestShape<'_>, candidates: Candidates<'_>) -> Box<Self> {
        let rank = |index: usize| {
            let cost = candidates.cost(index, request);
            (cost.tier, cost.total(), index)
        };
        let mut ranked: Vec<(Tier, f32, usize)> = (0..candidates.len()).map(rank).collect();
        ranked.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let place = ranked.iter().position(|(.., index)| *index == picked).unwrap_or_default();
        // The dearest of those told of makes room for the one that was picked.
        ranked.swap(place, place.min(TOLD - 1));
        ranked.truncate(TOLD);
        let costs = ranked.iter().map(|(.., index)| Expected {
            backend: Arc::clone(candidates.member(*index)),
            cached: candidates.cached(*index),
            cost: candidates.cost(*index, request),
        });
        Box::new(Self { candidates: candidates.len(), picked: place.min(TOLD - 1), costs: costs.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Conditions;
    use crate::snapshot::tests::{busy, members, shape};

    #[test]
    fn the_cheapest_are_told_of_and_the_one_that_was_picked() {
        let members = members(20);
        members.iter().zip(0..).for_each(|(member, number)| busy(member, 1 + 1_000 * number));
        let candidates = Candidates::new(&members, None, Conditions::UNKNOWN).unwrap();
        let slots = |picked| {
            let told = Explanation::of(picked, &shape(100), candidates);
            assert_eq!((told.candidates, told.costs[told.picked].backend.slot), (20, picked));
            told.costs.iter().map(|expected| expected.backend.slot).collect::<Vec<_>>()
        };
        assert_eq!(slots(2), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(slots(15), [0, 1, 2, 3, 4, 5, 6, 15]);
    }
}
