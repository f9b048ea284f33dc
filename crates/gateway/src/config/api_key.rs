use std::fmt;

use plimsoll_types::{Key, Keys, Priority, Section};

use crate::auth;

/// A key that lets its holder in, as a tenant.
#[derive(Clone)]
pub struct ApiKey {
    /// Who that is.
    pub tenant: String,
    /// Where its requests may be served; none means everywhere.
    pub residency: Vec<String>,
    /// The key itself.
    pub key: String,
    /// Or its SHA-256, in hexadecimal.
    pub sha256: String,
    /// The tenant's share among those that wait.
    pub weight: u64,
    /// The most urgent that its requests may be.
    pub priority: &'static str,
}

impl Default for ApiKey {
    fn default() -> Self {
        Self {
            tenant: String::new(),
            key: String::new(),
            sha256: String::new(),
            weight: 1,
            priority: Priority::Normal.name(),
            residency: Vec::new(),
        }
    }
}

impl ApiKey {
    /// Lets go of the key itself: its hash does as well.
    pub(crate) fn forget(&mut self) {
        if !self.key.is_empty() {
            self.sha256 = auth::sha256_hex(std::mem::take(&mut self.key).as_bytes());
        }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

impl Section for ApiKey {
    fn keys(&mut self, keys: &mut dyn Keys) {
        keys.text(Key::new("tenant", "Who the key stands for, in logs."), &mut self.tenant);
        let key = Key::new(
            "residency",
            "Where its requests may be served: labels, clouds or regions of backends, of which one must hold; none means \
             everywhere.",
        );
        keys.texts(key, &mut self.residency);
        keys.secret(
            Key::new("key", "The key; better by `${NAME}`, by `key_file`, or as `sha256`."),
            &mut self.key,
        );
        keys.text(
            Key::new("sha256", "The SHA-256 of the key, in hexadecimal, in the place of the key."),
            &mut self.sha256,
        );
        let key = Key::new(
            "weight",
            "The tenant's share of what backends can do while requests wait: one with 2 gets twice as many tokens as one \
             with 1.",
        );
        keys.number(key, 1..=1_000, &mut self.weight);
        let key = Key::new(
            "priority",
            "The most urgent that its requests may be, whatever they say in `x-plimsoll-priority` or `priority`.",
        );
        keys.choice(key, &Priority::NAMES, &mut self.priority);
        if self.tenant.is_empty() {
            keys.wrong("tenant", "is missing".into());
        }
        let hex = self.sha256.len() == 64 && self.sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        match (self.key.len(), self.sha256.is_empty()) {
            (0, true) => keys.wrong("key", "is missing: give `key`, `key_file` or `sha256`".into()),
            (0, false) if !hex => keys.wrong("sha256", "is not 64 hexadecimal digits".into()),
            (1..16, true) => keys.wrong("key", "is shorter than 16 characters".into()),
            (1.., false) => keys.wrong("sha256", "is given beside a key".into()),
            _ => {}
        }
    }
}
