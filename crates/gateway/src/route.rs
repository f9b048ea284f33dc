//! From method and path to what is asked.

use http::Method;
use plimsoll_types::{Kind, ServeError};

/// What a path asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    /// Something of a model.
    Serve(Kind),
    /// The models, or one of them.
    Models(Option<&'a str>),
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
        "/v1/models" => return Ok(Route::Models(None)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_route() {
        for kind in Kind::ALL {
            assert_eq!(route(&Method::POST, kind.path()), Ok(Route::Serve(kind)));
            assert_eq!(route(&Method::GET, kind.path()), Err(ServeError::WrongMethod { allowed: "POST" }));
        }
        assert_eq!(route(&Method::GET, "/v1/models/a/b"), Ok(Route::Models(Some("a/b"))));
        for path in ["/", "/v1", "/v1/models/", "/v1/../admin", "//v1/models", "/v1/chat/completions;/x"] {
            assert!(matches!(route(&Method::POST, path), Err(ServeError::UnknownRoute { .. })), "{path}");
        }
    }
}
