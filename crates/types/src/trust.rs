//! Whether a prediction is worth acting upon, and what was observed where it is not.

/// A prediction that is off by more than this many times was wrong.
const WRONG: f32 = 3.0;
/// Seconds below which nobody cares how many times a prediction was off.
const NOISE: f32 = 0.05;
/// Predictions that must have been right before one may refuse anything.
const CONFIRMED: u32 = 3;
/// Wrong predictions in a row after which none is believed, until others have been right again.
const DOUBTED: u32 = 12;
/// How far one observation moves an observed quantile, as a share of it.
const STEP: f32 = 0.1;

/// How predictions of a time have done. Those that were never confirmed may order requests and must not refuse any.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Trust {
    right: u32,
    wrong_in_a_row: u32,
    seen: u32,
    doubted: bool,
    observed: f32,
    error: f32,
}

impl Trust {
    /// Something took `measured` seconds that was predicted to take `predicted`. True if from now on predictions are no
    /// longer believed.
    pub fn compare(&mut self, predicted: f32, measured: f32) -> bool {
        self.observe(measured);
        let (predicted, measured) = (predicted.max(NOISE), measured.max(NOISE));
        let times = measured / predicted;
        self.error = if self.error == 0.0 { times } else { self.error * (times / self.error).powf(STEP) };
        if times <= WRONG && times >= WRONG.recip() {
            (self.right, self.wrong_in_a_row) = (self.right.saturating_add(1), 0);
            self.doubted &= self.right < CONFIRMED;
            return false;
        }
        self.wrong_in_a_row += 1;
        let doubt = self.wrong_in_a_row >= DOUBTED && !self.doubted;
        if self.wrong_in_a_row >= DOUBTED {
            (self.doubted, self.right) = (true, 0);
        }
        doubt
    }

    /// Something took so many seconds that was not predicted. Moves the observed quantile: nine of ten are no larger.
    pub fn observe(&mut self, measured: f32) {
        self.seen = self.seen.saturating_add(1);
        if self.observed == 0.0 {
            self.observed = measured;
        }
        let step = if measured > self.observed { STEP * 0.9 } else { -STEP * 0.1 };
        self.observed = (self.observed * (1.0 + step)).max(1e-4);
    }

    /// Whether predictions have been confirmed, and not been wrong for the last dozen.
    #[must_use]
    pub fn is_believed(&self) -> bool {
        self.right >= CONFIRMED && !self.doubted
    }

    /// What stands in for predictions that are not believed: the seconds that nine of ten took, once there are a dozen;
    /// `None` where predictions are believed or nothing is known.
    #[must_use]
    pub fn observed(&self) -> Option<f32> {
        (self.doubted && self.seen >= DOUBTED).then_some(self.observed)
    }

    /// How many times as long as predicted things take, in the mean of the last ones; 1 before the first.
    #[must_use]
    pub fn error(&self) -> f32 {
        if self.error == 0.0 { 1.0 } else { self.error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prediction_that_was_never_confirmed_is_not_believed() {
        let mut trust = Trust::default();
        assert!(!trust.is_believed() && trust.observed().is_none());
        (0..3).for_each(|_| assert!(!trust.compare(1.0, 1.5)));
        assert!(trust.is_believed());
    }

    #[test]
    fn a_dozen_wrong_ones_are_said_once_and_what_was_observed_stands_in_until_three_are_right() {
        let mut trust = Trust::default();
        (0..3).for_each(|_| assert!(!trust.compare(1.0, 1.0)));
        let news: Vec<bool> = (0..30).map(|_| trust.compare(1.0, 8.0)).collect();
        assert_eq!(news.iter().filter(|news| **news).count(), 1);
        assert!(news[11] && !trust.is_believed());
        assert!((4.0..9.0).contains(&trust.observed().unwrap()), "{:?}", trust.observed());
        assert!(trust.error() > 5.0);
        (0..3).for_each(|_| assert!(!trust.compare(8.0, 8.0)));
        assert!(trust.is_believed() && trust.observed().is_none());
    }

    #[test]
    fn a_few_milliseconds_are_no_error_however_many_times_they_are_off() {
        let mut trust = Trust::default();
        (0..20).for_each(|_| assert!(!trust.compare(0.001, 0.04)));
        assert!(trust.is_believed());
    }
}
