//! The endpoint under load, and what is asked of it before load begins.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_engines::openai::{Backend, Config, Invalid, Listing};
use plimsoll_engines::{Bearer, Failure, refusal};
use plimsoll_types::{Clock, TokioClock};

use super::keys::TenantKeys;

/// An endpoint with OpenAI's API.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// `http://` or `https://`, a host, a port, and the path before `/v1`.
    pub url: String,
    /// The API keys, if it wants any.
    pub keys: TenantKeys,
    /// Header fields of every request.
    pub headers: Vec<(String, String)>,
    /// Whether to speak HTTP/2.
    pub http2: bool,
    /// A file of PEM certificates to trust in the place of the system's.
    pub ca_file: Option<String>,
}

/// Why an endpoint cannot be put under load, in one sentence.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The address, a header or the file of certificates cannot stand.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Nobody answers there.
    #[error("nobody answers at {url}: {why}")]
    Silent {
        /// The address.
        url: String,
        /// Why.
        why: Failure,
    },
    /// It wants a key, or another one.
    #[error("{url} does not accept the key ({status}: {said}); give one with --key-file or PLIMSOLL_KEY")]
    Key {
        /// The address.
        url: String,
        /// 401 or 403.
        status: u16,
        /// What it says.
        said: String,
    },
    /// It does not serve the model.
    #[error("{url} does not serve {model:?}; it serves {}", .known.join(", "))]
    Model {
        /// The address.
        url: String,
        /// The model that was asked for.
        model: String,
        /// Those that it serves.
        known: Vec<String>,
    },
    /// It serves several models and none was named.
    #[error("{url} serves {}: name one with --model", .known.join(", "))]
    Choice {
        /// The address.
        url: String,
        /// Those that it serves.
        known: Vec<String>,
    },
    /// It does not say what it serves, and no model was named.
    #[error("{url} does not list its models ({status}): name one with --model")]
    Unlisted {
        /// The address.
        url: String,
        /// The status of its answer.
        status: u16,
    },
}

impl Target {
    /// The address as it may be shown: a query may hold a key.
    #[must_use]
    pub fn name(&self) -> String {
        self.url.split('?').next().unwrap_or("").to_owned()
    }

    /// What engines for this endpoint are made of. With `authorize` they send the key by themselves.
    pub(super) fn backend(&self, authorize: bool) -> Result<Arc<Backend>, Invalid> {
        let key = self.keys.any().filter(|_| authorize);
        Backend::new(&Config {
            name: "target".to_owned(),
            url: self.url.clone(),
            connect_to: None,
            headers: self.headers.clone(),
            authorize: key.map(|key| Arc::new(Bearer::new(key)) as Arc<_>),
            http2: self.http2,
            ca_file: self.ca_file.clone(),
            connect_timeout: Duration::from_secs(10),
            ask_usage: false,
            cache_salt: false,
            ask_load: plimsoll_engines::orca::Asked::None,
        })
    }

    /// Asks the endpoint what it serves and gives the model to ask for: `named`, or the only one that it has. `None`
    /// where it has all of `traced`, the models of the trace, and each request may ask for its own. Wants a `LocalSet`
    /// around it.
    ///
    /// # Errors
    ///
    /// Where load would come to nothing; the sentence says why.
    pub async fn check(&self, named: Option<&str>, traced: &[String]) -> Result<Option<String>, Unusable> {
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::start());
        let engine = self.backend(true)?.engine(&clock);
        let listing = engine.list().await.map_err(|why| Unusable::Silent { url: self.name(), why })?;
        self.choose(named, traced, listing)
    }

    fn choose(
        &self,
        named: Option<&str>,
        traced: &[String],
        listing: Listing,
    ) -> Result<Option<String>, Unusable> {
        let (url, status) = (self.name(), listing.status);
        if matches!(status, 401 | 403) {
            return Err(Unusable::Key { url, status, said: self.keys.hide(&said(status, &listing.body)) });
        }
        let known = listing.models.unwrap_or_default();
        match named {
            Some(model) if known.is_empty() || known.iter().any(|one| one == model) => {
                Ok(Some(model.to_owned()))
            }
            Some(model) => Err(Unusable::Model { url, model: model.to_owned(), known }),
            None if known.is_empty() => Err(Unusable::Unlisted { url, status }),
            None if traced.iter().all(|model| known.contains(model)) => Ok(None),
            None if known.len() == 1 => Ok(known.into_iter().next()),
            None => Err(Unusable::Choice { url, known }),
        }
    }
}

/// What an answer with an error says, in its own words.
pub(super) fn said(status: u16, body: &[u8]) -> String {
    refusal(status, body).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn target() -> Target {
        let keys = TenantKeys { default: Some("s3cret".into()), ..TenantKeys::default() };
        Target { url: "http://h:1/?key=s3cret".into(), keys, ..Target::default() }
    }

    fn choose(model: Option<&str>, status: u16, models: Option<&[&str]>, body: &'static str) -> String {
        let models = models.map(|names| names.iter().map(|&name| name.to_owned()).collect());
        let listing = Listing { status, models, body: Bytes::from_static(body.as_bytes()) };
        let chosen = target().choose(model, &["traced".to_owned()], listing);
        chosen.map_or_else(|why| why.to_string(), |model| model.unwrap_or_else(|| "as traced".to_owned()))
    }

    #[test]
    fn the_only_model_need_not_be_named() {
        assert_eq!(choose(None, 200, Some(&["m"]), ""), "m");
        assert_eq!(choose(Some("m"), 200, Some(&["l", "m"]), ""), "m");
        assert_eq!(choose(Some("m"), 404, None, ""), "m");
    }

    #[test]
    fn models_of_a_trace_that_are_all_served_stay_as_they_are() {
        assert_eq!(choose(None, 200, Some(&["l", "traced"]), ""), "as traced");
    }

    #[test]
    fn what_would_come_to_nothing_is_one_sentence_with_what_is_known() {
        assert_eq!(
            choose(Some("x"), 200, Some(&["l", "m"]), ""),
            "http://h:1/ does not serve \"x\"; it serves l, m"
        );
        assert_eq!(
            choose(None, 200, Some(&["l", "m"]), ""),
            "http://h:1/ serves l, m: name one with --model"
        );
        assert_eq!(
            choose(None, 404, None, ""),
            "http://h:1/ does not list its models (404): name one with --model"
        );
    }

    #[test]
    fn a_refused_key_is_not_told_on() {
        let why = choose(Some("m"), 401, None, r#"{"error":{"message":"no such key: s3cret"}}"#);
        assert!(why.contains("does not accept the key (401: no such key: [key])"), "{why}");
    }

    #[test]
    fn a_target_that_is_none_is_refused_with_its_key() {
        let bad = Target { url: "ftp://h".into(), ..Target::default() };
        let why = bad.backend(true).err().map(|invalid| Unusable::from(invalid).to_string());
        assert_eq!(why.as_deref(), Some("url: must begin with http:// or https://"));
    }
}
