//! The envelope of a request that asks for nothing in particular.

use plimsoll_types::{Blocks, Envelope, Instant, Kind, Priority, Protocol, Text};

/// Of a request of `kind`, whose body begins with `{"model":"m"`: streamed where that can be.
#[must_use]
pub fn envelope(kind: Kind, received: Instant) -> Envelope {
    Envelope {
        id: Text::from_static("bench"),
        protocol: Protocol::Http,
        kind,
        model: Text::from_static("m"),
        model_at: 9..12,
        stream: kind.streams(),
        ask_usage: None,
        cache_salt: None,
        prompt_tokens: 10,
        blocks: Blocks::default(),
        max_tokens: None,
        tenant: None,
        query: None,
        home: None,
        tools: false,
        priority: Priority::Normal,
        residency: None,
        deadline: None,
        patience: None,
        forward: Vec::new(),
        explain: false,
        received,
    }
}
