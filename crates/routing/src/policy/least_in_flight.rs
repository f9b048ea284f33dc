use rand::RngExt;
use rand::rngs::SmallRng;

use crate::policy::Policy;
use crate::{Candidates, RequestShape};

/// Takes the backend with the fewest requests in flight; among equals, a random one.
#[derive(Debug, Default)]
pub struct LeastInFlight;

impl Policy for LeastInFlight {
    fn pick(&self, _: &RequestShape<'_>, candidates: Candidates<'_>, rng: &mut SmallRng) -> usize {
        // Starting anywhere and keeping the first of equals spreads ties without a second pass.
        let (count, start) = (candidates.len(), rng.random_range(0..candidates.len()));
        let mut best = start;
        for step in 1..count {
            let index = (start + step) % count;
            if candidates[index].load.in_flight() < candidates[best].load.in_flight() {
                best = index;
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Conditions;
    use crate::snapshot::tests::{busy, members, rng, shape};

    #[test]
    fn the_emptiest_is_taken() {
        let members = members(4);
        for one in [0, 1, 3] {
            busy(&members[one], 1);
        }
        let candidates = Candidates::new(&members, None, Conditions::UNKNOWN).unwrap();
        for _ in 0..20 {
            assert_eq!(LeastInFlight.pick(&shape(10), candidates, &mut rng()), 2);
        }
    }
}
