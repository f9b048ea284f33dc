use rand::RngExt;
use rand::rngs::SmallRng;

use crate::policy::Policy;
use crate::{Candidates, RequestShape};

/// Takes the backend with the fewest prompt tokens whose first token has not come; among equals, a random one.
///
/// Tokens weigh a prompt of 100,000 as what it is, where a count of requests does not.
#[derive(Debug, Default)]
pub struct LeastTokens;

impl Policy for LeastTokens {
    fn pick(&self, _: &RequestShape<'_>, candidates: Candidates<'_>, rng: &mut SmallRng) -> usize {
        // Starting anywhere and keeping the first of equals spreads ties without a second pass.
        let (count, start) = (candidates.len(), rng.random_range(0..candidates.len()));
        let others = (1..count).map(|step| (start + step) % count);
        others.fold(start, |best, index| {
            let less = candidates[index].load.queued_tokens() < candidates[best].load.queued_tokens();
            if less { index } else { best }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Conditions;
    use crate::snapshot::tests::{busy, members, rng, shape};

    #[test]
    fn one_long_prompt_outweighs_many_short_ones() {
        let members = members(2);
        busy(&members[0], 100_000);
        (0..50).for_each(|_| busy(&members[1], 100));
        let candidates = Candidates::new(&members, None, Conditions::UNKNOWN).unwrap();
        for _ in 0..20 {
            assert_eq!(LeastTokens.pick(&shape(10), candidates, &mut rng()), 1);
        }
    }
}
