//! Fits the constants of a step to a live backend.
//!
//! ```text
//!   idle backend:  prompts of doubling length, one at a time ── time to first token ──▶ prefill ─┐
//!                  so many streams at once, short and long contexts ── time per token ▶ decode ──┴─▶ fit ──▶ StepTime
//!   apart:         the smallest answer there is ── round trip, which is taken off
//! ```
//!
//! Every prompt is one that was never sent before, so that no cache of prefixes answers. The requests are bounded: a
//! calibration is some 130 of them.

mod fit;
mod probe;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_types::{Clock, StepTime, TokioClock};

use super::{Asking, FineClock, Target};
pub use fit::Sample;
use fit::mape;
use probe::Probe;

/// Lengths of the prompts that are prefilled, in tokens.
const PROMPTS: [u32; 7] = [64, 128, 256, 512, 1_024, 2_048, 4_096];
/// How often each is tried; the median counts.
const TRIES: usize = 3;
/// Streams that decode at the same time.
const STREAMS: [u32; 4] = [1, 4, 16, 32];
/// Lengths of their prompts.
const CONTEXTS: [u32; 2] = [128, 2_048];

/// What was found out of a backend.
#[derive(Debug, Clone)]
pub struct Calibration {
    /// The constants, fitted.
    pub step: StepTime,
    /// What they were fitted to.
    pub samples: Vec<Sample>,
    /// Network there and back, with what the backend needs for its smallest answer.
    pub round_trip: Duration,
    /// Requests that were sent.
    pub requests: u32,
}

/// Why a backend could not be calibrated.
#[derive(Debug, thiserror::Error)]
pub enum Uncalibrated {
    /// The backend cannot be used at all.
    #[error(transparent)]
    Unusable(#[from] super::Unusable),
    /// Too few probes that differ were answered.
    #[error(
        "too few probes were answered, or the backend counts all prompts the same; the last failure: {0}"
    )]
    Silent(String),
}

impl Calibration {
    /// Calibrates the backend at `target`, which should have nothing else to do, by the model of `asking`. `tell` hears of each probe. Wants a
    /// `LocalSet` around it.
    ///
    /// # Errors
    ///
    /// Where it does not answer.
    pub async fn of(target: &Target, asking: &Asking, tell: impl Fn(&Sample)) -> Result<Self, Uncalibrated> {
        let clock: Arc<dyn Clock> = FineClock::start(TokioClock::start());
        let backend = target.backend(true).map_err(super::Unusable::from)?;
        let engine = backend.engine(&clock);
        let round_trip = probe::round_trip(&engine, &*clock).await;
        // A seed that was used before would ask what was asked before.
        let asking = Asking { seed: rand::random(), stream: true, ..asking.clone() };
        Self::probed(&mut Probe::new(engine, clock, &asking), round_trip, tell).await
    }

    async fn probed(
        probe: &mut Probe,
        round_trip: Duration,
        tell: impl Fn(&Sample),
    ) -> Result<Self, Uncalibrated> {
        let mut samples = Vec::new();
        // The first answer of a backend pays for much that later ones do not.
        let _ = probe.prefill(PROMPTS[0]).await;
        for tokens in PROMPTS {
            let mut tries = Vec::new();
            for _ in 0..TRIES {
                tries.extend(probe.prefill(tokens).await);
            }
            samples.extend(median(tries));
        }
        for (streams, context) in STREAMS.into_iter().flat_map(|b| CONTEXTS.map(|context| (b, context))) {
            samples.extend(probe.decode(streams, context).await);
        }
        for sample in &mut samples {
            if sample.prefill > 0 {
                sample.millis = (sample.millis - round_trip.as_secs_f64() * 1e3).max(1e-3);
            }
            tell(sample);
        }
        let step = fit::fit(&samples).ok_or_else(|| Uncalibrated::Silent(probe.fault()))?;
        Ok(Self { step, samples, round_trip, requests: probe.requests() })
    }
}

