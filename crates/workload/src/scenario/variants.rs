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
}

impl Default for Variant {
    fn default() -> Self {
        Self { name: String::new(), faults: true, commitments: true }
    }
}

impl Section for Variant {
    fn keys(&mut self, keys: &mut dyn Keys) {
        keys.text(Key::new("name", "What it is called in tables."), &mut self.name);
        keys.flag(Key::new("faults", "Whether the faults happen."), &mut self.faults);
        let key =
            Key::new("commitments", "Whether committed backends are; if not, they are paid for on demand.");
        keys.flag(key, &mut self.commitments);
        if self.name.is_empty() {
            keys.wrong("name", "is missing".into());
        }
    }
}
