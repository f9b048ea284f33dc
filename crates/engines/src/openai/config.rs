use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use plimsoll_types::Kind;
use rustls_pki_types::ServerName;
use rustls_pki_types::pem::PemObject;

use super::Backend;
use crate::io::Endpoint;
use crate::metrics::ConnectionMetrics;
use crate::outgoing::{Fields, Understands};
use crate::{Authorize, orca};

/// How to reach a backend with OpenAI's API.
#[derive(Clone)]
pub struct Config {
    /// Its name, for metrics.
    pub name: String,
    /// `http://` or `https://`, a host, a port, and the path before `/v1`, with a query if every call needs one.
    pub url: String,
    /// Where to connect to, in the place of the addresses of the host.
    pub connect_to: Option<IpAddr>,
    /// Header fields of every call.
    pub headers: Vec<(String, String)>,
    /// What proves to the backend who calls.
    pub authorize: Option<Arc<dyn Authorize>>,
    /// Whether to speak HTTP/2 from the first byte (over TLS: as agreed by ALPN).
    pub http2: bool,
    /// A file of PEM certificates to trust in the place of the system's.
    pub ca_file: Option<String>,
    /// How long a connection may take, TLS included.
    pub connect_timeout: Duration,
    /// Whether it understands `stream_options.include_usage`.
    pub ask_usage: bool,
    /// Whether it understands `cache_salt`.
    pub cache_salt: bool,
    /// In which form it is asked to say its load along with answers.
    pub ask_load: orca::Asked,
}

/// What is wrong with a [`Config`], and in which of its keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {why}")]
pub struct Invalid {
    /// The key.
    pub key: &'static str,
    /// Why its value cannot stand.
    pub why: String,
}

fn bad_url(why: impl Into<String>) -> Invalid {
    Invalid { key: "url", why: why.into() }
}

impl Backend {
    /// A backend that is ready to be called.
    ///
    /// # Errors
    ///
    /// Where a value cannot stand: the address, a header, the file of certificates.
    pub fn new(config: &Config) -> Result<Arc<Self>, Invalid> {
        let (endpoint, uri) = address(config, ["http", "https"])?;
        let base = uri.path().trim_end_matches('/');
        // Clients are given addresses that end in /v1; people paste those.
        let base = base.strip_suffix("/v1").unwrap_or(base);
        let query = uri.query().map_or(String::new(), |query| format!("?{query}"));
        let target = |path: &str| format!("{base}{path}{query}");
        Ok(Arc::new(Self {
            endpoint: Arc::new(endpoint),
            http2: config.http2,
            authority: uri.authority().map(ToString::to_string).unwrap_or_default(),
            targets: Kind::ALL.iter().map(|kind| target(path_of(*kind))).collect(),
            models_target: target("/v1/models"),
            base: base.to_owned(),
            query: query.clone(),
            fixed: fixed(config)?,
            authorize: config.authorize.clone(),
            understands: Understands { ask_usage: config.ask_usage, cache_salt: config.cache_salt },
            ask_load: config.ask_load,
            ear: orca::Ear::default(),
        }))
    }
}

/// Where a backend is: `schemes` are those without TLS and with it.
pub(crate) fn address(config: &Config, schemes: [&str; 2]) -> Result<(Endpoint, http::Uri), Invalid> {
    let uri: http::Uri = config.url.parse().map_err(|error| bad_url(format!("{:?}: {error}", config.url)))?;
    let secure = match uri.scheme_str() {
        Some(scheme) if scheme == schemes[0] => false,
        Some(scheme) if scheme == schemes[1] => true,
        _ => return Err(bad_url(format!("must begin with {}:// or {}://", schemes[0], schemes[1]))),
    };
    let authority = uri.authority().ok_or_else(|| bad_url("has no host"))?;
    if authority.as_str().contains('@') {
        return Err(bad_url("must not hold a user or password; use `bearer` or `headers`"));
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let endpoint = Endpoint {
        port: authority.port_u16().unwrap_or(if secure { 443 } else { 80 }),
        tls: if secure { Some(tls(config, &host)?) } else { None },
        host: config.connect_to.map_or(host, |address| address.to_string()),
        connect_timeout: config.connect_timeout,
        metrics: ConnectionMetrics::new(&config.name),
        tls_fails: AtomicBool::new(false),
    };
    Ok((endpoint, uri))
}

/// Engines serve these two without a version.
fn path_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Tokenize => "/tokenize",
        Kind::Detokenize => "/detokenize",
        kind => kind.path(),
    }
}

