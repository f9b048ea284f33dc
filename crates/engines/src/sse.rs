//! Cuts a stream of server-sent events at the borders of events.
//!
//! Bytes arrive in any pieces; what leaves is whole events, so that a stream which breaks never ends inside one, and a
//! chunk that must not be seen can be taken out. Pieces that hold whole events, as engines send them, pass without
//! being copied. (HTML standard, section 9.2.) Hot path: no allocation for whole events, no lock, no await.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use plimsoll_types::{Chunk, Kind, Peeked, Refusal};

use crate::event::{self, Seen};
use crate::refusal::refusal_in_stream;

/// Bytes that one event may have: as many as a body. Pictures come in one event, and `response.completed` repeats all of
/// the answer.
const MAX_EVENT: usize = 32 << 20;
/// An end of an event has at most so many bytes: two line ends.
const LONGEST_END: usize = 4;

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
    /// Whether an event had a reason why the answer ends.
    finished: bool,
    /// What the backend said of the error that it reported.
    refusal: Option<Box<Refusal>>,
}

/// An event is longer than any may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Events {
    pub(crate) fn new(kind: Kind, strip_usage: bool) -> Self {
        let (partial, ready, refusal) = (BytesMut::new(), None, None);
        Self { kind, strip_usage, partial, ready, finished: false, refusal }
    }

    /// Takes in the next piece. Then ask [`next`](Self::next) until it has nothing.
    pub(crate) fn push(&mut self, piece: Bytes) -> Result<(), TooLong> {
        debug_assert!(self.ready.is_none(), "what is ready is taken before more comes");
        let events = if self.partial.is_empty() {
            let whole = end_of_last_event(&piece);
            self.partial.extend_from_slice(&piece[whole..]);
            piece.slice(..whole)
        } else {
            // What was looked at is not looked at again: an event of many pieces would cost their square.
            let from = self.partial.len().saturating_sub(LONGEST_END - 1);
            self.partial.extend_from_slice(&piece);
            let whole = match end_of_last_event(&self.partial[from..]) {
                0 => 0,
                end => from + end,
            };
            self.partial.split_to(whole).freeze()
        };
        if self.partial.len() > MAX_EVENT {
            return Err(TooLong);
        }
        // A piece of an event is a sign of life, too.
        self.ready = Some(if events.is_empty() { Chunk::default() } else { self.read(events) });
        Ok(())
    }

    /// The whole events that are there, as one chunk: an empty one where only a part of one came.
    pub(crate) fn next(&mut self) -> Option<Chunk> {
        self.ready.take()
    }

    /// The transfer has ended. What is left is an event if the answer is whole with it: it only lacks its blank line. False
    /// where the transfer ended inside an event.
    pub(crate) fn end(&mut self) -> bool {
        let rest = self.partial.split();
        if rest.iter().all(|byte| matches!(byte, b'\n' | b'\r')) {
            return true;
        }
        let seen = read_event(self.kind, &rest);
        if !(self.finished || seen.peeked.done || seen.peeked.finish.is_some()) || seen.malformed {
            return false;
        }
        let end: &[u8] = if rest.ends_with(b"\n") { b"\n" } else { b"\n\n" };
        let event = self.read([&rest, end].concat().into());
        self.ready = Some(event);
        true
    }

    /// What the backend said of the error that it reported, where that gives a status; once.
    pub(crate) fn refusal(&mut self) -> Option<Box<Refusal>> {
        self.refusal.take()
    }

    /// Reads whole events.
    fn read(&mut self, bytes: Bytes) -> Chunk {
        let mut peeked = Peeked::default();
        let (mut from, mut kept): (usize, Option<BytesMut>) = (0, None);
        while from < bytes.len() {
            let end = end_of_event(&bytes[from..]).map_or(bytes.len(), |end| from + end);
            let seen = read_event(self.kind, &bytes[from..end]);
            peeked.add(seen.peeked);
            if seen.peeked.error {
                self.refusal = refusal_in_stream(&data_of(&bytes[from..end])).map(Box::new);
                if !seen.peeked.done {
                    // The backend's words may tell of its inside, and nothing good follows: the client is told by us.
                    let bytes = kept.map_or_else(|| bytes.slice(..from), BytesMut::freeze);
                    return Chunk { bytes, peeked };
                }
            }
            if self.strip_usage && seen.only_usage {
                // Rare, once a stream: what stood before is copied out, what follows is added.
                kept.get_or_insert_with(|| BytesMut::from(&bytes[..from]));
            } else if let Some(kept) = &mut kept {
                kept.extend_from_slice(&bytes[from..end]);
            }
            from = end;
        }
        self.finished |= peeked.finish.is_some();
        Chunk { bytes: kept.map_or(bytes, BytesMut::freeze), peeked }
    }
}

