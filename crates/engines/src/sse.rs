//! Cuts a stream of server-sent events at the borders of events.
//!
//! Bytes arrive in any pieces; what leaves is whole events, so that a stream which breaks never ends inside one, and a
//! chunk that must not be seen can be taken out. Pieces that hold whole events, as engines send them, pass without
//! being copied. (HTML standard, section 9.2.) Hot path: no allocation for whole events, no lock, no await.

use bytes::{Bytes, BytesMut};
use plimsoll_types::{Chunk, Kind, Peeked};

use crate::event;

/// Bytes that one event may have.
const MAX_EVENT: usize = 1 << 20;

/// The events of one stream.
#[derive(Debug)]
pub(crate) struct Events {
    kind: Kind,
    /// Whether the chunk with nothing but usage was our wish, and goes no further.
    strip_usage: bool,
    /// The beginning of an event whose end has not come.
    partial: BytesMut,
    /// Whole events that wait to be taken.
    ready: Option<Chunk>,
}

/// Why a stream cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// An event is longer than any may be.
    TooLong,
    /// The data of an event is not JSON.
    NotJson,
}

impl Events {
    pub(crate) fn new(kind: Kind, strip_usage: bool) -> Self {
        Self { kind, strip_usage, partial: BytesMut::new(), ready: None }
    }

    /// Takes in the next piece. Then ask [`next`](Self::next) until it has nothing.
    pub(crate) fn push(&mut self, piece: Bytes) -> Result<(), Malformed> {
        debug_assert!(self.ready.is_none(), "what is ready is taken before more comes");
        let piece = if self.partial.is_empty() {
            piece
        } else {
            self.partial.extend_from_slice(&piece);
            self.partial.split().freeze()
        };
        let whole = end_of_last_event(&piece);
        if piece.len() - whole > MAX_EVENT {
            return Err(Malformed::TooLong);
        }
        self.partial.extend_from_slice(&piece[whole..]);
        if whole > 0 {
            self.ready = self.read(piece.slice(..whole))?;
        }
        Ok(())
    }

    /// The whole events that are there, as one chunk.
    pub(crate) fn next(&mut self) -> Option<Chunk> {
        self.ready.take()
    }

    /// Whether the stream stands inside an event.
    pub(crate) fn is_partial(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Reads whole events; `None` where nothing of them is for the caller and nothing was learned.
    fn read(&mut self, bytes: Bytes) -> Result<Option<Chunk>, Malformed> {
        let mut peeked = Peeked::default();
        let (mut from, mut kept): (usize, Option<BytesMut>) = (0, None);
        while from < bytes.len() {
            let end = from + end_of_event(&bytes[from..]).expect("only whole events are read");
            let seen = event::read(self.kind, data_of(&bytes[from..end]));
            if seen.malformed {
                return Err(Malformed::NotJson);
            }
            peeked.add(seen.peeked);
            if seen.peeked.error && !seen.peeked.done {
                // The backend's words may tell of its inside, and nothing good follows: the client is told by us.
                let bytes = kept.map_or_else(|| bytes.slice(..from), BytesMut::freeze);
                return Ok(Some(Chunk { bytes, peeked }));
            }
            if self.strip_usage && seen.only_usage {
                // Rare, once a stream: what stood before is copied out, what follows is added.
                kept.get_or_insert_with(|| BytesMut::from(&bytes[..from]));
            } else if let Some(kept) = &mut kept {
                kept.extend_from_slice(&bytes[from..end]);
            }
            from = end;
        }
        let bytes = kept.map_or(bytes, BytesMut::freeze);
        Ok((!bytes.is_empty() || peeked != Peeked::default()).then_some(Chunk { bytes, peeked }))
    }
}

/// The offset behind the first blank line.
pub(crate) fn end_of_event(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr(b'\n', &text[at..])? + 1;
        match text.get(at..) {
            Some([b'\n', ..]) => return Some(at + 1),
            Some([b'\r', b'\n', ..]) => return Some(at + 2),
            Some(_) => {}
            None => return None,
        }
    }
}

/// The offset behind the last blank line; 0 where there is none.
fn end_of_last_event(text: &[u8]) -> usize {
    // The usual case: the piece ends with an event.
    if text.ends_with(b"\n\n") || text.ends_with(b"\n\r\n") {
        return text.len();
    }
    let mut end = 0;
    while let Some(next) = end_of_event(&text[end..]) {
        end += next;
    }
    end
}

