//! How long a backend takes for what it is sent, as a few numbers that a pick can afford. Hot path: no allocation, no
//! lock, no await.

use plimsoll_types::{Chunked, StepTime};

/// Seconds of prefill and of a decode step, in closed form.
///
/// [`StepTime`] is exact and raises to powers; among hundreds of candidates that is too dear. Its parts are straight lines
/// here, laid through the lengths that matter: whatever that is off by, the measured [`Pace`](crate::Pace) takes in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Speed {
    /// Seconds that reading any prompt takes at least.
    floor: f32,
    /// Seconds of a prompt beside those for its tokens.
    fixed: f32,
    /// Seconds for each token that is read.
    pub(crate) token: f32,
    /// Seconds for each pair of tokens that attention looks at.
    pair: f32,
    /// Seconds of a step in which somebody decodes, for each who does, and for each token of their context.
    step: f32,
    sequence: f32,
    context: f32,
}

/// Prompt tokens that an engine reads in one step at least.
pub(crate) const STEP_TOKENS: f32 = 2_048.0;
/// Prompt tokens between which the line of prefill is laid.
const PROMPT: (u32, u32) = (512, 4_096);
/// Sequences between which the line of decode is laid.
const BATCH: (u32, u32) = (1, 128);

impl Speed {
    /// Of a backend of which nothing is known: an H200 with an 8B model, more or less. Among such, what is measured
    /// decides.
    pub(crate) const UNKNOWN: Self = Self {
        floor: 0.006,
        fixed: 0.003,
        token: 25e-6,
        pair: 0.8e-9,
        step: 0.006,
        sequence: 25e-6,
        context: 30e-9,
    };

    /// Of a backend with these step times.
    pub(crate) fn of(time: &StepTime) -> Self {
        let prefill = |tokens| {
            let pairs = time.e2 * f64::from(tokens) * f64::from(tokens) / 2.0;
            time.millis(&[Chunked { tokens, context: 0 }], 0, 0) - pairs
        };
        let token = (prefill(PROMPT.1) - prefill(PROMPT.0)) / f64::from(PROMPT.1 - PROMPT.0);
        let decode = |sequences| time.millis(&[], sequences, 0);
        let sequence = (decode(BATCH.1) - decode(BATCH.0)) / f64::from(BATCH.1 - BATCH.0);
        let seconds = |millis: f64| (millis / 1_000.0) as f32;
        Self {
            floor: seconds(prefill(1)),
            fixed: seconds((prefill(PROMPT.0) - token * f64::from(PROMPT.0)).max(0.0)),
            token: seconds(token),
            pair: seconds(time.e2),
            step: seconds(decode(BATCH.0) - sequence),
            sequence: seconds(sequence),
            context: seconds(time.d2),
        }
    }

    /// Seconds to read `uncached` tokens behind `cached` ones, with the GPU to itself.
    pub(crate) fn prefill(&self, uncached: u32, cached: u32) -> f32 {
        let (uncached, cached) = (uncached as f32, cached as f32);
        (self.fixed + self.token * uncached).max(self.floor)
            + self.pair * (uncached * cached + uncached * uncached * 0.5)
    }

    /// Seconds that reading `uncached` tokens behind `cached` ones adds to a queue: short prompts are read together, so that
    /// each adds its share of what a step costs whatever it holds.
    pub(crate) fn work(&self, uncached: u32, cached: u32) -> f32 {
        let (uncached, cached) = (uncached as f32, cached as f32);
        let of_step = (uncached * STEP_TOKENS.recip()).min(1.0);
        self.fixed * of_step
            + self.token * uncached
            + self.pair * (uncached * cached + uncached * uncached * 0.5)
    }

    /// Seconds of a step in which so many sequences decode over so many tokens of context.
    pub(crate) fn decode(&self, sequences: f32, context: f32) -> f32 {
        self.step + self.sequence * sequences + self.context * context
    }

    /// Seconds by which one more sequence of so many tokens makes each step longer.
    pub(crate) fn share(&self, context: f32) -> f32 {
        self.sequence + self.context * context
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const H200_70B: StepTime = StepTime {
        host: 0.5,
        alpha: 11.649,
        beta: 0.071644,
        p: 1.5604,
        d0: 1.0043,
        d1: 0.001223,
        d2: 1.9513e-5,
        e0: 1.1407,
        e1: 4.602e-4,
        e2: 9.148e-7,
    };

    /// What the exact model says of a prompt read in steps of 8,192 tokens.
    fn exact(tokens: u32, cached: u32) -> f64 {
        let chunks = (0..tokens)
            .step_by(8_192)
            .map(|at| Chunked { tokens: (tokens - at).min(8_192), context: cached + at });
        chunks.map(|chunk| H200_70B.millis(&[chunk], 0, 0)).sum::<f64>() / 1_000.0
    }

    #[test]
    fn prefill_is_within_a_fifth_of_the_exact_model_from_one_token_to_a_hundred_thousand() {
        let speed = Speed::of(&H200_70B);
        for tokens in [1, 100, 512, 1_500, 6_000, 20_000, 100_000] {
            for cached in [0, 4_096] {
                let ratio = f64::from(speed.prefill(tokens, cached)) / exact(tokens, cached);
                assert!((0.8..1.2).contains(&ratio), "{tokens} {cached} {ratio}");
            }
        }
    }

    #[test]
    fn a_decode_step_is_within_a_tenth_of_the_exact_model() {
        let speed = Speed::of(&H200_70B);
        for sequences in [1, 16, 64, 128, 200] {
            let exact = H200_70B.millis(&[], sequences, u64::from(sequences) * 1_500) / 1_000.0;
            let sequences = sequences as f32;
            let ratio = f64::from(speed.decode(sequences, sequences * 1_500.0)) / exact;
            assert!((0.9..1.1).contains(&ratio), "{sequences} {ratio}");
        }
    }
}
