//! What does it cost to know what an event says?

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use plimsoll_benches::subject::chat_event;
use plimsoll_engines::event;
use plimsoll_types::Kind;

const RESPONSE: &[u8] = br#"{"type":"response.output_text.delta","item_id":"msg_1","output_index":0,"content_index":0,"delta":" token","sequence_number":7}"#;

fn event_read(c: &mut Criterion) {
    c.bench_function("event_read/chat", |b| b.iter(chat_event()));
    c.bench_function("event_read/response", |b| b.iter(|| event::read(Kind::Response, black_box(RESPONSE))));
    let answer = [
        b"{\"choices\":[{\"message\":{\"content\":\"".as_slice(),
        &[b'a'; 400],
        b"\"}}],\"usage\":{\"prompt_tokens\":42,\"completion_tokens\":22}}",
    ]
    .concat();
    c.bench_function("event_read/usage_of_plain_answer", |b| b.iter(|| event::usage_of(black_box(&answer))));
}

criterion_group!(benches, event_read);
criterion_main!(benches);
