//! What a backend says when it refuses a request, in words that a caller may see.
//!
//! Engines differ: OpenAI nests `error`, vLLM and llama.cpp give an integer code, SGLang is flat, FastAPI says
//! `detail`, others `message`. Addresses, paths and traces are cut out of what they say (CVE-2026-22778 leaked a heap
//! address that way). A cold path: the document is built here.

use plimsoll_types::ServeError;
use serde_json::Value;

/// The longest message that is passed on.
const MAX_MESSAGE: usize = 2_000;

/// The error for a backend's answer with `status` (400 to 499) and this body.
#[must_use]
pub fn refusal(status: u16, body: &[u8]) -> ServeError {
    let document: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    // Google wraps it in an array where the call was a streaming one.
    let document = document.get(0).unwrap_or(&document);
    let error = document.get("error").filter(|error| error.is_object()).unwrap_or(document);
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
    let message = word("message")
        .or_else(detail)
        .unwrap_or_else(|| format!("the backend refused the request ({status})"));
    ServeError::Refused { status, message, kind: word("type"), param: word("param"), code: word("code") }
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
    pointer || path || source || word.contains("://") || has_address(word)
}

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
        match refusal(status, body.as_bytes()) {
            ServeError::Refused { message, kind, code, .. } => (message, kind, code),
            other => panic!("{other:?}"),
        }
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
}
