//! What a pool learns from the requests that go through it.

use plimsoll_types::Instant;

use crate::aged::Aged;

/// Tokens of an answer before any was seen: the mean of an hour of conversations with a public LLM service
/// (AzureLLMInferenceTrace_conv, 2023).
const USUAL_OUTPUT: f32 = 200.0;
/// How much an answer moves the mean.
const OUTPUT_WEIGHT: f32 = 0.01;
/// How much a prompt moves the mean.
const PROMPT_WEIGHT: f32 = 0.01;
/// Seconds over which work fades from the utilisation.
const UTILISATION_SECONDS: f32 = 30.0;

/// What is known of the requests of one pool.
#[derive(Debug, Default)]
pub struct Learned {
    output: Aged,
    work: Aged,
    prompt: Aged,
}

impl Learned {
    /// Tokens that an answer is expected to have.
    #[must_use]
    pub fn expected_output(&self, now: Instant) -> u32 {
        self.output.read(now).map_or(USUAL_OUTPUT, |(mean, _)| mean) as u32
    }

    /// Seconds of reading that come in each second, all backends together.
    pub(crate) fn work(&self, now: Instant) -> f32 {
        self.work.read(now).map_or(0.0, |(work, age)| work * (-age / UTILISATION_SECONDS).exp())
    }

    /// An answer had so many tokens.
    pub(crate) fn wrote(&self, now: Instant, tokens: u32) {
        let tokens = tokens as f32;
        self.output.update(now, |mean| match mean {
            None => USUAL_OUTPUT + (tokens - USUAL_OUTPUT) * 0.1,
            Some((mean, _)) => mean + (tokens - mean) * OUTPUT_WEIGHT,
        });
    }

    /// Seconds that reading a prompt takes, in the mean.
    pub(crate) fn prompt_seconds(&self, now: Instant) -> f32 {
        self.prompt.read(now).map_or(0.0, |(mean, _)| mean)
    }

    /// So many seconds of reading came.
    pub(crate) fn works(&self, now: Instant, seconds: f32) {
        self.prompt
            .update(now, |mean| mean.map_or(seconds, |(mean, _)| mean + (seconds - mean) * PROMPT_WEIGHT));
        self.work.update(now, |work| {
            let (work, age) = work.unwrap_or_default();
            work * (-age / UTILISATION_SECONDS).exp() + seconds / UTILISATION_SECONDS
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn work_of_half_a_second_each_second_is_half_of_one_backend() {
        let learned = Learned::default();
        for second in 0..300 {
            learned.works(Instant::ORIGIN + Duration::from_secs(second), 0.5);
        }
        let now = Instant::ORIGIN + Duration::from_secs(300);
        assert!((0.45..0.55).contains(&learned.work(now)), "{}", learned.work(now));
        assert!(learned.work(now + Duration::from_secs(300)) < 0.01, "and it is forgotten");
    }

    #[test]
    fn the_mean_answer_is_learned() {
        let learned = Learned::default();
        assert_eq!(learned.expected_output(Instant::ORIGIN), 200);
        (0..1_000).for_each(|_| learned.wrote(Instant::ORIGIN, 50));
        assert_eq!(learned.expected_output(Instant::ORIGIN), 50);
    }
}
