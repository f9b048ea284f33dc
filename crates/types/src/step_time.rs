use crate::{Key, Keys, Section};

/// How long one step of a GPU takes for a given model: constants in milliseconds and tokens.
///
/// ```text
/// t_linear(N) = (alpha^p + (beta N)^p)^(1/p)             N = prefill tokens + decoding sequences
/// t_step      = host + t_linear(N)
///             + [B > 0] (d0 + d1 B + d2 K)               B sequences decode over K tokens of context
///             + sum over chunks of (e0 + e1 S + e2 (S ctx + S^2/2))
/// ```
///
/// Dense models only. The constants are fitted to measured kernel times; the table that the embedded fleet uses says
/// from where.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepTime {
    /// Milliseconds of the host for each step.
    pub host: f64,
    /// Milliseconds to read the weights.
    pub alpha: f64,
    /// Milliseconds of matrix work for each token.
    pub beta: f64,
    /// How sharply the two bounds meet.
    pub p: f64,
    /// Milliseconds of attention for any decoding.
    pub d0: f64,
    /// Milliseconds for each decoding sequence.
    pub d1: f64,
    /// Milliseconds for each token of context that is decoded over.
    pub d2: f64,
    /// Milliseconds of attention for each chunk of prefill.
    pub e0: f64,
    /// Milliseconds for each token of a chunk.
    pub e1: f64,
    /// Milliseconds for each pair of tokens that a chunk attends over.
    pub e2: f64,
}

impl Default for StepTime {
    /// A GPU that takes no time: none is given.
    fn default() -> Self {
        Self {
            host: 0.0,
            alpha: 0.0,
            beta: 0.0,
            p: 1.0,
            d0: 0.0,
            d1: 0.0,
            d2: 0.0,
            e0: 0.0,
            e1: 0.0,
            e2: 0.0,
        }
    }
}

impl Section for StepTime {
    fn keys(&mut self, keys: &mut dyn Keys) {
        for (name, doc, value) in [
            ("host", "Milliseconds of the host for each step.", &mut self.host),
            ("alpha", "Milliseconds to read the weights.", &mut self.alpha),
            ("beta", "Milliseconds of matrix work for each token.", &mut self.beta),
            ("p", "How sharply the two bounds meet.", &mut self.p),
            ("d0", "Milliseconds of attention for any decoding.", &mut self.d0),
            ("d1", "Milliseconds for each decoding sequence.", &mut self.d1),
            ("d2", "Milliseconds for each token of context that is decoded over.", &mut self.d2),
            ("e0", "Milliseconds of attention for each chunk of prefill.", &mut self.e0),
            ("e1", "Milliseconds for each token of a chunk.", &mut self.e1),
            ("e2", "Milliseconds for each pair of tokens that a chunk attends over.", &mut self.e2),
        ] {
            let range = if name == "p" { 0.1..=10.0 } else { 0.0..=1e6 };
            keys.decimal(Key::new(name, doc), range, value);
        }
    }
}

/// A piece of a prompt that is prefilled in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunked {
    /// Tokens of the piece.
    pub tokens: u32,
    /// Tokens of context before it.
    pub context: u32,
}

impl StepTime {
    /// Whether it says anything.
    #[must_use]
    pub fn is_given(&self) -> bool {
        *self != Self::default()
    }

    /// Milliseconds of a step that prefills `chunks` and writes one token for each of `sequences`, whose contexts are
    /// `context` tokens in all.
    #[must_use]
    pub fn millis(&self, chunks: &[Chunked], sequences: u32, context: u64) -> f64 {
        let prefill: f64 = chunks.iter().map(|chunk| f64::from(chunk.tokens)).sum();
        let mut millis = self.host + self.linear(prefill + f64::from(sequences));
        if sequences > 0 {
            millis += self.d0 + self.d1 * f64::from(sequences) + self.d2 * context as f64;
        }
        for chunk in chunks {
            let (tokens, before) = (f64::from(chunk.tokens), f64::from(chunk.context));
            millis += self.e0 + self.e1 * tokens + self.e2 * (tokens * before + tokens * tokens / 2.0);
        }
        millis
    }

    /// The times of a GPU that takes `factor` times as long for everything.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        Self {
            host: self.host * factor,
            alpha: self.alpha * factor,
            beta: self.beta * factor,
            p: self.p,
            d0: self.d0 * factor,
            d1: self.d1 * factor,
            d2: self.d2 * factor,
            e0: self.e0 * factor,
            e1: self.e1 * factor,
            e2: self.e2 * factor,
        }
    }

    fn linear(&self, tokens: f64) -> f64 {
        (self.alpha.powf(self.p) + (self.beta * tokens).powf(self.p)).powf(1.0 / self.p)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const H200_8B: StepTime = StepTime {
        host: 0.0,
        alpha: 4.52,
        beta: 0.0197,
        p: 2.18,
        d0: 0.388,
        d1: 0.0025,
        d2: 3.13e-5,
        e0: 0.45,
        e1: 3.0e-4,
        e2: 7.9e-7,
    };

    #[test]
    fn one_sequence_on_an_h200_decodes_about_two_hundred_tokens_a_second() {
        let rate = 1_000.0 / H200_8B.millis(&[], 1, 1_000);
        assert!((190.0..215.0).contains(&rate), "{rate}");
    }

    #[test]
    fn a_gpu_that_is_three_times_as_slow_takes_three_times_as_long() {
        let chunks = [Chunked { tokens: 700, context: 300 }];
        let (once, thrice) = (H200_8B.millis(&chunks, 5, 900), H200_8B.scaled(3.0).millis(&chunks, 5, 900));
        assert!((thrice / once - 3.0).abs() < 1e-9, "{once} {thrice}");
    }

    #[test]
    fn sixty_four_sequences_cost_little_more_than_one() {
        let one = H200_8B.millis(&[], 1, 1_000);
        let many = H200_8B.millis(&[], 64, 64_000);
        assert!(many < 1.6 * one, "{one} {many}");
    }
}
