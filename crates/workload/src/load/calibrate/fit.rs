//! Fits the constants of a step to what was measured from outside.
//!
//! A client sees sums: `host`, `alpha` and `d0` always come together, and so do `beta` and `e1`. One of each is fitted
//! and the others are zero. Six constants are left, and `p`:
//!
//! ```text
//!   prefill of S tokens             (alpha^p + (beta S)^p)^(1/p) + e0 + e2 S^2/2
//!   decode of B over K of context   (alpha^p + (beta B)^p)^(1/p) + d1 B + d2 K
//! ```
//!
//! For given `alpha`, `beta` and `p` the rest is linear, so a search over three numbers remains.

use std::fmt;

use plimsoll_types::{Chunked, StepTime};

/// What one probe found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Tokens of the prompt that was prefilled; zero for a step that only decodes.
    pub prefill: u32,
    /// Sequences that decoded.
    pub sequences: u32,
    /// Tokens of context that they decoded over, in all.
    pub context: u64,
    /// How long it took, in milliseconds, the network taken off.
    pub millis: f64,
}

impl Sample {
    /// What `step` predicts for it.
    #[must_use]
    pub(super) fn predicted(&self, step: &StepTime) -> f64 {
        let chunk = Chunked { tokens: self.prefill, context: 0 };
        let chunks = if self.prefill > 0 { std::slice::from_ref(&chunk) } else { &[] };
        step.millis(chunks, self.sequences, self.context)
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prefill, sequences, context, millis } = self;
        if *prefill > 0 {
            write!(f, "prefill of {prefill} tokens: {millis:.2} ms")
        } else {
            write!(f, "decode of {sequences} streams over {context} tokens: {millis:.2} ms a token")
        }
    }
}

/// The mean of the relative errors of `step` over `samples`, from 0.
#[must_use]
pub(super) fn mape<'a>(step: &StepTime, samples: impl IntoIterator<Item = &'a Sample>) -> f64 {
    let (mut sum, mut count) = (0.0, 0_u32);
    for sample in samples {
        sum += (sample.predicted(step) - sample.millis).abs() / sample.millis;
        count += 1;
    }
    if count == 0 { 0.0 } else { sum / f64::from(count) }
}

/// The constants that predict `samples` best, in the sum of the squares of the relative errors. `None` where there are
/// not at least three lengths of prompt and three steps of decode to tell them apart.
#[must_use]
pub(super) fn fit(samples: &[Sample]) -> Option<StepTime> {
    let (prefill, decode): (Vec<&Sample>, Vec<&Sample>) = samples.iter().partition(|one| one.prefill > 0);
    let longest = prefill.iter().max_by_key(|one| one.prefill)?;
    let floor = decode.iter().map(|one| one.millis).min_by(f64::total_cmp)?;
    let mut lengths: Vec<u32> = prefill.iter().map(|one| one.prefill).collect();
    lengths.sort_unstable();
    lengths.dedup();
    if lengths.len() < 3 || decode.len() < 3 || samples.iter().any(|one| one.millis <= 0.0) {
        return None;
    }
    let mut best =
        Candidate::of([floor, longest.millis / f64::from(longest.prefill), 2.0], &prefill, &decode);
    let mut step = 0.5;
    // Each round halves the step where no neighbour is better: 40 rounds reach a relative 1e-6 and more.
    for _ in 0..400 {
        let next = best.neighbours(step).map(|near| Candidate::of(near, &prefill, &decode));
        match next.into_iter().min_by(|a, b| a.error.total_cmp(&b.error)) {
            Some(next) if next.error < best.error => best = next,
            _ => step /= 2.0,
        }
        if step < 1e-6 {
            break;
        }
    }
    Some(best.step)
}

/// Constants that may be the best, and how wrong they are.
struct Candidate {
    step: StepTime,
    error: f64,
}

impl Candidate {
    /// The best constants with these `alpha`, `beta` and `p`.
    fn of([alpha, beta, p]: [f64; 3], prefill: &[&Sample], decode: &[&Sample]) -> Self {
        let zero = 0.0;
        let linear = StepTime {
            host: zero,
            alpha,
            beta,
            p,
            d0: zero,
            d1: zero,
            d2: zero,
            e0: zero,
            e1: zero,
            e2: zero,
        };
        let half_square = |one: &Sample| f64::from(one.prefill).powi(2) / 2.0;
        let ([e0, e2], of_prefill) = two(prefill, &linear, |one| [1.0, half_square(one)]);
        let ([d1, d2], of_decode) =
            two(decode, &linear, |one| [f64::from(one.sequences), one.context as f64]);
        Self { step: StepTime { d1, d2, e0, e2, ..linear }, error: of_prefill + of_decode }
    }

    /// Values of `alpha`, `beta` and `p` around its own.
    fn neighbours(&self, step: f64) -> [[f64; 3]; 6] {
        let StepTime { alpha, beta, p, .. } = self.step;
        let (up, down) = (1.0 + step, 1.0 / (1.0 + step));
        // Beyond these bounds `p` makes no difference that can be measured.
        let bound = |p: f64| p.clamp(1.0, 6.0);
        [
            [alpha * up, beta, p],
            [alpha * down, beta, p],
            [alpha, beta * up, p],
            [alpha, beta * down, p],
            [alpha, beta, bound(p * up)],
            [alpha, beta, bound(p * down)],
        ]
    }
}

