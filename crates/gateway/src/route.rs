//! From method and path to what is asked.

use std::borrow::Cow;

use http::Method;
use plimsoll_types::{Kind, ServeError};

use crate::openai::stored::Stored;

/// What a path asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    /// Something of a model.
    Serve(Kind),
    /// The models, or one of them.
    Models(Option<&'a str>),
    /// Something of a response that a backend has stored.
    Stored(Stored<'a>),
    /// Whether this gateway serves, for a load balancer before several gateways.
    Health,
}

/// `path` without doubled slashes and without one at its end, which clients make when they join a base URL and a path. No
/// path reaches a backend, so that it has no second meaning.
pub(crate) fn slashes(path: &str) -> Cow<'_, str> {
    if path.contains("//") || (path.len() > 1 && path.ends_with('/')) {
        let parts = path.split('/').filter(|part| !part.is_empty());
        return Cow::Owned(parts.fold(String::with_capacity(path.len()), |path, part| path + "/" + part));
    }
    Cow::Borrowed(path)
}

/// The route of `method` and `path`.
///
/// # Errors
///
/// [`ServeError::UnknownRoute`] or [`ServeError::WrongMethod`].
pub(crate) fn route<'a>(method: &Method, path: &'a str) -> Result<Route<'a>, ServeError> {
    let kind = match path {
        "/v1/chat/completions" => Kind::Chat,
        "/v1/completions" => Kind::Completion,
        "/v1/embeddings" => Kind::Embedding,
        "/v1/responses" => Kind::Response,
        // Engines and their clients use these without a version too.
        "/v1/rerank" | "/rerank" | "/v2/rerank" => Kind::Rerank,
        "/v1/score" | "/score" => Kind::Score,
        "/v1/tokenize" | "/tokenize" => Kind::Tokenize,
        "/v1/detokenize" | "/detokenize" => Kind::Detokenize,
        "/v1/messages" => Kind::Message,
        "/v1/messages/count_tokens" => Kind::CountTokens,
        "/v1/models" => return Ok(Route::Models(None)),
        "/" | "/health" | "/healthz" | "" if matches!(*method, Method::GET | Method::HEAD) => {
            return Ok(Route::Health);
        }
        _ if let Some(stored) = stored(method, path)? => return Ok(Route::Stored(stored)),
        _ => match path.strip_prefix("/v1/models/") {
            Some(id) if !id.is_empty() => return Ok(Route::Models(Some(id))),
            _ => {
                let cut = |text: &str| text.chars().take(100).collect();
                return Err(ServeError::UnknownRoute { method: cut(method.as_str()), path: cut(path) });
            }
        },
    };
    if method == Method::POST {
        Ok(Route::Serve(kind))
    } else {
        Err(ServeError::WrongMethod { allowed: "POST" })
    }
}

fn stored<'a>(method: &Method, path: &'a str) -> Result<Option<Stored<'a>>, ServeError> {
    match path.strip_prefix("/v1/responses/") {
        Some(below) => Stored::of(method, below),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_that_clients_join_a_base_url_with_have_no_second_meaning() {
        for path in ["/v1/models", "/v1//models", "/v1/models/", "//v1///models//"] {
            assert_eq!(slashes(path), "/v1/models");
        }
        assert_eq!(slashes("/"), "/");
        assert_eq!(route(&Method::HEAD, "/health"), Ok(Route::Health));
        assert!(route(&Method::POST, "/health").is_err());
    }

    #[test]
    fn every_kind_has_its_route() {
        for kind in Kind::ALL {
            assert_eq!(route(&Method::POST, kind.path()), Ok(Route::Serve(kind)));
            assert_eq!(route(&Method::GET, kind.path()), Err(ServeError::WrongMethod { allowed: "POST" }));
        }
        assert_eq!(route(&Method::GET, "/v1/models/a/b"), Ok(Route::Models(Some("a/b"))));
        for path in ["/v1", "/v1/models/", "/v1/../admin", "//v1/models", "/v1/chat/completions;/x"] {
            assert!(matches!(route(&Method::POST, path), Err(ServeError::UnknownRoute { .. })), "{path}");
        }
    }
}
