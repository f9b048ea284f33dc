use std::path::PathBuf;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::file;

/// A certificate that stands for itself, with its key.
pub(crate) struct Certificates {
    /// Files in PEM.
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    chain: CertificateDer<'static>,
    private: PrivateKeyDer<'static>,
}

impl Certificates {
    /// A certificate for `host`.
    pub(crate) fn of(host: &str) -> Self {
        let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
        Self {
            certificate: file("certificate.pem", &made.cert.pem()),
            key: file("key.pem", &made.signing_key.serialize_pem()),
            chain: made.cert.der().clone(),
            private: PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap(),
        }
    }

    /// A server that shows this certificate and speaks these protocols.
    pub(crate) fn acceptor(&self, protocols: &[&str]) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.chain.clone()], self.private.clone_key())
            .unwrap();
        config.alpn_protocols = named(protocols);
        TlsAcceptor::from(Arc::new(config))
    }

    /// A client that trusts this certificate only and offers these protocols.
    pub(crate) fn connector(&self, protocols: &[&str]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.chain.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = named(protocols);
        TlsConnector::from(Arc::new(config))
    }
}

fn named(protocols: &[&str]) -> Vec<Vec<u8>> {
    protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect()
}
