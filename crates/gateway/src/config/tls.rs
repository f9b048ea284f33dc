use plimsoll_types::{Key, Keys, Section};

/// The certificate of the gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// A file with the chain, in PEM.
    pub certificate: String,
    /// A file with the private key, in PEM.
    pub key: String,
}

impl Section for Tls {
    fn keys(&mut self, keys: &mut dyn Keys) {
        keys.text(Key::new("certificate", "A PEM file with the certificate chain."), &mut self.certificate);
        keys.text(Key::new("key", "A PEM file with the private key."), &mut self.key);
        if self.certificate.is_empty() != self.key.is_empty() {
            keys.wrong("certificate", "certificate and key go together".into());
        }
    }
}
