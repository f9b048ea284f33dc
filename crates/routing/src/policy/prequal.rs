use rand::RngExt;
use rand::rngs::SmallRng;

use crate::policy::Policy;
use crate::{Candidates, RequestShape};

/// Samples sixteen backends, sets aside the fullest of them and takes the one that is expected to answer first.
///
/// The rule of Prequal (Wydrowski et al., NSDI'24): a backend is hot if more is in flight there than at 84 % of the sample;
/// among the cold ones the latency decides, and if all are hot the number in flight. Prequal probes its replicas for both;
/// what is in flight and what is expected are known here without asking.
#[derive(Debug, Default)]
pub struct Prequal;

/// Backends that are looked at.
const SAMPLE: usize = 16;
/// The quantile of requests in flight beyond which a backend is hot: 2^-0.25.
const HOT: f32 = 0.84;

impl Policy for Prequal {
    fn pick(&self, request: &RequestShape<'_>, candidates: Candidates<'_>, rng: &mut SmallRng) -> usize {
        let count = candidates.len();
        let (asked, start) = (count.min(SAMPLE), rng.random_range(0..count));
        let mut in_flight = [0_u32; SAMPLE];
        for (number, slot) in in_flight.iter_mut().enumerate().take(asked) {
            *slot = candidates[(start + number) % count].load.in_flight();
        }
        let mut sorted = in_flight;
        sorted[..asked].sort_unstable();
        let hot = sorted[((asked - 1) as f32 * HOT) as usize];
        let cost = |number: usize| candidates.expected_ttft((start + number) % count, request);
        let cold = (0..asked).filter(|number| in_flight[*number] <= hot);
        let best = cold.min_by(|a, b| cost(*a).total_cmp(&cost(*b))).unwrap_or(0);
        (start + best) % count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Conditions;
    use crate::snapshot::tests::{busy, members, rng, shape};

    #[test]
    fn the_fullest_are_set_aside_however_fast_they_seem() {
        let members = members(8);
        for (index, member) in members.iter().enumerate() {
            (0..=index).for_each(|_| busy(member, 1));
            // The fuller, the faster.
            member.pace.measured(shape(10).now, 1.0, (1.0, 1.0 / (index + 1) as f32));
        }
        let candidates = Candidates::new(&members, None, Conditions::UNKNOWN).unwrap();
        let mut rng = rng();
        for _ in 0..100 {
            assert!(Prequal.pick(&shape(10), candidates, &mut rng) < 6);
        }
    }
}
