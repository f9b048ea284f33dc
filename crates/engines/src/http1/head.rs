//! The head of an answer over HTTP/1.1.

use std::time::{Duration, SystemTime};

use bytes::{Buf, Bytes, BytesMut};
use plimsoll_types::{Head, Text};

use super::body::Body;
use crate::{Failure, orca};

/// Bytes that the head of an answer may have.
const MAX_HEAD: usize = 64 << 10;
/// Fields that it may have.
const MAX_FIELDS: usize = 128;

const MALFORMED: Failure = Failure::Broken("the answer is not HTTP");

/// Takes a head out of `read`; `None` where it is not complete. Interim answers (1xx) are passed over.
pub(super) fn parse(read: &mut BytesMut) -> Result<Option<(Head, Body)>, Failure> {
    loop {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        let length = match response.parse(read) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if read.len() < MAX_HEAD => return Ok(None),
            _ => return Err(MALFORMED),
        };
        let status = response.code.ok_or(MALFORMED)?;
        match status {
            // An upgrade that nobody asked for would hand the connection over to the backend.
            101 => return Err(MALFORMED),
            100..=199 => {
                read.advance(length);
                continue;
            }
            _ => {}
        }
        let mut parsed = Parsed::new(status, response.version == Some(1));
        for field in response.headers.iter() {
            parsed.field(field.name, field.value)?;
        }
        let done = parsed.done()?;
        read.advance(length);
        return Ok(Some(done));
    }
}

struct Parsed {
    head: Head,
    keep: bool,
    chunked: bool,
}

impl Parsed {
    fn new(status: u16, keep: bool) -> Self {
        Self { head: Head { status, ..Head::default() }, keep, chunked: false }
    }

