//! What the gateway itself says inside a stream of events.

use bytes::Bytes;
use plimsoll_types::{Kind, ServeError};
use serde_json::json;

use super::error::{document, shape};

/// A comment: every decoder passes over it, and every timeout on the way begins anew. It ends with its line: a blank line
/// would dispatch an event (HTML standard, section 9.2.6), and SDKs make an empty one of it where events have ids.
pub(crate) const KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n");

/// The event that ends a stream which cannot go on.
///
/// `before` is the last that was sent: events of the responses API are numbered.
pub(crate) fn error_event(error: &ServeError, kind: Kind, before: &[u8]) -> Bytes {
    let text = match kind {
        Kind::Response => {
            let document = json!({
                "type": "error", "code": shape(error).code, "message": error.to_string(), "param": null,
                "sequence_number": number_after(before),
            });
            format!("event: error\ndata: {document}\n\n")
        }
        Kind::Message => format!("event: error\ndata: {}\n\n", document(error, Some(kind))),
        _ => format!("data: {}\n\n", document(error, Some(kind))),
    };
    Bytes::from(text)
}

/// The number that follows the last one of these events.
fn number_after(events: &[u8]) -> u64 {
    const NUMBER: &str = "\"sequence_number\":";
    let text = String::from_utf8_lossy(events);
    let last = text.rsplit(NUMBER).next().filter(|last| last.len() < text.len());
    let digits =
        last.map(|last| last.trim_start().chars().take_while(char::is_ascii_digit).collect::<String>());
    digits.and_then(|digits| digits.parse::<u64>().ok()).map_or(0, |number| number.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_event_of_a_response_goes_on_with_the_numbers_of_its_stream() {
        assert_eq!(number_after(br#"data: {"sequence_number": 4,"a":1}"#), 5);
        assert_eq!(number_after(b"data: {\"sequence_number\":4}\n\ndata: {\"sequence_number\":9}\n\n"), 10);
        assert_eq!(number_after(b""), 0);
    }
}
