//! Turns messages of `plimsoll.v1` into OpenAI's JSON and back, from wire to text without a document in between.
//!
//! One table ([`plimsoll_proto::schema`]) says how each message looks; nothing here knows any of them, so that a field
//! which is added to `proto/` needs no code. The way is lossless: a member that has no field, or a value that does not
//! fit its field, goes into the message's `extra_json` as the text that it is, and comes out of it again.
//! Hot path: no allocation but for what it writes to grow, no lock, no await.

mod to_json;
mod to_wire;
pub(crate) mod wire;

#[cfg(test)]
mod tests;

pub use to_json::{Fixed, to_json};
pub use to_wire::{Nulls, to_wire};

/// Why bytes are not the message that they should be, or cannot be said in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{message}: {what}")]
pub struct Malformed {
    /// The message, or its field.
    pub message: &'static str,
    /// What is wrong there.
    pub what: &'static str,
}

/// The last message that stands in the field `number` of `message`, as bytes.
///
/// # Errors
///
/// Where the bytes are no message.
pub fn field(message: &[u8], number: u32) -> Result<Option<&[u8]>, Malformed> {
    let (mut reader, mut found) = (wire::Reader::new(message), None);
    while let Some((at, value)) = reader.next().map_err(|what| Malformed { message: "message", what })? {
        if let (true, wire::Value::Bytes(bytes)) = (at == number, value) {
            found = Some(bytes);
        }
    }
    Ok(found)
}
