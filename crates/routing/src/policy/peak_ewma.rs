use rand::rngs::SmallRng;

use crate::policy::{Policy, two};
use crate::{Candidates, RequestShape};

/// Samples two backends and takes the one whose peak of recent times to first token, times the requests in flight there,
/// is less.
///
/// The peak jumps up with a slow answer and comes down with time (Finagle, linkerd). It knows nothing of how long prompts
/// are: one long prompt makes its backend look slow.
#[derive(Debug, Default)]
pub struct PeakEwma;

/// Seconds below which peaks are all the same: among backends that nobody used lately the number in flight decides.
const UNNOTICED: f32 = 0.001;

impl Policy for PeakEwma {
    fn pick(&self, request: &RequestShape<'_>, candidates: Candidates<'_>, rng: &mut SmallRng) -> usize {
        let (a, b) = two(candidates.len(), rng);
        let cost = |index: usize| {
            let backend = &candidates[index];
            backend.peak_ttft(request.now).max(UNNOTICED) * (backend.load.in_flight() + 1) as f32
        };
        if cost(a) <= cost(b) { a } else { b }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Conditions;
    use crate::snapshot::tests::{members, rng, shape};
    use std::time::Duration;

    #[test]
    fn who_answered_late_is_left_alone_until_that_is_long_ago() {
        let members = members(2);
        members[0].answered(shape(10).now, 4.0);
        members[1].answered(shape(10).now, 0.1);
        let candidates = Candidates::new(&members, None, Conditions::UNKNOWN).unwrap();
        let mut rng = rng();
        let mut firsts = |request: &RequestShape<'_>| {
            (0..100).filter(|_| PeakEwma.pick(request, candidates, &mut rng) == 0).count()
        };
        assert_eq!(firsts(&shape(10)), 0);
        let later = RequestShape { now: shape(10).now + Duration::from_secs(300), ..shape(10) };
        assert!(firsts(&later) > 20);
    }
}
