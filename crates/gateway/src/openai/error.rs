//! Errors as callers get them: one table from what went wrong to status, type and code.

use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderName, Response, StatusCode};
use plimsoll_types::{Kind, Refusal, ServeError};
use serde_json::{Map, Value, json};

use crate::body::Body;

/// How an error looks in OpenAI's API.
pub(crate) struct Shape {
    pub(crate) status: StatusCode,
    pub(crate) kind: String,
    pub(crate) code: Option<String>,
    pub(crate) param: Option<String>,
}

/// The table.
pub(crate) fn shape(error: &ServeError) -> Shape {
    let (status, kind, code) = match error {
        ServeError::Invalid { code, .. } => (400, "invalid_request_error", *code),
        ServeError::UnknownModel { .. } => (404, "invalid_request_error", "model_not_found"),
        ServeError::ModelNotKnownYet { .. } => (503, "server_error", "model_not_known_yet"),
        ServeError::UnknownRoute { .. } => (404, "invalid_request_error", "unknown_url"),
        ServeError::WrongMethod { .. } => (405, "invalid_request_error", "method_not_allowed"),
        ServeError::NoWebSocket => (426, "invalid_request_error", "upgrade_required"),
        ServeError::Unauthorized(_) => (401, "invalid_request_error", "invalid_api_key"),
        ServeError::TooLarge { .. } => (413, "invalid_request_error", "request_too_large"),
        ServeError::HeadTooLarge { .. } => (431, "invalid_request_error", "headers_too_large"),
        ServeError::UnsupportedMedia(_) => (415, "invalid_request_error", "unsupported_media_type"),
        ServeError::Expectation => (417, "invalid_request_error", "expectation_failed"),
        ServeError::SlowBody => (408, "invalid_request_error", "request_timeout"),
        ServeError::Overloaded { .. } => (503, "server_error", "overloaded"),
        ServeError::NotInTime { .. } => (503, "server_error", "deadline_unreachable"),
        ServeError::Pushback { .. } => (429, "rate_limit_error", "rate_limit_exceeded"),
        ServeError::NoBackend => (503, "server_error", "no_backend"),
        ServeError::Draining => (503, "server_error", "draining"),
        ServeError::Backend(_) => (502, "server_error", "upstream_error"),
        ServeError::Deadline(_) => (504, "server_error", "deadline_exceeded"),
        ServeError::Refused(refusal) => return refused(refusal),
        ServeError::Internal => (500, "server_error", "internal_error"),
    };
    let param = match error {
        ServeError::Invalid { param, .. } => param.map(str::to_owned),
        ServeError::UnknownModel { .. } | ServeError::ModelNotKnownYet { .. } => Some("model".to_owned()),
        _ => None,
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Shape { status, kind: kind.to_owned(), code: Some(code.to_owned()), param }
}

/// Engines have types and codes of their own; callers know OpenAI's. What an engine calls the kind of error becomes the
/// code, unless it gave a code in words.
fn refused(refusal: &Refusal) -> Shape {
    let Refusal { status, kind, code, param, .. } = refusal;
    let status = *status;
    // OpenAI's codes have no blanks; vLLM gives the phrase of the status.
    let is_code = |code: &String| code.parse::<u64>().is_err() && !code.contains(' ');
    let word = code.clone().filter(is_code).or_else(|| kind.clone());
    let code = match word.as_deref() {
        Some("rate_limit_error" | "TooManyRequests") | None if status == 429 => "rate_limit_exceeded",
        Some("server_error" | "overloaded_error" | "ServiceUnavailableError") | None if status >= 500 => {
            "overloaded"
        }
        Some("exceed_context_size_error") => "context_length_exceeded",
        Some("NotFoundError") | None if status == 404 => "not_found",
        Some("invalid_request_error" | "BadRequestError") | None => "invalid_request",
        Some(word) => word,
    };
    Shape {
        status: StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST),
        kind: match status {
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        }
        .to_owned(),
        code: Some(code.to_owned()),
        param: param.clone(),
    }
}

/// The object that tells of `error`, in the API of `kind`.
pub(crate) fn document(error: &ServeError, kind: Option<Kind>) -> Value {
    let Shape { status, kind: word, code, param } = shape(error);
    let message = error.to_string();
    if matches!(kind, Some(Kind::Message | Kind::CountTokens)) {
        let word = match status.as_u16() {
            400 | 405 | 415 | 417 | 422 | 426 | 431 => "invalid_request_error",
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            503 | 529 => "overloaded_error",
            504 => "timeout_error",
            _ => "api_error",
        };
        return json!({"type": "error", "error": {"type": word, "message": message}});
    }
    let mut document = json!({"error": {"message": message, "type": word, "param": param, "code": code}});
    if let ServeError::Refused(refusal) = error
        && let Some(Value::Object(known)) = document.get_mut("error")
    {
        known.extend(serde_json::from_str::<Map<String, Value>>(&refusal.details).unwrap_or_default());
    }
    document
}

/// The answer that tells of `error`.
pub(crate) fn response(error: &ServeError, kind: Option<Kind>) -> Response<Body> {
    let status = shape(error).status;
    let mut response = Response::new(Body::full(document(error, kind).to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(wait) = error.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        headers.insert(HeaderName::from_static("retry-after-ms"), HeaderValue::from(millis));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if matches!(error, ServeError::NoWebSocket) {
        // RFC 9110, section 15.5.22.
        headers.insert(http::header::UPGRADE, HeaderValue::from_static("HTTP/1.1"));
    }
    if let ServeError::WrongMethod { allowed } = error {
        headers.insert(http::header::ALLOW, HeaderValue::from_static(allowed));
    }
    if let ServeError::Refused(refusal) = error
        && let Some(should) = refusal.should_retry
    {
        let word = if should { "true" } else { "false" };
        headers.insert(HeaderName::from_static("x-should-retry"), HeaderValue::from_static(word));
    }
    if matches!(error, ServeError::Deadline(_)) {
        // The time was the caller's own, or attempts were made here already: another try would do the work again.
        headers.insert(HeaderName::from_static("x-should-retry"), HeaderValue::from_static("false"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_all_four_keys_and_a_status_that_fits() {
        let error = ServeError::UnknownModel { model: "x".into(), known: "a, b".into() };
        let answer = document(&error, Some(Kind::Chat));
        assert_eq!(
            answer,
            json!({"error": {
                "message": "the model `x` does not exist here; these do: a, b",
                "type": "invalid_request_error", "param": "model", "code": "model_not_found"
            }})
        );
        assert_eq!(shape(&error).status, 404);
    }

    #[test]
    fn on_messages_errors_look_as_anthropic_has_them() {
        let error = ServeError::Overloaded { retry_after: std::time::Duration::from_secs(2) };
        let answer = document(&error, Some(Kind::Message));
        assert_eq!(answer["type"], "error");
        assert_eq!(answer["error"]["type"], "overloaded_error");
        let response = response(&error, Some(Kind::Message));
        assert_eq!(
            (response.status().as_u16(), &response.headers()[RETRY_AFTER]),
            (503, &HeaderValue::from(2))
        );
    }
}
