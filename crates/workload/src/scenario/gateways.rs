use plimsoll_types::{Key, Keys, Section};

/// Gateways in one place, each with a fleet snapshot of its own: none knows what the others have sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Gateway {
    /// Where they are: `cloud/region`, or the name of a region of the trace.
    pub region: String,
    /// How many there are; callers take them in turn.
    pub count: u64,
}

/// How far two regions are from each other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RoundTrip {
    /// The one.
    pub from: String,
    /// The other.
    pub to: String,
    /// There and back, in milliseconds.
    pub ms: f64,
}

impl Default for Gateway {
    fn default() -> Self {
        Self { region: String::new(), count: 1 }
    }
}

impl RoundTrip {
    /// Whether it is between `a` and `b`, in either direction.
    #[must_use]
    pub fn joins(&self, a: &str, b: &str) -> bool {
        (self.from == a && self.to == b) || (self.from == b && self.to == a)
    }
}

impl Section for Gateway {
    fn keys(&mut self, keys: &mut dyn Keys) {
        let key = Key::new("region", "Where they are: `cloud/region`, or the name of a region of the trace.");
        keys.text(key, &mut self.region);
        keys.number(
            Key::new("count", "How many there are; callers take them in turn."),
            1..=1_000,
            &mut self.count,
        );
    }
}

impl Section for RoundTrip {
    fn keys(&mut self, keys: &mut dyn Keys) {
        keys.text(Key::new("from", "One region: `cloud/region`, or a region of the trace."), &mut self.from);
        keys.text(Key::new("to", "The other; the way back is as long."), &mut self.to);
        keys.decimal(Key::new("ms", "There and back, in milliseconds."), 0.0..=10_000.0, &mut self.ms);
        if self.from.is_empty() || self.to.is_empty() {
            keys.wrong("from", "a round trip is between two regions: from and to".into());
        }
    }
}
