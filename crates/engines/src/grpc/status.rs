//! How a call ended, as gRPC says it: code, message and details in the trailers.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderName, HeaderValue};
use plimsoll_proto::google::rpc;
use plimsoll_types::Head;
use prost::Message;
use serde_json::json;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";
/// Binary values come with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Whether `value` is one of metadata whose name ends in `-bin`: base64, or several with commas between.
#[must_use]
pub fn is_binary(value: &[u8]) -> bool {
    value.split(|byte| *byte == b',').all(|one| BASE64.decode(one.trim_ascii()).is_ok())
}

/// The longest message: a head has limits.
const MAX_MESSAGE: usize = 2_000;

/// A code of gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "gRPC's documentation of status codes has them")]
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

use Code::*;

/// All codes, by their number.
const CODES: [Code; 17] = [
    Ok,
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
];

impl Code {
    /// The code for an HTTP status.
    #[must_use]
    pub fn of_http(status: u16) -> Self {
        match status {
            200..=299 => Ok,
            401 => Unauthenticated,
            403 => PermissionDenied,
            404 => NotFound,
            408 | 504 => DeadlineExceeded,
            409 => Aborted,
            413 | 429 => ResourceExhausted,
            499 => Cancelled,
            501 => Unimplemented,
            502 | 503 => Unavailable,
            400..=498 => InvalidArgument,
            _ => Internal,
        }
    }

    /// The HTTP status for a code that came without one.
    pub(super) fn http(self) -> u16 {
        match self {
            Ok => 200,
            InvalidArgument | FailedPrecondition | OutOfRange => 400,
            Unauthenticated => 401,
            PermissionDenied => 403,
            NotFound => 404,
            AlreadyExists | Aborted => 409,
            ResourceExhausted => 429,
            Unimplemented => 501,
            Unavailable => 503,
            DeadlineExceeded => 504,
            // A backend that cancels by itself has failed.
            Cancelled | Unknown | Internal | DataLoss => 500,
        }
    }
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The code.
    pub code: Code,
    /// In words.
    pub message: String,
    /// The same, as OpenAI's API says it.
    pub error: Option<Error>,
    /// When to try again, where that helps.
    pub retry_after: Option<Duration>,
}

/// An error as OpenAI's API says it, which `google.rpc.ErrorInfo` carries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Error {
    /// The status that HTTP would have.
    pub status: u16,
    /// Its type.
    pub kind: String,
    /// The reason, for a program.
    pub code: Option<String>,
    /// The member at fault.
    pub param: Option<String>,
}