/// Reads one event. What is no JSON counts as nothing said: only what breaks the framing breaks a stream.
fn read_event(kind: Kind, text: &[u8]) -> Seen {
    let mut lines = data_lines(text);
    let first = lines.next().unwrap_or_default();
    if lines.next().is_none() {
        return event::read(kind, first);
    }
    read_lines(kind, text)
}

/// Reads an event with several lines of data: JSON over several lines, or events whose senders left out the blank lines.
#[cold]
fn read_lines(kind: Kind, text: &[u8]) -> Seen {
    let mut apart = Seen::default();
    for line in data_lines(text) {
        let Seen { peeked, malformed, .. } = event::read(kind, line);
        apart.peeked.add(peeked);
        apart.malformed |= malformed;
    }
    if apart.malformed { event::read(kind, &data_of(text)) } else { apart }
}

/// The offset behind the first blank line. Lines end with LF, CRLF or CR.
pub(crate) fn end_of_event(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let begin = at + memchr::memchr2(b'\n', b'\r', &text[at..])?;
        at = behind_line_end(text, begin);
        match text.get(at..)? {
            // The LF of the CRLF is on its way.
            [b'\r'] if at - begin == 2 => return None,
            [b'\n' | b'\r', ..] => return Some(behind_line_end(text, at)),
            _ => {}
        }
    }
}

/// The offset behind the line end at `at`.
fn behind_line_end(text: &[u8], at: usize) -> usize {
    at + if text[at..].starts_with(b"\r\n") { 2 } else { 1 }
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
pub fn data(text: &[u8]) -> impl Iterator<Item = Cow<'_, [u8]>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (event, others) = rest.split_at(end_of_event(rest)?);
        rest = others;
        Some(data_of(event))
    })
}

/// The data of an event: its lines of data with line ends between. One line, which is what engines send, is not copied.
pub(crate) fn data_of(event: &[u8]) -> Cow<'_, [u8]> {
    let mut lines = data_lines(event);
    let first = lines.next().unwrap_or_default();
    match lines.next() {
        None => Cow::Borrowed(first),
        Some(second) => {
            let all: Vec<&[u8]> = [first, second].into_iter().chain(lines).collect();
            Cow::Owned(all.join(&b'\n'))
        }
    }
}

