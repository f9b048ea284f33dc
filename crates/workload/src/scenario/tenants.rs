use plimsoll_types::{Key, Keys, Priority, Section};

/// What gateways know of a tenant, as `keys` of their configuration say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its name in the trace.
    pub name: String,
    /// Its share among those that wait.
    pub weight: u64,
    /// How urgent its requests are.
    pub priority: &'static str,
}

impl Default for Tenant {
    fn default() -> Self {
        Self { name: String::new(), weight: 1, priority: Priority::Normal.name() }
    }
}

impl Tenant {
    /// How urgent its requests are.
    #[must_use]
    pub fn priority(&self) -> Priority {
        Priority::named(self.priority).unwrap_or_default()
    }
}

impl Section for Tenant {
    fn keys(&mut self, keys: &mut dyn Keys) {
        keys.text(Key::new("name", "Its name in the trace."), &mut self.name);
        keys.number(Key::new("weight", "Its share among those that wait."), 1..=1_000, &mut self.weight);
        keys.choice(
            Key::new("priority", "How urgent its requests are."),
            &Priority::NAMES,
            &mut self.priority,
        );
    }
}
