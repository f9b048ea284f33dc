use std::time::Duration;

use plimsoll_types::{Key, Keys, Section};

use crate::budget::Budget;

/// Which requests of different callers may be sent as one, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Whether any are.
    pub enabled: bool,
    /// Texts of one call.
    pub max_items: u64,
    /// Tokens of one call, those of padding included.
    pub max_tokens: u64,
    /// The longest that one waits for others while the backend is free.
    pub max_wait: Duration,
    /// Whether requests of different tenants may go in one call.
    pub mix_tenants: bool,
    /// Whether a request that is larger than a call goes in parts.
    pub split: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: false,
            max_items: 64,
            max_tokens: 16_384,
            max_wait: Duration::from_millis(5),
            mix_tenants: false,
            split: true,
        }
    }
}

impl Config {
    /// What one batch may hold.
    #[must_use]
    pub fn budget(&self) -> Budget {
        let most = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        Budget { items: most(self.max_items), tokens: most(self.max_tokens) }
    }
}

impl Section for Config {
    fn keys(&mut self, keys: &mut dyn Keys) {
        let key = Key::new(
            "enabled",
            "Whether embeddings, rerank, score and short completions of different callers are sent to a backend in one call. \
             Their results are the same; prompt tokens of the call are divided among them by the length of their texts, so \
             that `usage` of one is not exact there. Tokens written are.",
        );
        keys.flag(key, &mut self.enabled);
        keys.number(Key::new("max_items", "Texts of one call."), 2..=4_096, &mut self.max_items);
        let key = Key::new(
            "max_tokens",
            "Tokens of one call, where each text counts as long as the longest. A request that is larger goes alone, or in parts.",
        );
        keys.number(key, 16..=1_048_576, &mut self.max_tokens);
        let key = Key::new(
            "max_wait_ms",
            "The longest that a request waits for others while its backend is free, and it does so only where that pays. \
             While calls are under way, those that come gather.",
        );
        keys.millis(key, 0..=1_000, &mut self.max_wait);
        let key = Key::new("mix_tenants", "Whether texts of different tenants may go in one call.");
        keys.flag(key, &mut self.mix_tenants);
        let key = Key::new(
            "split",
            "Whether embeddings, rerank and score of one request with more than `max_items` or `max_tokens` go in parts, to \
             several backends at the same time, where its model has several. One that goes as a whole goes to one.",
        );
        keys.flag(key, &mut self.split);
    }
}