/// What stands behind `data:` in each line of an event that begins so.
fn data_lines(event: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = event;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let end = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            let line = &rest[..end];
            rest = rest.get(end + 1..).unwrap_or_default();
            if let Some(data) = line.strip_prefix(b"data:") {
                return Some(data);
            }
        }
        None
    })
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
        assert!(out.is_empty());
        let (out, peeked) = relay(&mut events, &[&TOKEN.as_bytes()[20..]]);
        assert_eq!((out.as_slice(), peeked.token_events), (TOKEN.as_bytes(), 1));
        assert!(events.end());
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
    fn an_event_without_end_is_refused_and_one_without_json_passes_as_nothing_said() {
        let mut events = Events::new(Kind::Chat, false);
        let long = Bytes::from(vec![b'a'; MAX_EVENT + 1]);
        assert_eq!(events.push(long), Err(TooLong));
        for odd in ["data: {\"choi\n\n", "data: : keepalive\n\n"] {
            let (out, peeked) = relay(&mut Events::new(Kind::Chat, false), &[odd.as_bytes()]);
            assert_eq!((out.as_slice(), peeked), (odd.as_bytes(), Peeked::default()));
        }
    }

    #[test]
    fn events_are_read_as_the_standard_has_it_and_pass_as_they_came() {
        let end = r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
        for (stream, tokens) in [
            (format!("data: {{\"choices\":[{{\ndata: \"delta\":{{\"content\":\"a\"}}}}]}}\n\n{DONE}"), 1),
            (format!("{}\n{TOKEN}{DONE}", TOKEN.trim_end()), 2),
            (format!("{TOKEN}{}\n{end}\ndata: [DONE]\n\n", TOKEN.trim_end()), 2),
            (format!("{TOKEN}{DONE}").replace('\n', "\r"), 1),
        ] {
            let mut events = Events::new(Kind::Chat, false);
            let (out, peeked) = relay(&mut events, &[stream.as_bytes()]);
            assert_eq!(String::from_utf8(out).unwrap(), stream);
            assert!(peeked.done && events.end(), "{stream}");
            assert_eq!(peeked.token_events, tokens, "{stream}");
        }
    }

    #[test]
    fn the_last_event_of_a_whole_answer_may_lack_its_blank_line() {
        let end = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
        for (stream, whole) in [
            (format!("{TOKEN}data: [DONE]"), true),
            (format!("{TOKEN}data: [DONE]\n"), true),
            (format!("{TOKEN}{end}data: [DO"), false),
            (format!("{TOKEN}{}", end.trim_end()), true),
            (format!("{TOKEN}data: {{\"choices\":[{{\"delta\":{{\"content\":\"b\"}}}}]}}"), false),
            (TOKEN.to_owned(), true),
        ] {
            let mut events = Events::new(Kind::Chat, false);
            let (mut out, _) = relay(&mut events, &[stream.as_bytes()]);
            assert_eq!(events.end(), whole, "{stream}");
            out.extend(events.next().iter().flat_map(|chunk| chunk.bytes.to_vec()));
            assert!(!whole || String::from_utf8(out).unwrap() == format!("{}\n\n", stream.trim_end()));
        }
    }

    #[test]
    fn a_piece_of_an_event_is_a_sign_of_life() {
        let mut events = Events::new(Kind::Chat, false);
        events.push(Bytes::from_static(b": ping\n")).unwrap();
        assert_eq!(events.next(), Some(Chunk::default()));
    }

    #[test]
    fn an_event_in_many_pieces_is_looked_at_once() {
        // As many pieces as would take minutes if each were searched, or copied, from the beginning of the event.
        let mut events = Events::new(Kind::Chat, false);
        events.push(Bytes::from_static(b"data: \"")).unwrap();
        events.next();
        let piece = Bytes::from(vec![b'a'; 1 << 10]);
        for _ in 0..((MAX_EVENT >> 10) - 1) {
            events.push(piece.clone()).unwrap();
            events.next();
        }
        let (out, _) = relay(&mut events, &[b"\"\n\n"]);
        assert_eq!(out.len(), 6 + 1 + ((MAX_EVENT >> 10) - 1) * 1_024 + 3);
    }

    #[test]
    fn what_a_backend_says_of_its_error_is_kept() {
        let text = "data: {\"error\":{\"message\":\"too long\",\"code\":400}}\n\n";
        let mut events = Events::new(Kind::Chat, false);
        assert!(relay(&mut events, &[text.as_bytes()]).1.error);
        assert_eq!(
            events.refusal().map(|refusal| (refusal.status, refusal.message)),
            Some((400, "too long".into()))
        );
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_same_comes_out(cuts in proptest::collection::vec(1_usize..60, 1..60), end in 0_usize..3) {
            let mut stream = [": hello\n\n", TOKEN, "event: x\n", TOKEN, TOKEN, USAGE, DONE].concat();
            let end = ["\n", "\r\n", "\r"][end];
            stream = stream.replace('\n', end);
            let (mut events, mut rest, mut pieces) = (Events::new(Kind::Chat, true), stream.as_bytes(), Vec::new());
            for cut in cuts {
                let (piece, left) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = left;
            }
            pieces.push(rest);
            let (out, peeked) = relay(&mut events, &pieces);
            let usage = USAGE.replace('\n', end);
            prop_assert_eq!(String::from_utf8(out).unwrap(), stream.replace(&usage, ""));
            prop_assert_eq!(peeked.token_events, 3);
            prop_assert!(peeked.done && events.end());
        }
    }
}
