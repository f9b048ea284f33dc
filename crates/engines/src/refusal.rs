//! What a backend says when it refuses a request, in words that a caller may see.
//!
//! Engines differ: OpenAI nests `error`, vLLM and llama.cpp give an integer code, SGLang is flat, FastAPI says
//! `detail`, others `message`. Addresses, paths and traces are cut out of what they say (CVE-2026-22778 leaked a heap
//! address that way). A cold path: the document is built here.

use plimsoll_types::Refusal;
use serde_json::Value;

/// The longest message that is passed on.
const MAX_MESSAGE: usize = 2_000;

/// Bytes of members of an error beside those that are known.
const MAX_DETAILS: usize = 4_000;
/// Members of an error that are told in another way, or that tell of the inside.
const KNOWN: [&str; 10] =
    ["message", "type", "param", "code", "status", "detail", "error", "object", "traceback", "stack"];

/// What a backend says by an answer with `status` (400 to 599) and this body.
#[must_use]
pub fn refusal(status: u16, body: &[u8]) -> Refusal {
    let document: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    read(status, &document)
}

/// What a backend says by an event that tells of an error, where that says by its code or its type that the request is to
/// blame or that the backend is to be left alone. `None` where it says no more than that something failed.
#[must_use]
pub fn refusal_in_stream(data: &[u8]) -> Option<Refusal> {
    let document: Value = serde_json::from_slice(data.trim_ascii()).ok()?;
    // `response.failed` of the responses API has it in the response.
    let document = document.get("response").filter(|response| response.is_object()).unwrap_or(&document);
    let error = error_of(document);
    let status = ["status", "code", "type"].iter().find_map(|key| match error.get(key)? {
        Value::Number(number) => number.as_u64().and_then(|number| u16::try_from(number).ok()),
        Value::String(word) => word.parse().ok().or_else(|| status_of(word)),
        _ => None,
    });
    status.filter(|status| matches!(status, 400..=499 | 503 | 529)).map(|status| read(status, document))
}

/// The status that a code or type of OpenAI's or Anthropic's API stands for, or one of vLLM and SGLang.
fn status_of(word: &str) -> Option<u16> {
    Some(match word {
        "invalid_request_error"
        | "BadRequestError"
        | "BadRequest"
        | "context_length_exceeded"
        | "exceed_context_size_error"
        | "invalid_prompt"
        | "content_filter"
        | "invalid_request" => 400,
        "permission_error" => 403,
        "not_found_error" | "NotFoundError" | "model_not_found" => 404,
        "request_too_large" => 413,
        "rate_limit_error" | "rate_limit_exceeded" | "insufficient_quota" | "billing_hard_limit_reached" => {
            429
        }
        "overloaded_error" => 529,
        _ => return None,
    })
}

fn error_of(document: &Value) -> &Value {
    // Google wraps it in an array where the call was a streaming one.
    let document = document.get(0).unwrap_or(document);
    document.get("error").filter(|error| error.is_object()).unwrap_or(document)
}

fn read(status: u16, document: &Value) -> Refusal {
    let error = error_of(document);
    let word = |key: &str| match error.get(key) {
        Some(Value::String(text)) if !text.is_empty() => Some(clean(text)),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let detail = || {
        document.get("detail").or(document.get("error")).map(|detail| match detail {
            Value::String(text) => clean(text),
            other => clean(&other.to_string()),
        })
    };
    let message = word("message").or_else(detail).unwrap_or_default();
    Refusal {
        kind: word("type"),
        param: word("param"),
        code: word("code"),
        details: if std::ptr::eq(error, document) { String::new() } else { details(error) },
        ..Refusal::new(status, message)
    }
}

/// Members of an error object that say more, such as which filter refused a prompt.
fn details(error: &Value) -> String {
    let Value::Object(members) = error else { return String::new() };
    let more = members.iter().filter(|(name, value)| !KNOWN.contains(&name.as_str()) && !value.is_null());
    let more: serde_json::Map<_, _> = more.map(|(name, value)| (name.clone(), cleaned(value))).collect();
    let text = Value::Object(more).to_string();
    if text.len() > MAX_DETAILS || text == "{}" { String::new() } else { text }
}

fn cleaned(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(clean(text)),
        Value::Array(items) => items.iter().map(cleaned).collect(),
        Value::Object(members) => {
            Value::Object(members.iter().map(|(name, value)| (name.clone(), cleaned(value))).collect())
        }
        other => other.clone(),
    }
}

/// Cuts out what tells of the inside: pointers, addresses, paths of source files, everything after a trace begins.
fn clean(text: &str) -> String {
    let text = ["Traceback", "panicked at", "stack backtrace"]
        .iter()
        .fold(text, |text, begin| text.split(begin).next().unwrap_or(""));
    let words: Vec<&str> =
        text.split(' ').map(|word| if tells_of_inside(word) { "[removed]" } else { word }).collect();
    let mut cleaned: String = words.join(" ").chars().filter(|c| !c.is_control() || *c == '\n').collect();
    if let Some((cut, _)) = cleaned.char_indices().nth(MAX_MESSAGE) {
        cleaned.truncate(cut);
    }
    cleaned
}