/// Header fields of every call.
pub(crate) fn fixed(config: &Config) -> Result<Fields, Invalid> {
    const OURS: &[&str] = &[
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "content-type",
        "accept-encoding",
        "x-request-id",
        "te",
        "upgrade",
    ];
    let mut fields = Fields::default();
    // Without it any coding would do (RFC 9110, section 12.5.3), and answers are read on their way.
    fields.add("accept-encoding", "identity");
    fields.add("user-agent", concat!("plimsoll/", env!("CARGO_PKG_VERSION")));
    for (name, value) in &config.headers {
        let bad = |why: String| Invalid { key: "headers", why };
        let name = http::HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| bad(format!("{name:?} is not a name")))?;
        if OURS.contains(&name.as_str()) {
            return Err(bad(format!("{name} is set by the gateway")));
        }
        if http::HeaderValue::from_str(value).is_err() {
            return Err(bad(format!("the value of {name} has characters that no header may have")));
        }
        fields.add(name.as_str(), value);
    }
    Ok(fields)
}

fn tls(config: &Config, host: &str) -> Result<(Arc<rustls::ClientConfig>, ServerName<'static>), Invalid> {
    let name =
        ServerName::try_from(host.to_owned()).map_err(|_| bad_url(format!("{host:?} is not a host")))?;
    let mut roots = rustls::RootCertStore::empty();
    match &config.ca_file {
        Some(file) => {
            let bad = |why: String| Invalid { key: "ca_file", why };
            let certificates = rustls_pki_types::CertificateDer::pem_file_iter(file)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| bad(format!("{file}: {error}")))?;
            if roots.add_parsable_certificates(certificates).0 == 0 {
                return Err(bad(format!("{file} holds no certificate")));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| bad_url(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![if config.http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    Ok((Arc::new(client), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> Config {
        Config {
            name: "b".into(),
            url: url.into(),
            connect_to: None,
            headers: Vec::new(),
            authorize: None,
            http2: false,
            ca_file: None,
            connect_timeout: Duration::from_secs(1),
            ask_usage: true,
            cache_salt: false,
            ask_load: orca::Asked::None,
        }
    }

    #[test]
    fn base_path_and_query_go_around_the_route() {
        let backend = Backend::new(&config("http://h:9/base/v1/?api-version=1")).unwrap();
        assert_eq!(backend.target(Kind::Chat), "/base/v1/chat/completions?api-version=1");
        assert_eq!(backend.target(Kind::Tokenize), "/base/tokenize?api-version=1");
        assert_eq!(backend.authority, "h:9");
    }

    #[test]
    fn what_cannot_stand_is_said_with_its_key() {
        let why = |config: &Config| Backend::new(config).err().unwrap().to_string();
        assert_eq!(why(&config("ftp://x")), "url: must begin with http:// or https://");
        assert!(why(&config("http://u:p@x")).contains("user or password"));
        let mut own = config("http://x");
        own.headers = vec![("Host".into(), "evil".into())];
        assert_eq!(why(&own), "headers: host is set by the gateway");
        let mut missing = config("https://x");
        missing.ca_file = Some("/no/such/file".into());
        assert!(why(&missing).starts_with("ca_file: /no/such/file"));
    }
}
