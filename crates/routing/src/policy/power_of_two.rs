use rand::rngs::SmallRng;

use crate::policy::{Policy, two};
use crate::{Candidates, RequestShape};

/// Samples two backends and takes the one expected to answer first.
///
/// Asking two instead of all keeps gateways that share a stale view from sending their next requests to the same
/// backend, and costs the same for ten backends as for ten thousand (Mitzenmacher, "The Power of Two Choices in
/// Randomized Load Balancing", 2001).
#[derive(Debug, Default)]
pub struct PowerOfTwo;

/// Seconds that nobody notices. Without this, what one lucky sample makes of two idle backends keeps the other from
/// ever being measured again.
const INDIFFERENT: f32 = 0.005;

impl Policy for PowerOfTwo {
    fn pick(&self, request: &RequestShape<'_>, candidates: Candidates<'_>, rng: &mut SmallRng) -> usize {
        let (a, b) = two(candidates.len(), rng);
        let gain = candidates.expected_ttft(a, request) - candidates.expected_ttft(b, request);
        // Which of the two is `a` was chance already.
        if gain <= INDIFFERENT { a } else { b }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Conditions;
    use crate::snapshot::tests::{busy, members, rng, shape};

    #[test]
    fn the_worst_of_all_is_never_taken() {
        let members = members(5);
        busy(&members[3], 1_000_000);
        let candidates = Candidates::new(&members, None, Conditions::UNKNOWN).unwrap();
        let mut rng = rng();
        for _ in 0..1_000 {
            assert_ne!(PowerOfTwo.pick(&shape(10), candidates, &mut rng), 3);
        }
    }

    #[test]
    fn milliseconds_do_not_keep_anybody_out() {
        let members = members(2);
        members[0].pace.measured(shape(10).now, 1.0, (0.01, 0.01));
        members[1].pace.measured(shape(10).now, 1.0, (0.01, 0.013));
        let candidates = Candidates::new(&members, None, Conditions::UNKNOWN).unwrap();
        let mut rng = rng();
        let second = (0..1_000).filter(|_| PowerOfTwo.pick(&shape(10), candidates, &mut rng) == 1).count();
        assert!((400..600).contains(&second), "{second}");
    }

    #[test]
    fn equals_share_evenly() {
        let members = members(4);
        let candidates = Candidates::new(&members, None, Conditions::UNKNOWN).unwrap();
        let (mut rng, mut counts) = (rng(), [0_u32; 4]);
        for _ in 0..8_000 {
            counts[PowerOfTwo.pick(&shape(10), candidates, &mut rng)] += 1;
        }
        assert!(counts.iter().all(|count| (1_800..2_200).contains(count)), "{counts:?}");
    }
}
