use plimsoll_types::{Key, Keys, Section};

/// How far reality is from what gateways are told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reality {
    /// Each backend's step times are those of the table times a lognormal factor of mean 1 with this deviation.
    pub speed_sigma: f64,
    /// Gateways take prompts to have as many tokens as they have times a lognormal factor with this deviation.
    pub tokens_sigma: f64,
    /// Whether gateways know anything of the length of a prompt; if not, they take all to be as long as the mean.
    pub prompt_tokens_known: bool,
}

impl Default for Reality {
    fn default() -> Self {
        Self { speed_sigma: 0.3, tokens_sigma: 0.2, prompt_tokens_known: true }
    }
}

impl Section for Reality {
    fn keys(&mut self, keys: &mut dyn Keys) {
        let key = Key::new(
            "speed_sigma",
            "Each backend's real step times are those of the table times a lognormal factor with this deviation.",
        );
        keys.decimal(key, 0.0..=2.0, &mut self.speed_sigma);
        let key = Key::new(
            "tokens_sigma",
            "Gateways estimate prompt tokens to within a lognormal factor with this deviation.",
        );
        keys.decimal(key, 0.0..=2.0, &mut self.tokens_sigma);
        let key = Key::new(
            "prompt_tokens_known",
            "Whether gateways know anything of the length of a prompt; if not, they take all to be as long as the mean.",
        );
        keys.flag(key, &mut self.prompt_tokens_known);
    }
}
