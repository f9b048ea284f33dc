//! Logarithm, exponential and cosine that give the same bits on every machine: the standard library takes those of
//! the platform, which differ in the last place, and one bit is enough to make a different trace of the same seed.

use std::f64::consts::{LN_2, SQRT_2, TAU};

/// The natural logarithm of a positive, normal number.
pub(crate) fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i32 - 1_023;
    let mut mantissa = f64::from_bits(bits & ((1 << 52) - 1) | 1.0_f64.to_bits());
    if mantissa > SQRT_2 {
        mantissa /= 2.0;
        exponent += 1;
    }
    // 2 artanh(s), which is below 0.18: thirteen terms leave less than a rounding.
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let series = (0..13).rev().fold(0.0, |sum, k| sum * s * s + 1.0 / f64::from(2 * k + 1));
    2.0 * s * series + f64::from(exponent) * LN_2
}

/// e to the power of `x`, for an `x` that does not leave the range of the type.
pub(crate) fn exp(x: f64) -> f64 {
    let x = x.clamp(-700.0, 700.0);
    let halvings = (x / LN_2).round();
    let rest = x - halvings * LN_2;
    let series = (1..18).rev().fold(1.0, |sum, k| 1.0 + sum * rest / f64::from(k));
    series * f64::from_bits(((halvings as i64 + 1_023) as u64) << 52)
}

/// The cosine of so many whole turns.
pub(crate) fn cos_of_turns(turns: f64) -> f64 {
    let away = (turns - turns.round()).abs();
    let (near, sign) = if away > 0.25 { (0.5 - away, -1.0) } else { (away, 1.0) };
    let square = (TAU * near) * (TAU * near);
    sign * (1..12).rev().fold(1.0, |sum, k| 1.0 - sum * square / f64::from((2 * k) * (2 * k - 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_agree_with_the_platform_to_the_last_places() {
        for step in 1..4_000 {
            let x = f64::from(step) * 0.013;
            assert!((ln(x) - x.ln()).abs() < 1e-14, "ln {x}");
            assert!((exp(-x) / (-x).exp() - 1.0).abs() < 1e-13, "exp -{x}");
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-13, "exp {x}");
            assert!((cos_of_turns(x) - (TAU * x).cos()).abs() < 1e-12, "cos {x}");
        }
        assert_eq!((ln(1.0), exp(0.0), cos_of_turns(0.5)), (0.0, 1.0, -1.0));
    }
}