/// The data of each of the whole events in `text`.
pub fn data(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (event, others) = rest.split_at(end_of_event(rest)?);
        rest = others;
        Some(data_of(event))
    })
}

/// The data of an event. One line of data, which is all that engines send, is not copied; of several, the first is
/// looked at.
pub(crate) fn data_of(event: &[u8]) -> &[u8] {
    let mut rest = event;
    loop {
        if let Some(data) = rest.strip_prefix(b"data:") {
            let end = memchr::memchr(b'\n', data).unwrap_or(data.len());
            return &data[..end];
        }
        match memchr::memchr(b'\n', rest) {
            Some(end) => rest = &rest[end + 1..],
            None => return &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TOKEN: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n";
    const DONE: &str = "data: [DONE]\n\n";

    fn relay(events: &mut Events, pieces: &[&[u8]]) -> (Vec<u8>, Peeked) {
        let (mut out, mut peeked) = (Vec::new(), Peeked::default());
        for piece in pieces {
            events.push(Bytes::copy_from_slice(piece)).unwrap();
            while let Some(chunk) = events.next() {
                out.extend_from_slice(&chunk.bytes);
                peeked.add(chunk.peeked);
            }
        }
        (out, peeked)
    }

    #[test]
    fn a_half_event_waits_for_its_other_half() {
        let mut events = Events::new(Kind::Chat, false);
        let (out, _) = relay(&mut events, &[&TOKEN.as_bytes()[..20]]);
        assert!(out.is_empty() && events.is_partial());
        let (out, peeked) = relay(&mut events, &[&TOKEN.as_bytes()[20..]]);
        assert_eq!((out.as_slice(), peeked.token_events), (TOKEN.as_bytes(), 1));
        assert!(!events.is_partial());
    }

    #[test]
    fn the_usage_chunk_that_nobody_asked_for_is_taken_out_and_counted() {
        let stream = [TOKEN, USAGE, DONE].concat();
        let (out, peeked) = relay(&mut Events::new(Kind::Chat, true), &[stream.as_bytes()]);
        assert_eq!(String::from_utf8(out).unwrap(), [TOKEN, DONE].concat());
        assert!(peeked.done && peeked.usage.is_some());
        let (out, _) = relay(&mut Events::new(Kind::Chat, false), &[stream.as_bytes()]);
        assert_eq!(out, stream.as_bytes());
    }

    #[test]
    fn an_error_event_ends_what_is_passed_on() {
        let stream = [TOKEN, "data: {\"error\":{\"message\":\"at 0x7f00deadbeef\"}}\n\n", DONE].concat();
        let (out, peeked) = relay(&mut Events::new(Kind::Chat, false), &[stream.as_bytes()]);
        assert_eq!(String::from_utf8(out).unwrap(), TOKEN);
        assert!(peeked.error && !peeked.done);
    }

    #[test]
    fn whole_events_are_passed_on_without_a_copy() {
        let piece = Bytes::from_static(TOKEN.as_bytes());
        let mut events = Events::new(Kind::Chat, true);
        events.push(piece.clone()).unwrap();
        assert_eq!(events.next().unwrap().bytes.as_ptr(), piece.as_ptr());
    }

    #[test]
    fn an_event_without_end_and_one_without_json_are_refused() {
        let mut events = Events::new(Kind::Chat, false);
        let long = Bytes::from(vec![b'a'; MAX_EVENT + 1]);
        assert_eq!(events.push(long), Err(Malformed::TooLong));
        let mut events = Events::new(Kind::Chat, false);
        assert_eq!(events.push(Bytes::from_static(b"data: {\"choi\n\n")), Err(Malformed::NotJson));
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_same_comes_out(cuts in proptest::collection::vec(1_usize..60, 1..60), crlf: bool) {
            let mut stream = [": hello\n\n", TOKEN, "event: x\n", TOKEN, TOKEN, USAGE, DONE].concat();
            if crlf {
                stream = stream.replace('\n', "\r\n");
            }
            let (mut events, mut rest, mut pieces) = (Events::new(Kind::Chat, true), stream.as_bytes(), Vec::new());
            for cut in cuts {
                let (piece, left) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = left;
            }
            pieces.push(rest);
            let (out, peeked) = relay(&mut events, &pieces);
            let usage = if crlf { USAGE.replace('\n', "\r\n") } else { USAGE.to_owned() };
            prop_assert_eq!(String::from_utf8(out).unwrap(), stream.replace(&usage, ""));
            prop_assert_eq!(peeked.token_events, 3);
            prop_assert!(peeked.done && !events.is_partial());
        }
    }
}
