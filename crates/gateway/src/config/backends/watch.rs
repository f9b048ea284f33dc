//! Where a backend says how it is: its load, and what its cache holds.

use plimsoll_engines::openai;
use plimsoll_fleet::Publisher;

use super::engine::wrong_with;
use super::{BackendConfig, METRICS};

impl BackendConfig {
    /// Paths where its metrics may be, the likely one first; none where it is not to be asked.
    pub(crate) fn metrics_paths(&self) -> Vec<String> {
        match self.metrics.as_str() {
            "" => Vec::new(),
            // A port for gRPC has none.
            _ if self.speaks_grpc() => Vec::new(),
            // TensorRT-LLM has them elsewhere.
            METRICS => vec![METRICS.into(), "/prometheus/metrics".into()],
            path => vec![path.into()],
        }
    }

    /// How to ask for its metrics, and by which path, where they have an address of their own. Who is there may be somebody
    /// else, and gets no secrets.
    pub(crate) fn metrics_elsewhere(&self) -> Result<Option<(openai::Config, String)>, String> {
        let metrics = &self.metrics;
        if metrics.is_empty() || is_path(metrics) {
            return Ok(None);
        }
        let wrong = || {
            format!(
                "{metrics:?} is not a path, such as /metrics, or an address, such as http://host:8002/metrics"
            )
        };
        let uri: http::Uri = metrics.parse().map_err(|_| wrong())?;
        let (scheme, authority) = uri.scheme().zip(uri.authority()).ok_or_else(wrong)?;
        let url = format!("{scheme}://{authority}");
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let connect_to = self.connect_to.filter(|_| Some(authority.host()) == self.host().as_deref());
        let engine = openai::Config {
            url,
            connect_to,
            headers: Vec::new(),
            authorize: None,
            http2: false,
            ..self.engine()
        };
        wrong_with(&engine).map_or(Ok(Some((engine, path.to_owned()))), |invalid| Err(invalid.why))
    }

    /// Who tells of its cache.
    #[must_use]
    pub fn publisher(&self) -> Option<Publisher> {
        Some(Publisher { events: tcp(&self.kv_events)?, replay: tcp(&self.kv_replay) })
    }
}

pub(super) fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.parse::<http::uri::PathAndQuery>().is_ok()
}

/// Host and port of an address as ZeroMQ writes it.
pub(super) fn tcp(address: &str) -> Option<String> {
    let authority: http::uri::Authority = address.strip_prefix("tcp://")?.parse().ok()?;
    (authority.port_u16().is_some() && !authority.as_str().contains('@')).then(|| authority.to_string())
}