/// The sample in the middle.
fn median(mut samples: Vec<Sample>) -> Option<Sample> {
    samples.sort_by(|a, b| a.millis.total_cmp(&b.millis));
    samples.get(samples.len() / 2).copied()
}

/// The form of a scenario, with how far it can be believed.
impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StepTime { host, alpha, beta, p, d0, d1, d2, e0, e1, e2 } = self.step;
        let of = |prefill: bool| self.samples.iter().filter(move |one| (one.prefill > 0) == prefill);
        let round_trip = self.round_trip.as_secs_f64() * 1e3;
        writeln!(f, "# fitted to {} probes, {} requests in all", self.samples.len(), self.requests)?;
        writeln!(
            f,
            "# mean error of the fit: {:.1} % for prefill ({} lengths), {:.1} % for decode ({} loads)",
            100.0 * mape(&self.step, of(true)),
            of(true).count(),
            100.0 * mape(&self.step, of(false)),
            of(false).count(),
        )?;
        writeln!(f, "# round trip {round_trip:.2} ms, taken off the prefill and not part of a step")?;
        writeln!(
            f,
            "# from outside host, alpha and d0 are one sum, and beta and e1 another: one of each is fitted"
        )?;
        writeln!(
            f,
            "step_time: {{host: {}, alpha: {}, beta: {}, p: {}, d0: {}, d1: {}, d2: {}, e0: {}, e1: {}, e2: {}}}",
            digits(host),
            digits(alpha),
            digits(beta),
            digits(p),
            digits(d0),
            digits(d1),
            digits(d2),
            digits(e0),
            digits(e1),
            digits(e2)
        )
    }
}

/// Four digits that count, in a form that YAML reads as a number.
fn digits(number: f64) -> String {
    if number == 0.0 {
        return "0.0".to_owned();
    }
    let places = (3 - number.abs().log10().floor() as i32).max(1) as usize;
    if places > 7 { format!("{number:.3e}") } else { format!("{number:.places$}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompts::{Form, Length};
    use plimsoll_engines::simulated;
    use tokio::task::LocalSet;

    #[tokio::test(start_paused = true)]
    async fn a_gpu_of_the_embedded_fleet_is_found_again_from_outside() {
        // Its time is stretched, for a clock that stands still moves by whole milliseconds.
        let scale = 50;
        let member = &simulated::members()[0];
        let gpu = &simulated::embedded(1, Duration::ZERO, scale)[0];
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::start());
        let model = Some(member.model.to_owned());
        let asking = Asking { form: Form::Chat, stream: true, length: Length::Exactly, model, seed: 1 };
        let mut probe = Probe::new(gpu.engine(Arc::clone(&clock)), clock, &asking);
        let round_trip = member.round_trip * scale;
        let probed = Calibration::probed(&mut probe, round_trip, |_| ());
        let found = LocalSet::new().run_until(probed).await.unwrap();
        assert_eq!((found.samples.len(), found.requests), (15, 128));
        assert!(mape(&found.step, &found.samples) < 0.04, "{found}");
        for sample in &found.samples {
            let (right, guess) =
                (sample.predicted(&member.gpu.time) * f64::from(scale), sample.predicted(&found.step));
            assert!((guess / right - 1.0).abs() < 0.08, "{sample}: {guess} for {right}");
        }
    }

    #[test]
    fn constants_are_written_with_four_digits_as_yaml_has_numbers() {
        let numbers = [0.0, 4.516, 0.019695, 26.2, 3.1275e-5, 7.939e-7, 150.0].map(digits);
        assert_eq!(numbers, ["0.0", "4.516", "0.01970", "26.20", "3.128e-5", "7.939e-7", "150.0"]);
    }

    #[test]
    fn the_middle_of_three_tries_counts() {
        let tried = |millis| Sample { prefill: 1, sequences: 0, context: 0, millis };
        assert_eq!(median(vec![tried(9.0), tried(1.0), tried(2.0)]), Some(tried(2.0)));
        assert_eq!(median(Vec::new()), None);
    }
}
