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
    /// Whether gateways send to all regions, or each to the backends of its own: one of [`BORDERS`].
    pub borders: &'static str,
}

/// What borders between regions may be.
const BORDERS: &[&str] = &["open", "closed"];

impl Variant {
    /// Whether a gateway sends to the backends of its own region only.
    #[must_use]
    pub fn closes_borders(&self) -> bool {
        self.borders == BORDERS[1]
    }
}

impl Default for Variant {
    fn default() -> Self {
        Self { name: String::new(), faults: true, commitments: true, borders: BORDERS[0] }
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
        if self.name.is_empty() {
            keys.wrong("name", "is missing".into());
        }
    }
}
