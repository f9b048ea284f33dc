//! What a call says beside its message: the header fields that HTTP has too, a deadline, compression.

use std::time::Duration;

use http::{HeaderMap, Request};
use plimsoll_engines::grpc::is_binary;
use plimsoll_types::{Instant, ServeError};

use crate::config::Requests;
use crate::head::{self, Head};

/// What was read from the header fields of a call.
pub(super) struct Metadata {
    pub(super) head: Head,
    /// When the call came.
    pub(super) began: Instant,
    /// When the caller stops waiting.
    pub(super) deadline: Option<Instant>,
    /// Whether messages may come compressed.
    pub(super) sends_gzip: bool,
    /// Whether answers may go compressed.
    pub(super) accepts_gzip: bool,
}

impl Metadata {
    /// Reads and checks the fields of `request`, which came at `now`.
    ///
    /// # Errors
    ///
    /// What must be refused.
    pub(super) fn read<B>(request: &Request<B>, limits: &Requests, now: Instant) -> Result<Self, ServeError> {
        let head = head::read(request, limits)?;
        let headers = request.headers();
        check_binary(headers)?;
        let timeout = match one(headers, "grpc-timeout")? {
            None => None,
            Some(text) => Some(timeout(text).ok_or_else(|| {
                ServeError::invalid("grpc-timeout is not up to eight digits and one of H, M, S, m, u, n")
            })?),
        };
        let sends_gzip = match one(headers, "grpc-encoding")? {
            None | Some("identity") => false,
            Some("gzip") => true,
            Some(_) => {
                return Err(ServeError::UnsupportedMedia("messages may come as they are or as gzip"));
            }
        };
        let accepts = headers.get_all("grpc-accept-encoding").iter();
        let accepts_gzip = accepts
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|word| word.trim() == "gzip"));
        let deadline = timeout.map(|timeout| now + timeout);
        Ok(Self { head, began: now, deadline, sends_gzip, accepts_gzip })
    }
}

/// Nothing is made of binary metadata here, but what cannot be read is a mistake that its sender should hear of.
fn check_binary(headers: &HeaderMap) -> Result<(), ServeError> {
    let wrong =
        headers.iter().find(|(name, value)| name.as_str().ends_with("-bin") && !is_binary(value.as_bytes()));
    match wrong {
        None => Ok(()),
        Some((name, _)) => Err(ServeError::invalid(format!("the metadata `{name}` is not base64"))),
    }
}

/// A field that may come once.
fn one<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, ServeError> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().map(|value| value.to_str());
    if values.next().is_some() || matches!(value, Some(Err(_))) {
        return Err(ServeError::invalid(format!("{name} must come once, as ASCII")));
    }
    Ok(value.and_then(Result::ok))
}

fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let digits = Some(digits).filter(|digits| {
        (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    })?;
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3_600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_has_up_to_eight_digits_and_a_unit() {
        assert_eq!(timeout("1500m"), Some(Duration::from_millis(1_500)));
        assert_eq!(timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        assert_eq!(timeout("0n"), Some(Duration::ZERO));
        for wrong in ["", "m", "5", "-5m", "+5m", "5 m", "123456789m", "5x", "5ä", "1.5S"] {
            assert_eq!(timeout(wrong), None, "{wrong}");
        }
    }
}
