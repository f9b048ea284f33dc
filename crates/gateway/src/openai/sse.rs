//! What the gateway itself says inside a stream of events.

use bytes::Bytes;
use plimsoll_types::{Kind, ServeError};
use serde_json::json;

use super::error::{document, shape};

/// A comment: every decoder passes over it, and every timeout on the way begins anew. It ends with its line: a blank line
/// would dispatch an event (HTML standard, section 9.2.6), and SDKs make an empty one of it where events have ids.
pub(crate) const KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n");

/// The event that ends a stream which cannot go on.
pub(crate) fn error_event(error: &ServeError, kind: Kind) -> Bytes {
    let text = match kind {
        Kind::Response => {
            let document = json!({
                "type": "error", "code": shape(error).code, "message": error.to_string(), "param": null,
                "sequence_number": 0,
            });
            format!("event: error\ndata: {document}\n\n")
        }
        Kind::Message => format!("event: error\ndata: {}\n\n", document(error, Some(kind))),
        _ => format!("data: {}\n\n", document(error, Some(kind))),
    };
    Bytes::from(text)
}
