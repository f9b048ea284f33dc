//! Numbers that look random and are decided by a seed, the same on every machine and in every version.

use crate::elementary::{exp, ln};

/// Puts two numbers together into one that depends on every bit of both (the finalizer of SplitMix64).
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let mut z = a.rotate_left(25) ^ b.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A stream of numbers (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Draw(u64);

impl Draw {
    /// The stream of `seed` for one of several purposes: streams of different purposes have nothing in common.
    pub(crate) fn new(seed: u64, purpose: u64) -> Self {
        Self(mix(seed, purpose))
    }

    /// Any number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0, 0)
    }

    /// A number below `count`, which is not zero.
    pub(crate) fn below(&mut self, count: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(count)) >> 64) as u64
    }

    /// From 0 to 1, without 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Exponential with mean 1: the gap between events that know nothing of each other.
    pub(crate) fn exponential(&mut self) -> f64 {
        -ln(1.0 - self.unit())
    }

    /// Around 0 with deviation 1 (Marsaglia's polar method).
    pub(crate) fn normal(&mut self) -> f64 {
        loop {
            let (x, y) = (2.0 * self.unit() - 1.0, 2.0 * self.unit() - 1.0);
            let square = x * x + y * y;
            if square < 1.0 && square > 0.0 {
                return x * (-2.0 * ln(square) / square).sqrt();
            }
        }
    }

    /// Gamma of scale 1 (Marsaglia and Tsang, 2000); below shape 1 by their correction.
    pub(crate) fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let exponent = ln(1.0 - self.unit()) / shape;
            return self.gamma(shape + 1.0) * exp(exponent);
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = 1.0 + c * x;
            let v = v * v * v;
            if v > 0.0 && ln(1.0 - self.unit()) < 0.5 * x * x + d - d * v + d * ln(v) {
                return d * v;
            }
        }
    }

    /// Weibull of scale 1.
    pub(crate) fn weibull(&mut self, shape: f64) -> f64 {
        let gap = self.exponential();
        // The logarithm of zero is none.
        if gap > 0.0 { exp(ln(gap) / shape) } else { 0.0 }
    }

    /// Which of `weights`, which are not negative; the last where they are all zero.
    pub(crate) fn weighted(&mut self, weights: impl Iterator<Item = f64> + Clone) -> usize {
        let mut left = self.unit() * weights.clone().sum::<f64>();
        let mut last = 0;
        for (index, weight) in weights.enumerate() {
            if left < weight {
                return index;
            }
            left -= weight;
            last = index;
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(mut draw: impl FnMut() -> f64) -> (f64, f64) {
        let numbers: Vec<f64> = (0..40_000).map(|_| draw()).collect();
        let mean = numbers.iter().sum::<f64>() / 40_000.0;
        let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 40_000.0;
        (mean, variance.sqrt())
    }

    #[test]
    fn a_seed_decides_forever() {
        let mut draw = Draw::new(7, 1);
        let numbers = [draw.next(), draw.below(1_000), draw.normal().to_bits(), draw.gamma(0.3).to_bits()];
        let known = [5887170187794856524, 941, 4609243345078177362, 4514654005757797172];
        assert_eq!(numbers, known);
        assert_ne!(Draw::new(7, 2).next(), Draw::new(7, 1).next());
    }

    #[test]
    fn laws_have_their_mean_and_deviation() {
        let mut draw = Draw::new(1, 0);
        let close = |(mean, deviation): (f64, f64), expected: (f64, f64)| {
            assert!((mean - expected.0).abs() < 0.05, "mean {mean}, not {}", expected.0);
            assert!((deviation - expected.1).abs() < 0.05, "deviation {deviation}, not {}", expected.1);
        };
        close(moments(|| draw.exponential()), (1.0, 1.0));
        close(moments(|| draw.normal()), (0.0, 1.0));
        close(moments(|| draw.gamma(4.0)), (4.0, 2.0));
        close(moments(|| draw.gamma(0.25)), (0.25, 0.5));
        close(moments(|| draw.weibull(2.0)), (0.886, 0.463));
        close(moments(|| draw.below(11) as f64), (5.0, 3.162));
    }

    #[test]
    fn weights_decide_how_often() {
        let mut draw = Draw::new(3, 0);
        let mut counts = [0_u32; 3];
        for _ in 0..10_000 {
            counts[draw.weighted([1.0, 0.0, 3.0].into_iter())] += 1;
        }
        assert!(counts[1] == 0 && counts[0].abs_diff(2_500) < 150, "{counts:?}");
    }
}
