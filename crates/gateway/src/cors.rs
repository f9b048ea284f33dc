//! Lets pages of configured origins call this gateway from a browser (Fetch standard, section 3.3, "CORS protocol").

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};

use crate::body::Body;

/// How long a browser may remember that it may ask, in seconds.
const REMEMBERED: HeaderValue = HeaderValue::from_static("600");
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE");
/// Fields of answers that a page may read.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "x-request-id, request-id, retry-after, retry-after-ms, x-should-retry, x-plimsoll-backend, x-plimsoll-explain, \
     x-ratelimit-limit-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-requests, \
     x-ratelimit-remaining-tokens, x-ratelimit-reset-requests, x-ratelimit-reset-tokens",
);

/// The page that asks, if its origin is one of `origins`; `*` among them stands for all.
pub(crate) struct Allowed(HeaderValue);

impl Allowed {
    pub(crate) fn of<B>(request: &Request<B>, origins: &[String]) -> Option<Self> {
        // As a rule none is configured.
        if origins.is_empty() {
            return None;
        }
        let origin = request.headers().get(header::ORIGIN)?;
        let is_listed =
            |listed: &String| listed == "*" || listed.as_bytes().eq_ignore_ascii_case(origin.as_bytes());
        origins.iter().any(is_listed).then(|| Self(origin.clone()))
    }

    /// The answer to a preflight, which asks for leave to send `request`; `None` where it is none.
    pub(crate) fn preflight<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        let asked = request.headers();
        if request.method() != Method::OPTIONS || !asked.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
            return None;
        }
        let mut response = Response::new(Body::full(""));
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, REMEMBERED);
        // Which fields a request may have is checked when it comes.
        if let Some(fields) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, fields.clone());
        }
        if asked.contains_key(PRIVATE_NETWORK) {
            headers.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
        }
        Some(response)
    }

    /// Tells the browser that the page may read the answer with these fields.
    pub(crate) fn tell(self, headers: &mut HeaderMap) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, self.0);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
}

const PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// Whether a page can have this origin: a scheme and a host without a path, or `*`.
pub(crate) fn is_origin(text: &str) -> bool {
    let host = text.split_once("://").map(|(_, host)| host);
    text == "*" || host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', ' ', '?', '#', '@']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method, origin: &str) -> Request<()> {
        Request::builder()
            .method(method)
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type")
            .body(())
            .unwrap()
    }

    #[test]
    fn pages_of_listed_origins_may_ask_and_others_may_not() {
        let (listed, none) = (vec!["https://app.example".to_owned()], Vec::new());
        let ask = request(Method::OPTIONS, "https://app.example");
        assert!(Allowed::of(&ask, &none).is_none());
        assert!(Allowed::of(&request(Method::OPTIONS, "https://evil.example"), &listed).is_none());
        let allowed = Allowed::of(&ask, &listed).unwrap();
        let mut answer = allowed.preflight(&ask).unwrap();
        assert_eq!(answer.status(), 204);
        allowed.tell(answer.headers_mut());
        assert_eq!(answer.headers()["access-control-allow-origin"], "https://app.example");
        assert_eq!(answer.headers()["access-control-allow-headers"], "authorization,content-type");
        let post = request(Method::POST, "https://app.example");
        assert!(
            Allowed::of(&post, &["*".to_owned()]).unwrap().preflight(&post).is_none(),
            "it is the request itself"
        );
    }

    #[test]
    fn an_origin_has_a_scheme_and_no_path() {
        assert!(["*", "https://a.example", "http://localhost:3000"].into_iter().all(is_origin));
        assert!(
            !["a.example", "https://a.example/", "https://*.example", "https://"].into_iter().any(is_origin)
        );
    }
}
