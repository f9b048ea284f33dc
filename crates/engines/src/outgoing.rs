//! What is sent to a backend: the head's own fields and the body, in the pieces that splicing left.

use bytes::Bytes;
use plimsoll_types::Request;
use smallvec::SmallVec;

use crate::Call;

/// The pieces of a body, in order. Most bodies are one.
pub(crate) type Pieces = SmallVec<[Bytes; 7]>;

/// What goes to a backend.
pub(crate) struct Message<'a> {
    pub(crate) method: &'static str,
    /// Path and query.
    pub(crate) target: &'a str,
    pub(crate) fields: Fields,
    pub(crate) pieces: Pieces,
    /// Whether it must go over a new connection.
    pub(crate) fresh: bool,
}

/// Header fields, written as they go over an HTTP/1 wire.
#[derive(Debug, Default, Clone)]
pub struct Fields {
    lines: Vec<u8>,
}

impl Fields {
    /// Adds a field. A name or value that could end the line is left out: it would be another field.
    pub fn add(&mut self, name: &str, value: &str) {
        let harmless = |text: &str| !text.bytes().any(|byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f);
        if harmless(name) && harmless(value) {
            for part in [name, ": ", value, "\r\n"] {
                self.lines.extend_from_slice(part.as_bytes());
            }
        }
    }

    pub(crate) fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// Names and values again, for a protocol that has no lines.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines.split(|byte| *byte == b'\n').filter_map(|line| {
            let line = line.strip_suffix(b"\r")?;
            let colon = memchr::memchr(b':', line)?;
            Some((&line[..colon], line[colon + 1..].trim_ascii()))
        })
    }
}

/// Fields of a call: the request id, and what the caller may say to a backend.
pub(crate) fn fields_of(request: &Request) -> Fields {
    let mut fields = Fields { lines: Vec::with_capacity(256) };
    fields.add("x-request-id", &request.envelope.id);
    for (name, value) in &request.envelope.forward {
        fields.add(name, value);
    }
    fields
}

/// What of a body a backend understands beside the API itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Understands {
    /// `stream_options.include_usage`.
    pub(crate) ask_usage: bool,
    /// `cache_salt`.
    pub(crate) cache_salt: bool,
}

/// The body with its splices: the backend's name of the model, the wish for usage, the salt. Nothing is copied but what is
/// new.
pub(crate) fn body_of(call: &Call<'_>, understands: Understands) -> Pieces {
    let (body, envelope) = (&call.request.body, &call.request.envelope);
    let mut splices: SmallVec<[(std::ops::Range<usize>, Bytes); 3]> = SmallVec::new();
    if let Some(alias) = call.alias {
        let name = serde_json::to_vec(alias).expect("a string is always JSON");
        splices.push((envelope.model_at.clone(), Bytes::from(name)));
    }
    let usage = envelope.ask_usage.as_ref().filter(|_| understands.ask_usage);
    let salt = envelope.cache_salt.as_ref().filter(|_| understands.cache_salt);
    // Both may stand before the first member, in any order.
    for splice in usage.into_iter().chain(salt) {
        splices.push((splice.at.clone(), splice.text.clone().into()));
    }
    splices.sort_by_key(|(at, _)| at.start);
    let (mut pieces, mut from) = (Pieces::new(), 0);
    for (at, text) in splices {
        pieces.push(body.slice(from..at.start));
        pieces.push(text);
        from = at.end;
    }
    pieces.push(body.slice(from..));
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

pub(crate) fn length(pieces: &[Bytes]) -> usize {
    pieces.iter().map(Bytes::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_begin_a_new_line() {
        let mut fields = Fields::default();
        fields.add("x-a", "1\r\nx-inj: 2");
        fields.add("x-b", "2");
        assert_eq!(fields.lines(), b"x-b: 2\r\n");
        assert_eq!(fields.iter().collect::<Vec<_>>(), [(b"x-b".as_slice(), b"2".as_slice())]);
    }
}
