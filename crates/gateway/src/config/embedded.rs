use plimsoll_types::{Key, Keys, Section};

/// The embedded fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Embedded {
    /// How many times slower than real GPUs and networks it is.
    pub time_scale: u64,
}

impl Default for Embedded {
    fn default() -> Self {
        Self { time_scale: 1 }
    }
}

impl Section for Embedded {
    fn keys(&mut self, keys: &mut dyn Keys) {
        let key = Key::new(
            "time_scale",
            "How many times longer than in reality every step and every round trip takes: for measurements that must \
             not depend on how finely a small machine's timers tick. Limits in milliseconds stay as they are.",
        );
        keys.number(key, 1..=1_000, &mut self.time_scale);
    }
}