impl Status {
    /// A status without details.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), error: None, retry_after: None }
    }

    /// Writes it as trailers.
    pub fn write(&self, headers: &mut HeaderMap) {
        headers.insert(STATUS, HeaderValue::from(self.code as u16));
        if self.code == Ok {
            return;
        }
        let message: String = self.message.chars().take(MAX_MESSAGE).collect();
        if let Result::Ok(value) = HeaderValue::from_str(&percent_encoded(&message)) {
            headers.insert(MESSAGE, value);
        }
        if let Some(wait) = self.retry_after {
            headers.insert(PUSHBACK, HeaderValue::from(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)));
        }
        let details = self.details();
        if !details.is_empty() {
            let status = rpc::Status { code: self.code as i32, message, details };
            if let Result::Ok(value) = HeaderValue::from_str(&BASE64.encode(status.encode_to_vec())) {
                headers.insert(DETAILS, value);
            }
        }
    }

    fn details(&self) -> Vec<prost_types::Any> {
        let any = |url: &str, value| prost_types::Any { type_url: url.to_owned(), value };
        let mut details = Vec::new();
        if let Some(error) = &self.error {
            let some = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
            let metadata = [
                some("http_status", &error.status.to_string()),
                some("type", &error.kind),
                error.code.as_deref().and_then(|code| some("code", code)),
                error.param.as_deref().and_then(|param| some("param", param)),
            ];
            let info = rpc::ErrorInfo {
                reason: reason(error.code.as_deref().unwrap_or("error")),
                domain: "plimsoll".into(),
                metadata: metadata.into_iter().flatten().collect(),
            };
            details.push(any(ERROR_INFO, info.encode_to_vec()));
        }
        if let Some(wait) = self.retry_after {
            let delay = prost_types::Duration {
                seconds: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
                nanos: wait.subsec_nanos() as i32,
            };
            details.push(any(RETRY_INFO, rpc::RetryInfo { retry_delay: Some(delay) }.encode_to_vec()));
        }
        details
    }

    /// Reads it from trailers, or from a head that is all there is; `None` where neither has one.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let number = headers.get(STATUS)?.to_str().ok().and_then(|text| text.parse::<usize>().ok());
        let code = number.and_then(|number| CODES.get(number).copied()).unwrap_or(Unknown);
        let message = headers.get(MESSAGE).map_or(String::new(), |text| percent_decoded(text.as_bytes()));
        let mut status = Self::new(code, message);
        let pushback = headers.get(PUSHBACK).and_then(|text| text.to_str().ok()?.parse().ok());
        status.retry_after = pushback.map(Duration::from_millis);
        let details = headers.get(DETAILS).and_then(|text| BASE64.decode(text.as_bytes()).ok());
        let details = details.and_then(|bytes| rpc::Status::decode(&bytes[..]).ok());
        for detail in details.into_iter().flat_map(|status| status.details) {
            status.add(&detail);
        }
        Some(status)
    }

    fn add(&mut self, detail: &prost_types::Any) {
        match &*detail.type_url {
            ERROR_INFO => {
                let Result::Ok(info) = rpc::ErrorInfo::decode(&detail.value[..]) else { return };
                let mut said: HashMap<String, String> = info.metadata;
                let status = said.get("http_status").and_then(|status| status.parse().ok());
                self.error = Some(Error {
                    status: status.filter(|status| (400..600).contains(status)).unwrap_or(self.code.http()),
                    kind: said.remove("type").unwrap_or_default(),
                    code: said.remove("code").or(Some(info.reason)),
                    param: said.remove("param"),
                });
            }
            RETRY_INFO => {
                let Result::Ok(info) = rpc::RetryInfo::decode(&detail.value[..]) else { return };
                let delay = info.retry_delay.unwrap_or_default();
                let seconds = u64::try_from(delay.seconds).unwrap_or(0);
                self.retry_after = Some(Duration::new(seconds, u32::try_from(delay.nanos).unwrap_or(0)));
            }
            _ => {}
        }
    }

    /// The answer that an OpenAI server would have given: its head and its body.
    pub(crate) fn answer(&self) -> (Head, Vec<u8>) {
        let error = self.error.clone().unwrap_or_else(|| Error {
            status: self.code.http(),
            kind: "invalid_request_error".into(),
            ..Error::default()
        });
        let document = json!({"error": {
            "message": self.message, "type": error.kind, "param": error.param, "code": error.code,
        }});
        let head = Head { status: error.status, retry_after: self.retry_after, ..Head::default() };
        (head, document.to_string().into_bytes())
    }
}

/// `model_not_found` as `MODEL_NOT_FOUND`, whatever word it is.
fn reason(code: &str) -> String {
    let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    code.chars().take(63).map(upper).collect()
}

fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | 0..0x20 | 0x7f.. => out.push_str(&format!("%{byte:02X}")),
            byte => out.push(char::from(byte)),
        }
    }
    out
}

fn percent_decoded(text: &[u8]) -> String {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text);
    while let [byte, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match (byte, hex.and_then(|digits| u8::from_str_radix(digits, 16).ok())) {
            (b'%', Some(value)) => {
                out.push(value);
                rest = &tail[2..];
            }
            _ => {
                out.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_comes_out_of_trailers_as_it_went_in() {
        let error = Error {
            status: 422,
            kind: "invalid_request_error".into(),
            code: Some("too_long".into()),
            param: Some("messages".into()),
        };
        let status = Status {
            code: InvalidArgument,
            message: "50 % zu lang:\n„ä“".into(),
            error: Some(error),
            retry_after: Some(Duration::from_millis(2_500)),
        };
        let mut trailers = HeaderMap::new();
        status.write(&mut trailers);
        assert_eq!(Status::read(&trailers), Some(status));
    }

    #[test]
    fn a_status_of_somebody_else_becomes_what_http_would_have_said() {
        let answer = |code: &str| {
            let mut trailers = HeaderMap::new();
            trailers.insert(STATUS, HeaderValue::from_str(code).unwrap());
            Status::read(&trailers).unwrap().answer().0.status
        };
        let said = ["3", "16", "5", "8", "14", "4", "1", "99", "x"].map(answer);
        assert_eq!(said, [400, 401, 404, 429, 503, 504, 500, 500, 500]);
        assert_eq!(Status::read(&HeaderMap::new()), None);
    }
}