    fn field(&mut self, name: &str, value: &[u8]) -> Result<(), Failure> {
        if name.eq_ignore_ascii_case("content-length") {
            let length =
                std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
            let length = length.and_then(|text| text.parse().ok()).ok_or(MALFORMED)?;
            // Two that differ, or a list, are two answers to two readers.
            if self.head.length.replace(length).is_some_and(|before| before != length) {
                return Err(MALFORMED);
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(MALFORMED);
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case("connection") {
            let has =
                |word: &[u8]| value.split(|b| *b == b',').any(|w| w.trim_ascii().eq_ignore_ascii_case(word));
            self.keep = (self.keep && !has(b"close")) || has(b"keep-alive");
        } else {
            note(&mut self.head, name, value);
        }
        Ok(())
    }

    fn done(mut self) -> Result<(Head, Body), Failure> {
        if self.chunked && self.head.length.is_some() {
            return Err(MALFORMED);
        }
        let body = match (self.head.status, self.chunked, self.head.length) {
            (204 | 304, _, _) => Body::sized(0, self.keep),
            (_, true, _) => Body::chunked(self.keep),
            (_, false, Some(length)) => Body::sized(length, self.keep),
            (_, false, None) => Body::until_close(),
        };
        if self.chunked {
            self.head.length = None;
        }
        Ok((self.head, body))
    }
}

/// What OpenAI's SDKs go by before all else when they decide whether to ask again.
pub(crate) const SHOULD_RETRY: &str = "x-should-retry";
/// No backend is left alone for longer, whatever it asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(86_400);

/// A time in units of `unit` seconds, in digits with or without a point.
fn seconds(value: &[u8], unit: f64) -> Option<Duration> {
    let number: f64 = std::str::from_utf8(value).ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(number * unit).ok().map(|wait| wait.min(LONGEST_WAIT))
}

/// The time until a date (RFC 9110, section 10.2.3); none where it has passed.
fn until(date: &[u8]) -> Option<Duration> {
    let date = httpdate::parse_http_date(std::str::from_utf8(date).ok()?.trim()).ok()?;
    Some(date.duration_since(wall_clock()).unwrap_or_default().min(LONGEST_WAIT))
}

#[expect(clippy::disallowed_methods, reason = "a date is compared with the wall clock")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// Takes what callers may see, or what decides, from a field of an answer. Fields are the same over HTTP/2.
pub(crate) fn note(head: &mut Head, name: &str, value: &[u8]) {
    const PASSED: &[&str] = &[
        "openai-processing-ms",
        "openai-version",
        "x-plimsoll-backend",
        "request-id",
        "x-ratelimit-limit-requests",
        "x-ratelimit-limit-tokens",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset-requests",
        "x-ratelimit-reset-tokens",
        SHOULD_RETRY,
    ];
    let text = || Text::new(Bytes::copy_from_slice(value));
    if name.eq_ignore_ascii_case("content-type") {
        head.stream = value.len() >= 17 && value[..17].eq_ignore_ascii_case(b"text/event-stream");
        head.content_type = match value {
            // What nearly every answer says needs no copy.
            b"application/json" => Text::from_static("application/json"),
            b"text/event-stream" => Text::from_static("text/event-stream"),
            _ => text().unwrap_or_default(),
        };
    } else if let Some(name) =
        [orca::FIELD, orca::BINARY].into_iter().find(|field| name.eq_ignore_ascii_case(field))
    {
        // Not for callers: who reads the head takes it out. What is too long or no text is seen to be no report.
        let value = (value.len() <= orca::MOST_BYTES).then(text).flatten();
        head.fields.push((name, value.unwrap_or_default()));
    } else if name.eq_ignore_ascii_case("content-encoding") {
        head.coding = text().unwrap_or_default();
    } else if name.eq_ignore_ascii_case("retry-after-ms") {
        head.retry_after = seconds(value, 0.001).or(head.retry_after);
    } else if name.eq_ignore_ascii_case("retry-after") {
        // The other one is finer.
        head.retry_after = head.retry_after.or_else(|| seconds(value, 1.0)).or_else(|| until(value));
    } else if let Some(name) = PASSED.iter().find(|passed| name.eq_ignore_ascii_case(passed))
        && let Some(value) = text()
    {
        head.fields.push((name, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Option<(Head, Body)>, Failure> {
        parse(&mut BytesMut::from(text))
    }

    #[test]
    fn framing_that_two_readers_could_see_differently_is_refused() {
        for bad in [
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "nonsense\r\n\r\n",
        ] {
            assert!(head(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn interim_answers_are_passed_over() {
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 Too Many\r\nretry-after: 3\r\ncontent-length: 0\r\n\r\n";
        let (head, _) = head(text).unwrap().unwrap();
        assert_eq!((head.status, head.retry_after), (429, Some(Duration::from_secs(3))));
    }

    #[test]
    fn a_backend_may_say_in_any_form_how_long_it_is_to_be_left_alone() {
        let wait = |fields: &str| {
            let text = format!("HTTP/1.1 429 X\r\n{fields}content-length: 0\r\n\r\n");
            head(&text).unwrap().unwrap().0.retry_after
        };
        assert_eq!(wait("retry-after: 7\r\n"), Some(Duration::from_secs(7)));
        assert_eq!(wait("retry-after: 2.5\r\n"), Some(Duration::from_millis(2_500)));
        for fields in
            ["retry-after-ms: 1250\r\nretry-after: 2\r\n", "retry-after: 2\r\nretry-after-ms: 1250\r\n"]
        {
            assert_eq!(wait(fields), Some(Duration::from_millis(1_250)));
        }
        let date = httpdate::fmt_http_date(wall_clock() + Duration::from_secs(100));
        let until = wait(&format!("retry-after: {date}\r\n")).unwrap();
        assert!((90..=100).contains(&until.as_secs()), "{until:?}");
        assert_eq!(wait("retry-after: Wed, 21 Oct 2015 07:28:00 GMT\r\n"), Some(Duration::ZERO));
        for odd in ["soon", "-3", "NaN", "1e400"] {
            assert_eq!(wait(&format!("retry-after: {odd}\r\n")), None, "{odd}");
        }
    }

    #[test]
    fn an_endless_head_is_given_up() {
        assert!(head("HTTP/1.1 200 OK\r\nx: a").unwrap().is_none());
        assert!(head(&format!("HTTP/1.1 200 OK\r\nx: {}", "a".repeat(MAX_HEAD))).is_err());
    }
}
