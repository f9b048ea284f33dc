//! The header fields of a request: read once, checked where hyper leaves it to us.
//!
//! What is refused here is what two readers in a row could understand differently (RFC 9112, section 11.2): a doubled
//! or malformed host, a transfer coding besides `chunked`, an unknown expectation.

use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Version};
use plimsoll_types::{Forward, Priority, ServeError, Text};
use smallvec::SmallVec;

use crate::config::Requests;
use crate::explain::Asked;

/// What was read from the header fields of one request.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) request_id: Option<Text>,
    /// What the caller shows as keys: as a rule one, and two where it has one of the gateway and one of a provider.
    pub(crate) keys: SmallVec<[Bytes; 1]>,
    /// Whether there is one in a scheme that is not ours.
    pub(crate) bad_key: bool,
    /// Whether there is an Authorization field.
    pub(crate) authorization: bool,
    /// Whether the content type is JSON; `None` where it is not said.
    pub(crate) json: Option<bool>,
    pub(crate) forward: Forward,
    /// What the caller asks of the way that its request takes.
    pub(crate) explain: Asked,
    /// The longest silence that the caller's SDK bears.
    pub(crate) read_timeout: Option<Duration>,
    /// The time that the caller's SDK allows for all.
    pub(crate) timeout: Option<Duration>,
    /// How urgent the caller says it is.
    pub(crate) priority: Option<Priority>,
    /// Where the request may be served.
    pub(crate) residency: Option<Text>,
    pub(crate) host: Option<HeaderValue>,
    pub(crate) chunked: bool,
    /// The query of the target.
    pub(crate) query: Option<Text>,
    /// Whether the caller would rather speak WebSocket.
    pub(crate) websocket: bool,
}

/// How urgent a request is; backends do not see it.
const PRIORITY: &str = "x-plimsoll-priority";
/// Fields of callers that backends see.
const FORWARDED: &[&str] =
    &["traceparent", "tracestate", "anthropic-version", "anthropic-beta", "openai-beta"];

/// Where a request may be served: labels, clouds or regions with commas between, of which one must hold.
const RESIDENCY: &str = "x-plimsoll-residency";

/// Reads and checks the fields of `request`.
///
/// # Errors
///
/// What must be refused.
pub(crate) fn read<B>(request: &Request<B>, limits: &Requests) -> Result<Head, ServeError> {
    let mut head = Head { query: request.uri().query().map(Text::from), ..Head::default() };
    let mut size = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    for (name, value) in request.headers() {
        size += name.as_str().len() + value.len() + 4;
        head.field(name, value)?;
    }
    if size as u64 > limits.max_head_bytes {
        return Err(ServeError::HeadTooLarge {
            limit_bytes: limits.max_head_bytes as usize,
            limit_fields: 100,
        });
    }
    head.check_framing(request.headers())?;
    head.check_authority(request)?;
    Ok(head)
}

