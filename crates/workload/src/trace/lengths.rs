use plimsoll_types::{Key, Keys, Section};

use crate::elementary::{exp, ln};
use crate::random::Draw;

/// The laws by which numbers are drawn.
const LAWS: &[&str] = &["fixed", "uniform", "exponential", "lognormal"];
/// The largest number that may be asked for.
const MOST: f64 = 16_777_216.0;

/// How a length, a count or a pause varies.
#[derive(Debug, Clone, PartialEq)]
pub struct Law {
    /// `fixed`, `uniform`, `exponential` or `lognormal`.
    pub law: &'static str,
    /// The mean, before what lies outside is moved to `min` or `max`; a uniform law has the middle of these.
    pub mean: f64,
    /// Deviation over mean of a lognormal law.
    pub cv: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl Default for Law {
    fn default() -> Self {
        Self::fixed(1.0)
    }
}

impl Law {
    /// Always `mean`.
    #[must_use]
    pub const fn fixed(mean: f64) -> Self {
        Self { law: "fixed", mean, cv: 1.0, min: 1.0, max: MOST }
    }

    /// Exponential with this mean.
    #[must_use]
    pub const fn exponential(mean: f64) -> Self {
        Self { law: "exponential", mean, cv: 1.0, min: 0.0, max: MOST }
    }

    /// Lognormal with this mean, this deviation over mean, and at most `max`.
    #[must_use]
    pub const fn lognormal(mean: f64, cv: f64, max: f64) -> Self {
        Self { law: "lognormal", mean, cv, min: 1.0, max }
    }

    /// Draws a number.
    pub(crate) fn draw(&self, draw: &mut Draw) -> f64 {
        let number = match self.law {
            "uniform" => self.min + (self.max - self.min) * draw.unit(),
            "exponential" => self.mean * draw.exponential(),
            "lognormal" => {
                let variance = ln(1.0 + self.cv * self.cv);
                self.mean * exp(variance.sqrt() * draw.normal() - variance / 2.0)
            }
            _ => self.mean,
        };
        number.clamp(self.min, self.max)
    }

    /// Draws a whole number, at least one.
    pub(crate) fn whole(&self, draw: &mut Draw) -> u32 {
        self.draw(draw).round().max(1.0) as u32
    }
}

impl Section for Law {
    fn keys(&mut self, keys: &mut dyn Keys) {
        keys.choice(Key::new("law", "How it varies."), LAWS, &mut self.law);
        let key = Key::new("mean", "The mean, before `min` and `max` are held to; not used by `uniform`.");
        keys.decimal(key, 0.0..=MOST, &mut self.mean);
        keys.decimal(Key::new("cv", "Deviation over mean; used by `lognormal`."), 0.0..=100.0, &mut self.cv);
        keys.decimal(Key::new("min", "The least."), 0.0..=MOST, &mut self.min);
        keys.decimal(Key::new("max", "The most."), 0.0..=MOST, &mut self.max);
        if self.min > self.max {
            keys.wrong("max", format!("{} is below min, which is {}", self.max, self.min));
            // Whoever goes on after a problem must not meet a range that is none.
            self.max = self.min;
        }
        if self.law != "uniform" && !(self.min..=self.max).contains(&self.mean) {
            let why = format!("{} is not between min, {}, and max, {}", self.mean, self.min, self.max);
            keys.wrong("mean", why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(law: &Law) -> (f64, f64) {
        let mut draw = Draw::new(5, 0);
        let numbers: Vec<f64> = (0..50_000).map(|_| law.draw(&mut draw)).collect();
        let mean = numbers.iter().sum::<f64>() / 50_000.0;
        let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 50_000.0;
        (mean, variance.sqrt() / mean)
    }

    #[test]
    fn every_law_has_its_mean_and_deviation() {
        let uniform = Law { law: "uniform", min: 100.0, max: 300.0, ..Law::default() };
        for (law, mean, cv) in [
            (Law::fixed(50.0), 50.0, 0.0),
            (Law::exponential(20.0), 20.0, 1.0),
            (Law::lognormal(1_000.0, 1.2, 1e6), 1_000.0, 1.2),
            (uniform, 200.0, 0.289),
        ] {
            let (measured, deviation) = moments(&law);
            assert!((measured / mean - 1.0).abs() < 0.03, "{law:?}: mean {measured}");
            assert!((deviation - cv).abs() < 0.06, "{law:?}: cv {deviation}");
        }
    }

    #[test]
    fn what_is_drawn_stays_between_least_and_most() {
        let law = Law { min: 10.0, ..Law::lognormal(30.0, 3.0, 90.0) };
        let mut draw = Draw::new(1, 0);
        assert!((0..10_000).all(|_| (10..=90).contains(&law.whole(&mut draw))));
        assert_eq!(Law { min: 0.0, ..Law::fixed(0.0) }.whole(&mut draw), 1);
    }
}