/// The two factors, not negative, with which `terms` explain best what `base` leaves of `samples`; and the sum of the
/// squares of the relative errors that remain.
fn two(samples: &[&Sample], base: &StepTime, terms: impl Fn(&Sample) -> [f64; 2]) -> ([f64; 2], f64) {
    let rows: Vec<[f64; 3]> = samples
        .iter()
        .map(|one| {
            let [x, y] = terms(one);
            let left = one.millis - one.predicted(base);
            [x / one.millis, y / one.millis, left / one.millis]
        })
        .collect();
    let sum = |of: fn(&[f64; 3]) -> f64| rows.iter().map(of).sum::<f64>();
    let (xx, xy, yy) = (sum(|r| r[0] * r[0]), sum(|r| r[0] * r[1]), sum(|r| r[1] * r[1]));
    let (xz, yz) = (sum(|r| r[0] * r[2]), sum(|r| r[1] * r[2]));
    let determinant = xx * yy - xy * xy;
    let both = if determinant > 1e-12 * xx * yy {
        [(xz * yy - yz * xy) / determinant, (yz * xx - xz * xy) / determinant]
    } else {
        [-1.0, -1.0]
    };
    // At the border of what is allowed one of them is zero, or both.
    let corners = [both, [xz / xx, 0.0], [0.0, yz / yy], [0.0, 0.0]];
    let error = |[x, y]: [f64; 2]| rows.iter().map(|r| (r[0] * x + r[1] * y - r[2]).powi(2)).sum::<f64>();
    corners
        .into_iter()
        .filter(|[x, y]| *x >= 0.0 && *y >= 0.0)
        .map(|factors| (factors, error(factors)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .expect("zero is always allowed")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rows of the table of the embedded fleet, far apart in `p` and in size.
    const H200_8B: StepTime = StepTime {
        host: 0.5,
        alpha: 4.516,
        beta: 0.019695,
        p: 2.1783,
        d0: 0.3881,
        d1: 0.002497,
        d2: 3.1275e-5,
        e0: 0.4469,
        e1: 2.993e-4,
        e2: 7.939e-7,
    };
    const A100_70B: StepTime = StepTime {
        host: 0.5,
        alpha: 26.2,
        beta: 0.172,
        p: 1.22,
        d0: 1.66,
        d1: 0.0025,
        d2: 5.69e-5,
        e0: 0.68,
        e1: 2.1e-3,
        e2: 3.45e-6,
    };

    /// What probes would find at `truth`, each off by up to `noise`.
    fn probed(truth: &StepTime, noise: f64) -> Vec<Sample> {
        let prefill = [64, 128, 256, 512, 1_024, 2_048, 4_096].map(|tokens| (tokens, 0, 0));
        let decode = [1, 4, 16, 32]
            .into_iter()
            .flat_map(|b| [(0, b, 128 * u64::from(b)), (0, b, 2_048 * u64::from(b))]);
        let off = [1.0, -0.6, 0.3, -1.0, 0.7, -0.2].into_iter().cycle();
        let sample = |((prefill, sequences, context), off): ((u32, u32, u64), f64)| {
            let mut sample = Sample { prefill, sequences, context, millis: 0.0 };
            sample.millis = sample.predicted(truth) * (1.0 + noise * off);
            sample
        };
        prefill.into_iter().chain(decode).zip(off).map(sample).collect()
    }

    #[test]
    fn constants_of_known_gpus_are_found_again_as_far_as_predictions_go() {
        for truth in [H200_8B, A100_70B] {
            let samples = probed(&truth, 0.0);
            let found = fit(&samples).unwrap();
            assert!(mape(&found, &samples) < 0.02, "{} {found:?}", mape(&found, &samples));
            // What was not probed is predicted as well.
            for (prefill, sequences, context) in [(768, 0, 0), (3_000, 0, 0), (0, 8, 8_000), (0, 24, 30_000)]
            {
                let other = Sample { prefill, sequences, context, millis: 0.0 };
                let (right, guess) = (other.predicted(&truth), other.predicted(&found));
                assert!((guess / right - 1.0).abs() < 0.04, "{other:?}: {guess} for {right}");
            }
        }
    }

    #[test]
    fn noise_in_the_probes_does_not_grow_in_the_fit() {
        let found = fit(&probed(&H200_8B, 0.05)).unwrap();
        assert!(mape(&found, &probed(&H200_8B, 0.0)) < 0.05, "{found:?}");
    }

    #[test]
    fn no_constant_is_negative_even_where_that_would_fit_better() {
        let mut samples = probed(&H200_8B, 0.0);
        // A backend that gets faster with more context: nonsense, but probes can say it.
        samples.iter_mut().filter(|one| one.context > 10_000).for_each(|one| one.millis *= 0.7);
        let StepTime { alpha, beta, d1, d2, e0, e2, .. } = fit(&samples).unwrap();
        assert!([alpha, beta, d1, d2, e0, e2].iter().all(|constant| *constant >= 0.0));
    }

    #[test]
    fn too_few_probes_are_no_fit() {
        assert_eq!(fit(&[]), None);
        assert_eq!(fit(&probed(&H200_8B, 0.0)[..9]), None);
        // A backend that counts every prompt the same tells nothing of prefill.
        let mut same = probed(&H200_8B, 0.0);
        same.iter_mut().filter(|one| one.prefill > 0).for_each(|one| one.prefill = 42);
        assert_eq!(fit(&same), None);
    }
}