impl Head {
    fn field(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), ServeError> {
        match *name {
            header::HOST => match self.host.replace(value.clone()) {
                None => {}
                Some(_) => return Err(ServeError::invalid("the request has two Host fields")),
            },
            header::AUTHORIZATION if self.authorization => {
                return Err(ServeError::Unauthorized("the request has two Authorization fields"));
            }
            header::AUTHORIZATION => {
                self.authorization = true;
                match bearer(value) {
                    Some(key) => self.key(key),
                    None => self.bad_key = true,
                }
            }
            header::CONTENT_TYPE if self.json.is_some() => {
                return Err(ServeError::UnsupportedMedia("the request has two Content-Type fields"));
            }
            header::CONTENT_TYPE => self.json = Some(is_json(value)),
            header::CONTENT_ENCODING if value != "identity" => {
                return Err(ServeError::UnsupportedMedia("bodies must come without Content-Encoding"));
            }
            header::TRANSFER_ENCODING => {
                if self.chunked || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                    return Err(ServeError::invalid(
                        "the only Transfer-Encoding understood is `chunked`, once",
                    ));
                }
                self.chunked = true;
            }
            header::UPGRADE => self.websocket = value.as_bytes().eq_ignore_ascii_case(b"websocket"),
            header::EXPECT if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
                return Err(ServeError::Expectation);
            }
            _ if name == PRIORITY => {
                let named = value.to_str().ok().and_then(Priority::named);
                let unknown = || ServeError::invalid("x-plimsoll-priority must be high, normal or low");
                self.priority = Some(named.ok_or_else(unknown)?);
            }
            _ => self.other(name.as_str(), value)?,
        }
        Ok(())
    }

    fn other(&mut self, name: &str, value: &HeaderValue) -> Result<(), ServeError> {
        match name {
            RESIDENCY => return self.allow(value),
            "x-request-id" => self.request_id = value.to_str().ok().filter(|id| is_id(id)).map(Text::from),
            "x-api-key" | "api-key" => self.key(Bytes::copy_from_slice(value.as_bytes())),
            "x-plimsoll-explain" => self.explain = Asked::read(value),
            "x-stainless-read-timeout" => self.read_timeout = seconds(value),
            "x-stainless-timeout" => self.timeout = self.timeout.or(seconds(value)),
            "x-plimsoll-timeout" => self.timeout = Some(own_seconds(value)?),
            _ => {
                if let Some(name) = FORWARDED.iter().find(|forwarded| **forwarded == name)
                    && value.len() <= 1_024
                    && let Ok(text) = value.to_str()
                {
                    self.forward.push((name, Text::from(text)));
                }
            }
        }
        Ok(())
    }

    /// The request may be served in these places only. A rule that is not understood must not be passed over.
    fn allow(&mut self, value: &HeaderValue) -> Result<(), ServeError> {
        self.allow_places(value.to_str().unwrap_or_default())
    }

    /// As [`Self::allow`], for a caller who says it elsewhere.
    pub(crate) fn allow_places(&mut self, places: &str) -> Result<(), ServeError> {
        if !is_list(places) {
            return Err(ServeError::invalid(
                "the residency is not a list of places with commas between, such as `eu,ch`",
            ));
        }
        if self.residency.is_some() {
            return Err(ServeError::invalid("the residency of the request is given twice"));
        }
        self.forward.push((RESIDENCY, Text::from(places)));
        self.residency = Some(Text::from(places));
        Ok(())
    }

    /// Whether the host asked for is an address or `localhost`, and not a name that anybody may have made up.
    pub(crate) fn is_for_this_machine(&self) -> bool {
        let host = self.host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        let name =
            host.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map_or(host, |(name, _)| name);
        let ip = name.trim_start_matches('[').trim_end_matches(']');
        name == "localhost" || ip.parse::<std::net::IpAddr>().is_ok()
    }

    fn key(&mut self, key: Bytes) {
        if !self.keys.contains(&key) {
            self.keys.push(key);
        }
    }

    fn check_framing(&self, headers: &HeaderMap) -> Result<(), ServeError> {
        if self.chunked && headers.contains_key(header::CONTENT_LENGTH) {
            return Err(ServeError::invalid("the request has both Content-Length and Transfer-Encoding"));
        }
        Ok(())
    }

    fn check_authority<B>(&self, request: &Request<B>) -> Result<(), ServeError> {
        let bad = || ServeError::invalid("the Host of the request is not a host");
        if request.version() < Version::HTTP_11 && self.chunked {
            return Err(ServeError::invalid("HTTP/1.0 has no Transfer-Encoding"));
        }
        match (&self.host, request.uri().authority()) {
            (None, None) if request.version() == Version::HTTP_11 => {
                Err(ServeError::invalid("the request has no Host"))
            }
            (host, authority) => {
                let named = authority.map(|authority| authority.as_str().as_bytes());
                let both = host.iter().map(|host| host.as_bytes()).chain(named);
                if both.into_iter().all(is_authority) { Ok(()) } else { Err(bad()) }
            }
        }
    }
}

fn bearer(value: &HeaderValue) -> Option<Bytes> {
    let (scheme, key) = value.as_bytes().split_at_checked(7)?;
    let key = key.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !key.is_empty()).then(|| Bytes::copy_from_slice(key))
}

fn is_json(value: &HeaderValue) -> bool {
    let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or(&[]).trim_ascii();
    essence.eq_ignore_ascii_case(b"application/json")
}

/// Words with commas between, at most 32 of them.
fn is_list(places: &str) -> bool {
    let is_word = |word: &str| {
        let word = word.trim();
        (1..=64).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_graphic())
    };
    places.split(',').count() <= 32 && places.split(',').all(is_word)
}

