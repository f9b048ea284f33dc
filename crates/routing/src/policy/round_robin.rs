use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rand::rngs::SmallRng;

use crate::policy::Policy;
use crate::{Candidates, RequestShape};

/// Takes one after the other, whatever their load.
#[derive(Debug, Default)]
pub struct RoundRobin {
    next: AtomicUsize,
}

impl Policy for RoundRobin {
    fn pick(&self, _: &RequestShape<'_>, candidates: Candidates<'_>, _: &mut SmallRng) -> usize {
        self.next.fetch_add(1, Relaxed) % candidates.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Conditions;
    use crate::snapshot::tests::{members, rng, shape};

    #[test]
    fn everybody_gets_the_same_share() {
        let (members, policy, mut counts) = (members(3), RoundRobin::default(), [0; 3]);
        let candidates = Candidates::new(&members, None, Conditions::UNKNOWN).unwrap();
        for _ in 0..300 {
            counts[policy.pick(&shape(10), candidates, &mut rng())] += 1;
        }
        assert_eq!(counts, [100; 3]);
    }
}
