use std::time::Duration;

use http::Uri;
use plimsoll_types::{Key, Keys, Section};

/// Other gateways before the same backends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peers {
    /// Their operators' ports.
    pub gateways: Vec<String>,
    /// How often each is asked what it has sent.
    pub every: Duration,
}

impl Default for Peers {
    fn default() -> Self {
        Self { gateways: Vec::new(), every: Duration::from_millis(500) }
    }
}

impl Section for Peers {
    fn keys(&mut self, keys: &mut dyn Keys) {
        let key = Key::new(
            "gateways",
            "The operators' ports of other gateways before the same backends, under the same names: `http://10.0.0.2:9464`. Each \
             is asked what it has sent where, so that all know of caches and queues what one would know. A host with several \
             addresses is all of them, this gateway among them or not: one name of a headless service will do.",
        );
        keys.texts(key, &mut self.gateways);
        let key = Key::new("every_ms", "How often each is asked.");
        keys.millis(key, 50..=60_000, &mut self.every);
        for gateway in &self.gateways {
            if host(gateway).is_none() {
                keys.wrong("gateways", format!("{gateway:?} is not http://HOST:PORT"));
            }
        }
    }
}

/// The host of an address that can be asked.
pub(crate) fn host(gateway: &str) -> Option<String> {
    let uri: Uri = gateway.parse().ok()?;
    let plain = matches!(uri.scheme_str(), Some("http" | "https")) && matches!(uri.path(), "" | "/");
    uri.host().filter(|_| plain).map(|host| host.trim_matches(['[', ']']).to_owned())
}