fn tells_of_inside(word: &str) -> bool {
    let trimmed = word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '/');
    let pointer = word.contains("0x")
        && word.split("0x").skip(1).any(|hex| hex.chars().take_while(char::is_ascii_hexdigit).count() >= 6);
    let path = trimmed.starts_with('/') && trimmed.matches('/').count() >= 2 && !trimmed.starts_with("/v1/");
    let source = [".rs:", ".py:", ".cc:", ".cpp:", ".cu:"].iter().any(|ending| word.contains(ending));
    pointer || path || source || is_link_inside(word) || has_address(word)
}

/// A link to anything but documentation on a public host: another scheme, a port, a host without a domain.
fn is_link_inside(word: &str) -> bool {
    let Some((before, link)) = word.split_once("://") else { return false };
    let host = link.split(['/', '?', '#']).next().unwrap_or("");
    let host = host.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    let is_public = host.contains('.')
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-')
        && !INSIDE.iter().any(|ending| host.ends_with(ending));
    !(is_public && before.ends_with("https"))
}

/// Endings of names that only networks of their own know.
const INSIDE: [&str; 5] = [".local", ".internal", ".svc", ".lan", ".cluster.local"];

/// Four numbers with dots between.
fn has_address(word: &str) -> bool {
    word.split(|c: char| !(c.is_ascii_digit() || c == '.')).any(|part| {
        let numbers: Vec<&str> = part.split('.').collect();
        numbers.len() == 4 && numbers.iter().all(|number| number.parse::<u8>().is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> (String, Option<String>, Option<String>) {
        let refusal = refusal(status, body.as_bytes());
        (refusal.to_string(), refusal.kind, refusal.code)
    }

    #[test]
    fn every_engines_way_of_saying_it_is_understood() {
        let said = |message: &str, kind: Option<&str>, code: Option<&str>| {
            (message.to_owned(), kind.map(str::to_owned), code.map(str::to_owned))
        };
        let llama = r#"{"error":{"code":400,"message":"too long","type":"exceed_context_size_error"}}"#;
        assert_eq!(read(400, llama), said("too long", Some("exceed_context_size_error"), Some("400")));
        let sglang = r#"{"object":"error","message":"bad","type":"BadRequest","code":400}"#;
        assert_eq!(read(400, sglang), said("bad", Some("BadRequest"), Some("400")));
        assert_eq!(read(404, r#"{"detail":"Not Found"}"#), said("Not Found", None, None));
        assert_eq!(read(401, r#"{"error":"Unauthorized"}"#), said("Unauthorized", None, None));
        assert_eq!(read(418, "<html>"), said("the backend refused the request (418)", None, None));
    }

    #[test]
    fn the_inside_stays_inside() {
        let body = r#"{"error":{"message":"bad at 0x7f00deadbeef from 10.1.2.3:80 in /root/vllm/x.py:12 see http://h/x but 4.5 and 1/2 stay\nTraceback (most recent"}}"#;
        let message = read(400, body).0;
        for secret in ["0x7f", "10.1.2.3", "/root", ".py", "http://", "Traceback"] {
            assert!(!message.contains(secret), "{message}");
        }
        assert!(message.contains("4.5 and 1/2 stay"));
    }

    #[test]
    fn what_a_refusal_says_beside_its_message_and_links_to_documentation_reach_the_caller() {
        let body = r#"{"error":{"message":"Filtered, see https://learn.example.com/filters. Not https://10.0.0.1/x nor https://gpu7:8000/x nor https://a.svc/x",
            "code":"content_filter","innererror":{"code":"Policy","at":"/srv/app/x.py","filtered":true},"metadata":null}}"#;
        let refusal = refusal(400, body.as_bytes());
        assert_eq!(
            refusal.message,
            "Filtered, see https://learn.example.com/filters. Not [removed] nor [removed] nor [removed]"
        );
        assert_eq!(refusal.details, r#"{"innererror":{"at":"[removed]","code":"Policy","filtered":true}}"#);
    }

    #[test]
    fn an_error_inside_a_stream_has_the_status_that_its_code_or_its_type_stands_for() {
        let status = |data: &str| refusal_in_stream(data.as_bytes()).map(|refusal| refusal.status);
        assert_eq!(status(r#"{"error":{"message":"m","type":"BadRequest","code":400}}"#), Some(400));
        assert_eq!(status(r#"{"error":{"message":"m","code":"context_length_exceeded"}}"#), Some(400));
        assert_eq!(
            status(r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#),
            Some(529)
        );
        let failed = r#"{"type":"response.failed","response":{"error":{"code":"rate_limit_exceeded","message":"try again in 2s"}}}"#;
        let refusal = refusal_in_stream(failed.as_bytes()).unwrap();
        assert_eq!((refusal.status, &*refusal.message), (429, "try again in 2s"));
        assert_eq!(
            status(r#"{"error":{"message":"worker died","type":"InternalServerError","code":500}}"#),
            None
        );
        assert_eq!(status(r#"{"error":"it failed"}"#), None);
        assert_eq!(status(r#"{"type":"error","error":{"type":"api_error","message":"m"}}"#), None);
    }
}
