//! What a pool learns from the requests that go through it.

use plimsoll_types::Instant;

use crate::aged::{Aged, kept};

/// Tokens of an answer before any was seen: the mean of an hour of conversations with a public LLM service
/// (AzureLLMInferenceTrace_conv, 2023).
const USUAL_OUTPUT: f32 = 200.0;
/// How much an answer moves the mean.
const OUTPUT_WEIGHT: f32 = 0.01;
/// How much a prompt moves the mean.
const PROMPT_WEIGHT: f32 = 0.01;
/// How much a request moves the mean share of others.
const OTHERS_WEIGHT: f32 = 0.01;
/// The share of others is never taken to be more than that, whatever is reported.
const MOST_OTHERS: f32 = 0.98;
/// How many times what is found at home a prompt is worth sending there. More than once, because what goes home is what
/// the next turn finds there: counted once, gateways that found little would go elsewhere, and then find less. Replays of
/// a public trace before four gateways do best from 10 to 25.
const HOME_GAIN: f32 = 15.0;
/// How much a request moves what is found at home.
const HOME_WEIGHT: f32 = 0.02;
/// Seconds over which work fades from the utilisation.
const UTILISATION_SECONDS: f32 = 30.0;

/// What is known of the requests of one pool.
#[derive(Debug, Default)]
pub struct Learned {
    output: Aged,
    work: Aged,
    prompt: Aged,
    others: Aged,
    hit: Aged,
    home: Aged,
}

impl Learned {
    /// Tokens that an answer is expected to have.
    #[must_use]
    pub fn expected_output(&self, now: Instant) -> u32 {
        self.output.read(now).map_or(USUAL_OUTPUT, |(mean, _)| mean) as u32
    }

    /// Seconds of reading that come in each second, all backends together.
    pub(crate) fn work(&self, now: Instant) -> f32 {
        self.work.read(now).map_or(0.0, |(work, age)| work * kept(age, UTILISATION_SECONDS))
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

    /// The share of prompts that is expected to be cached where they go, in the mean.
    pub(crate) fn hit(&self, now: Instant) -> f32 {
        self.hit.read(now).map_or(0.0, |(share, _)| share)
    }

    /// This share of a prompt is expected to be cached where it goes.
    pub(crate) fn hits(&self, now: Instant, share: f32) {
        self.hit.update(now, |mean| {
            let mean = mean.map_or(0.0, |(mean, _)| mean);
            mean + (share - mean) * PROMPT_WEIGHT
        });
    }

    /// The share of the pool's requests that others send, from 0 to 1.
    pub(crate) fn others(&self, now: Instant) -> f32 {
        self.others.read(now).map_or(0.0, |(share, _)| share.min(MOST_OTHERS))
    }

    /// A request went to a backend at which others have this share.
    pub(crate) fn shares(&self, now: Instant, share: f32) {
        self.others.update(now, |mean| mean.map_or(share, |(mean, _)| mean + (share - mean) * OTHERS_WEIGHT));
    }

    /// What it is worth to send a prompt home, as a share of what nobody is known to have of it: nothing where no other
    /// gateway sends anything, or prompts are not found at home.
    pub(crate) fn worth_of_home(&self, now: Instant) -> f32 {
        let found = self.home.read(now).map_or(0.0, |(share, _)| share);
        (found * HOME_GAIN).min(1.0) * self.others(now)
    }

    /// Of what nobody was known to have, this share was cached where the prompt was at home.
    pub(crate) fn finds_at_home(&self, now: Instant, share: f32) {
        self.home.update(now, |mean| {
            let mean = mean.map_or(0.0, |(mean, _)| mean);
            mean + (share - mean) * HOME_WEIGHT
        });
    }

    /// So many seconds of reading came.
    pub(crate) fn works(&self, now: Instant, seconds: f32) {
        self.prompt
            .update(now, |mean| mean.map_or(seconds, |(mean, _)| mean + (seconds - mean) * PROMPT_WEIGHT));
        self.work.update(now, |work| {
            let (work, age) = work.unwrap_or_default();
            work * kept(age, UTILISATION_SECONDS) + seconds / UTILISATION_SECONDS
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

    #[test]
    fn home_is_worth_something_where_others_send_and_something_is_found() {
        let (learned, now) = (Learned::default(), Instant::ORIGIN);
        (0..500).for_each(|_| learned.finds_at_home(now, 0.5));
        assert_eq!(learned.worth_of_home(now), 0.0, "nobody else sends");
        (0..2_000).for_each(|_| learned.shares(now, 0.75));
        assert!((learned.worth_of_home(now) - 0.75).abs() < 0.01);
        (0..1_000).for_each(|_| learned.finds_at_home(now, 0.0));
        assert!(learned.worth_of_home(now) < 0.01, "nothing is found");
    }
}
