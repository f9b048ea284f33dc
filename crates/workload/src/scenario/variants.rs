use plimsoll_types::{Key, Keys, Section};

/// The same world but for one thing: the rows of a comparison beside the policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// What it is called in tables; empty where there is only one.
    pub name: String,
    /// Whether the faults happen.
    pub faults: bool,
    /// Whether committed backends are committed; if not, they are paid for on demand.
    pub commitments: bool,
    /// Whether gateways send to all regions, or each to the backends of its own: `open` or `closed`.
    pub borders: &'static str,
    /// Whether backends have a line; if not, every request is sent on at once.
    pub line: bool,
    /// Whether backends that are slow beside their peers are taken out of service.
    pub eject_slow: bool,
    /// In what order those leave that wait at it.
    pub queue_order: &'static str,
}

/// What borders between regions may be.
const BORDERS: &[&str] = &["open", "closed"];
/// Orders of the queue that a variant can name, and none.
const ORDERS: &[&str] = &["as_configured", "short_first", "arrival"];

impl Default for Variant {
    fn default() -> Self {
        Self {
            name: String::new(),
            faults: true,
            commitments: true,
            borders: BORDERS[0],
            line: true,
            eject_slow: true,
            queue_order: ORDERS[0],
        }
    }
}

impl Variant {
    /// Whether a gateway sends to the backends of its own region only.
    #[must_use]
    pub fn closes_borders(&self) -> bool {
        self.borders == BORDERS[1]
    }

    /// What gateways are configured with in this variant.
    pub(crate) fn configure(
        &self,
        routing: &mut plimsoll_routing::Config,
        pipeline: &mut plimsoll_pipeline::Config,
    ) {
        if !self.line {
            (routing.line_kv_share, routing.line_prompt_tokens) = (0.0, 0);
            routing.line_prefill = std::time::Duration::ZERO;
        }
        if !self.eject_slow {
            routing.slow_ratio = 0.0;
        }
        if self.queue_order != ORDERS[0] {
            pipeline.queue_order = self.queue_order;
        }
    }
}

impl Section for Variant {
    fn keys(&mut self, keys: &mut dyn Keys) {
        keys.text(Key::new("name", "What it is called in tables."), &mut self.name);
        keys.flag(Key::new("faults", "Whether the faults happen."), &mut self.faults);
        let key =
            Key::new("commitments", "Whether committed backends are; if not, they are paid for on demand.");
        keys.flag(key, &mut self.commitments);
        let key = Key::new(
            "borders",
            "Whether gateways send to the backends of all regions (`open`), or of their own only (`closed`).",
        );
        keys.choice(key, BORDERS, &mut self.borders);
        let key = Key::new("line", "Whether backends have a line; if not, every request is sent on at once.");
        keys.flag(key, &mut self.line);
        let key = Key::new(
            "eject_slow",
            "Whether backends that are slow beside their peers are taken out of service (`routing.slow_ratio`).",
        );
        keys.flag(key, &mut self.eject_slow);
        let key = Key::new("queue_order", "In the place of `pipeline.queue_order`.");
        keys.choice(key, ORDERS, &mut self.queue_order);
        if self.name.is_empty() {
            keys.wrong("name", "is missing".into());
        }
    }
}
