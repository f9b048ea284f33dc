//! What an engine tells of its KV cache: the events that vLLM and SGLang publish.
//!
//! ```text
//!   sequence number, payload ──▶ Tracker ──▶ Change ──▶ the emulated cache of that backend
//!                                   │
//!                                   └─ a gap: ask for what was missed, or forget
//! ```
//!
//! Events name blocks by hashes over token ids. Without the model's tokenizer these cannot be told from a prompt's
//! bytes, and to guess from the order of events which prompt a block came from goes wrong as soon as two prompts are
//! in work, or another gateway sends some. So nothing here says *which* prompts are cached. What events do say, and
//! nobody else knows, is the *pressure*: how much is cached, how much of it was evicted, and that all of it is gone.
//! That counts everyone's prompts and all that was generated, not only what passed here. An emulated cache that evicts
//! as much of its oldest as the engine evicted of its own is paced by the truth instead of by a configured size.
//!
//! A transport brings messages, a sequence number and a payload each: [`Peer`] is the one of vLLM and SGLang, ZeroMQ.

mod msgpack;
#[cfg(test)]
mod tests;
mod tracker;
mod zmtp;

use msgpack::{Reader, Value};

pub use tracker::{Change, Heard, Tracker};
pub use zmtp::Peer;

/// A payload is not a batch of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the payload is not a batch of KV events: {0}")]
pub struct Malformed(pub(crate) &'static str);

/// Something that happened to a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Blocks were computed, or came back, and may be used by prompts that begin alike.
    Stored {
        /// How many.
        blocks: u32,
        /// Tokens that each holds.
        block_tokens: u32,
    },
    /// Blocks were evicted.
    Removed {
        /// How many.
        blocks: u32,
    },
    /// Nothing is cached any more.
    Cleared,
}

/// Shows `each` the events of a batch that concern the GPU's memory and, where a model has several groups of layers,
/// the first of them: a prompt's blocks are stored in each group. Gives when the batch was made, in seconds.
///
/// Events may be maps (vLLM 0.33, SGLang 0.5.23) or arrays (before). Events and fields that are not known are passed.
///
/// # Errors
///
/// Where the payload is something else. Events before the fault have been shown.
pub fn decode(payload: &[u8], each: &mut dyn FnMut(Event)) -> Result<f64, Malformed> {
    let mut reader = Reader::new(payload);
    if reader.array()? < 2 {
        return Err(Malformed("a batch has a time and events"));
    }
    let at = match reader.value()? {
        Value::Float(at) => at,
        Value::Whole(at) => at as f64,
        _ => return Err(Malformed("the time is not a number")),
    };
    for _ in 0..reader.array()? {
        let fields = match reader.value()? {
            Value::Map(members) => by_name(&mut reader, members)?,
            Value::Array(items) => by_place(&mut reader, items)?,
            _ => return Err(Malformed("an event is neither a map nor an array")),
        };
        fields.event().into_iter().for_each(&mut *each);
    }
    Ok(at)
}

#[derive(Default)]
struct Fields<'a> {
    name: &'a [u8],
    blocks: u32,
    block_tokens: u32,
    medium: &'a [u8],
    group: i128,
}

impl Fields<'_> {
    fn event(&self) -> Option<Event> {
        let here = matches!(self.medium, b"" | b"GPU") && self.group == 0;
        match self.name {
            b"BlockStored" if here => {
                Some(Event::Stored { blocks: self.blocks, block_tokens: self.block_tokens })
            }
            b"BlockRemoved" if here => Some(Event::Removed { blocks: self.blocks }),
            b"AllBlocksCleared" => Some(Event::Cleared),
            _ => None,
        }
    }
}

fn by_name<'a>(reader: &mut Reader<'a>, members: u32) -> Result<Fields<'a>, Malformed> {
    let mut fields = Fields::default();
    for _ in 0..members {
        match reader.value()? {
            Value::Text(b"type") => fields.name = reader.text()?,
            Value::Text(b"block_hashes") => fields.blocks = reader.counted()?,
            Value::Text(b"block_size") => fields.block_tokens = reader.size()?,
            Value::Text(b"medium") => fields.medium = reader.text()?,
            Value::Text(b"group_idx") => fields.group = reader.whole()?,
            Value::Text(_) => reader.skip()?,
            _ => return Err(Malformed("a field without a name")),
        }
    }
    Ok(fields)
}

/// Fields as vLLM had them before they got names: hashes, parent, tokens, size, LoRA, medium, its name, keys, group.
fn by_place<'a>(reader: &mut Reader<'a>, items: u32) -> Result<Fields<'a>, Malformed> {
    if items == 0 {
        return Err(Malformed("an event without a type"));
    }
    let mut fields = Fields { name: reader.text()?, ..Fields::default() };
    for place in 1..items {
        match (fields.name, place) {
            (b"BlockStored" | b"BlockRemoved", 1) => fields.blocks = reader.counted()?,
            (b"BlockStored", 4) => fields.block_tokens = reader.size()?,
            (b"BlockStored", 6) | (b"BlockRemoved", 2) => fields.medium = reader.text()?,
            (b"BlockStored", 9) | (b"BlockRemoved", 3) => fields.group = reader.whole()?,
            _ => reader.skip()?,
        }
    }
    Ok(fields)
}
