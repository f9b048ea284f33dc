use rand::RngExt;
use rand::rngs::SmallRng;

use crate::policy::Policy;
use crate::{Candidates, RequestShape};

/// Takes any backend, whatever is known of them: what every other policy must beat.
#[derive(Debug, Default)]
pub struct Random;

impl Policy for Random {
    fn pick(&self, _: &RequestShape<'_>, candidates: Candidates<'_>, rng: &mut SmallRng) -> usize {
        rng.random_range(0..candidates.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Conditions;
    use crate::snapshot::tests::{busy, members, rng, shape};

    #[test]
    fn everybody_is_taken_as_often_however_loaded() {
        let members = members(4);
        busy(&members[2], 1_000_000);
        let candidates = Candidates::new(&members, None, Conditions::UNKNOWN).unwrap();
        let (mut rng, mut counts) = (rng(), [0_u32; 4]);
        for _ in 0..8_000 {
            counts[Random.pick(&shape(10), candidates, &mut rng)] += 1;
        }
        assert!(counts.iter().all(|count| (1_800..2_200).contains(count)), "{counts:?}");
    }
}
