use plimsoll_types::Keys;

use super::{BackendConfig, Config};

/// What was said on the command line. It counts before what a file says, also when the file is read again.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Where callers are served.
    pub listen: Option<String>,
    /// Where operators are served.
    pub admin: Option<String>,
    /// Cores to use.
    pub threads: Option<u64>,
    /// Whether callers beyond loopback may come without a key; a file may say so too.
    pub allow_anyone: bool,
    /// Addresses of backends, where the file has none.
    pub backends: Vec<String>,
}

impl Config {
    /// Puts what was said on the command line in the place of what the file says.
    pub(super) fn override_keys(&mut self, keys: &mut dyn Keys) {
        let said = self.overrides.clone();
        self.listen = said.listen.unwrap_or(std::mem::take(&mut self.listen));
        self.admin = said.admin.unwrap_or(std::mem::take(&mut self.admin));
        self.threads = said.threads.unwrap_or(self.threads);
        self.allow_anyone |= said.allow_anyone;
        if said.backends.is_empty() {
            return;
        }
        if !self.backends.is_empty() {
            return keys.wrong("backends", "are given in the file and by --backend; one must go".into());
        }
        for (index, url) in said.backends.into_iter().enumerate() {
            let backend = BackendConfig::at(format!("b{}", index + 1), url);
            if let Some(invalid) = backend.unreachable() {
                keys.wrong("backends", format!("--backend {}: {}", backend.url, invalid.why));
            }
            self.backends.push(backend);
        }
    }
}