fn is_id(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

fn seconds(value: &HeaderValue) -> Option<Duration> {
    let seconds: f64 = value.to_str().ok()?.trim().parse().ok()?;
    // Below this nothing can be served, and NaN and infinity are no times.
    Duration::try_from_secs_f64(seconds).ok().filter(|timeout| *timeout >= Duration::from_millis(1))
}

/// As [`seconds`], where the caller speaks to this gateway: what is not understood must not be passed over.
fn own_seconds(value: &HeaderValue) -> Result<Duration, ServeError> {
    seconds(value).ok_or_else(|| {
        ServeError::invalid("x-plimsoll-timeout must be the seconds that the caller waits, 0.001 or more")
    })
}

/// Host and port as RFC 3986 has them, without user information (CVE-2026-48746: garbage in Host led around a check).
fn is_authority(authority: &[u8]) -> bool {
    let (host, port) = match authority {
        [b'[', rest @ ..] => match rest.iter().position(|byte| *byte == b']') {
            Some(end)
                if std::str::from_utf8(&rest[..end])
                    .is_ok_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok()) =>
            {
                (&rest[..end], &rest[end + 1..])
            }
            _ => return false,
        },
        _ => authority.split_at(authority.iter().position(|byte| *byte == b':').unwrap_or(authority.len())),
    };
    let in_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:".contains(byte);
    let port_is_one = match port {
        [] => true,
        [b':', digits @ ..] => {
            std::str::from_utf8(digits).is_ok_and(|port| port.is_empty() || port.parse::<u16>().is_ok())
        }
        _ => false,
    };
    !host.is_empty() && host.iter().all(in_name) && port_is_one
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(fields: &[(&str, &str)]) -> Result<Head, ServeError> {
        let mut request = Request::builder().uri("/v1/models");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        read(&request.body(()).unwrap(), &Requests::default())
    }

    #[test]
    fn hosts_that_are_none_are_refused() {
        for host in ["x/v1/models?", "x?y", "a b", "a@b", "x#y", "[::1", "x:99999999", "", ":80"] {
            assert!(look(&[("host", host)]).is_err(), "{host}");
        }
        for host in ["localhost", "a.b:8080", "127.0.0.1:1", "[::1]:80", "x:"] {
            assert!(look(&[("host", host)]).is_ok(), "{host}");
        }
        assert!(look(&[]).is_err());
        assert!(look(&[("host", "a"), ("host", "a")]).is_err());
    }

    #[test]
    fn framing_that_could_be_read_in_two_ways_is_refused() {
        for coding in ["gzip, chunked", "chunked, chunked", "identity"] {
            assert!(look(&[("host", "h"), ("transfer-encoding", coding)]).is_err(), "{coding}");
        }
        assert!(
            look(&[("host", "h"), ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")])
                .is_err()
        );
        assert!(look(&[("host", "h"), ("transfer-encoding", "chunked"), ("content-length", "5")]).is_err());
        assert!(look(&[("host", "h"), ("transfer-encoding", "ChUnKeD")]).is_ok());
        assert_eq!(
            look(&[("host", "h"), ("expect", "y 100-continue")]).unwrap_err(),
            ServeError::Expectation
        );
    }

    #[test]
    fn keys_come_in_three_ways_and_may_be_two() {
        let keys =
            |fields: &[(&str, &str)]| look(fields).map(|head| (head.keys.to_vec(), head.bad_key)).unwrap();
        assert_eq!(
            keys(&[("host", "h"), ("authorization", "Bearer k")]),
            (vec![Bytes::from_static(b"k")], false)
        );
        let both =
            keys(&[("host", "h"), ("authorization", "Bearer k"), ("x-api-key", "l"), ("api-key", "k")]);
        assert_eq!(both.0, [Bytes::from_static(b"k"), Bytes::from_static(b"l")]);
        assert!(keys(&[("host", "h"), ("authorization", "Basic k")]).1);
    }

    #[test]
    fn names_that_anybody_may_have_made_up_are_told_from_this_machine() {
        let local = |host: &str| look(&[("host", host)]).unwrap().is_for_this_machine();
        assert!(["localhost", "localhost:1", "127.0.0.1:9464", "[::1]:9464", "[::1]"].into_iter().all(local));
        assert!(!local("evil.example") && !local("evil.example:9464") && !local("localhost.evil.example"));
    }

    #[test]
    fn how_urgent_a_request_is_can_be_said_in_one_of_three_words() {
        let said = |word: &str| look(&[("host", "h"), ("x-plimsoll-priority", word)]);
        assert_eq!(said("high").unwrap().priority, Some(Priority::High));
        assert_eq!(said("low").unwrap().priority, Some(Priority::Low));
        assert_eq!(look(&[("host", "h")]).unwrap().priority, None);
        assert!(said("urgent").is_err());
    }

    #[test]
    fn ids_and_timeouts_are_taken_when_they_make_sense() {
        let head =
            look(&[("host", "h"), ("x-request-id", "a b"), ("x-stainless-read-timeout", "1.5")]).unwrap();
        assert_eq!((head.request_id, head.read_timeout), (None, Some(Duration::from_millis(1_500))));
        let head = look(&[("host", "h"), ("x-request-id", "abc"), ("x-stainless-timeout", "inf")]).unwrap();
        assert_eq!((head.request_id.as_deref(), head.timeout), (Some("abc"), None));
    }
}
