//! How an answer that broke goes on at another backend: what was told of it, the request for the rest, and the rest as if
//! the first backend had told it.
//!
//! It goes on text by text: a chat gets what was told as the beginning of its last message (`continue_final_message`, vLLM
//! and SGLang; llama.cpp takes such a message so by itself), a completion as the end of its prompt. What cannot be begun
//! again in its middle is left broken: calls of tools, reasoning, guided or scored answers, several at a time. A request may
//! hold nothing that is not known to mean the same for the rest as for the whole.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use plimsoll_types::{Chunk, Kind, Peeked, Request};

use crate::event::something;
use crate::json::{JsonError, Next, Scanner};
use crate::sse;

/// Bytes that a body and what was told of its answer may have together.
const MOST: usize = 1 << 20;

/// What was told of an answer.
#[derive(Debug)]
pub struct Told {
    kind: Kind,
    /// Its text, escaped as it came.
    text: Vec<u8>,
    /// What stood before and after the text of an event, as in most that follow it.
    around: (Vec<u8>, Vec<u8>),
    /// Where in the event that is read its text stands.
    found: Option<Range<usize>>,
    /// Tokens of it: events with text.
    tokens: u32,
    /// `id`, `created` and `model` of its first event, as JSON.
    names: [Option<Vec<u8>>; NAMES.len()],
    /// Whether something was told that cannot be said again.
    lost: bool,
    /// Tokens of it that the backend which answers now was told, too.
    resumed: u32,
}

/// What all events of a stream have in common.
const NAMES: [&[u8]; 3] = [b"id", b"created", b"model"];

impl Told {
    /// Nothing yet of the answer to `request`; `None` where such answers are never continued.
    #[must_use]
    pub fn of(request: &Request) -> Option<Self> {
        let kind = request.envelope.kind;
        let may = request.envelope.stream && matches!(kind, Kind::Chat | Kind::Completion);
        (may && request.body.len() <= MOST).then(|| Self {
            kind,
            text: Vec::new(),
            around: Default::default(),
            found: None,
            tokens: 0,
            names: Default::default(),
            lost: false,
            resumed: 0,
        })
    }

    /// A piece of the stream came: gives what of it the client is to be told, and keeps that in mind.
    pub fn hear(&mut self, chunk: Chunk) -> Chunk {
        let chunk = if self.resumed > 0 { self.as_first(chunk) } else { chunk };
        if !self.lost {
            let good = sse::data(&chunk.bytes).try_for_each(|data| self.keep(&data));
            // After its end there is nothing to go on with, though the transfer may break.
            self.lost = good.is_err() || self.text.len() > MOST || chunk.peeked.finish.is_some();
            self.tokens += chunk.peeked.token_events;
            if self.lost {
                self.text = Vec::new();
            }
        }
        chunk
    }

    /// The request for what is missing; `None` where it cannot be asked for.
    pub fn rest(&mut self, request: &Request) -> Option<Request> {
        if self.lost || self.tokens == 0 || request.body.len() + self.text.len() > MOST {
            return None;
        }
        let edits = self.edits(&request.body).ok().flatten()?;
        let mut envelope = request.envelope.clone();
        let moved = |at: Range<usize>| moved(at.start, &edits)..moved(at.end, &edits);
        envelope.model_at = moved(envelope.model_at);
        for splice in envelope.ask_usage.iter_mut().chain(&mut envelope.cache_salt) {
            splice.at = moved(splice.at.clone());
        }
        envelope.prompt_tokens = envelope.prompt_tokens.saturating_add(self.tokens);
        envelope.max_tokens = envelope.max_tokens.map(|most| most.saturating_sub(self.tokens));
        self.resumed = self.tokens;
        Some(Request { envelope, body: written(&request.body, edits) })
    }

    /// Keeps what one event tells. An error where that cannot be said again.
    fn keep(&mut self, data: &[u8]) -> Result<(), JsonError> {
        let data = data.trim_ascii();
        if !data.starts_with(b"{") || self.is_like_the_last(data)? {
            return Ok(());
        }
        self.found = None;
        let (mut scanner, mut first) = (Scanner::new(data), true);
        scanner.enter_object()?;
        while let Some(key) = scanner.next_key(&mut first)? {
            let name = scanner.raw(&key);
            if name == b"choices" && scanner.kind()? == Next::Array {
                self.keep_choices(&mut scanner)?;
                continue;
            }
            let at = scanner.skip()?;
            if let Some(known) = NAMES.iter().position(|one| *one == name) {
                self.names[known].get_or_insert_with(|| data[at].to_vec());
            }
        }
        if let Some(found) = self.found.take() {
            let (before, after) = &mut self.around;
            before.clear();
            before.extend_from_slice(&data[..found.start]);
            after.clear();
            after.extend_from_slice(&data[found.end..]);
        }
        Ok(())
    }

    /// Keeps the text of an event that differs from an earlier one in nothing else, as nearly all do: that is not to be read
    /// again. Whether it is one.
    fn is_like_the_last(&mut self, data: &[u8]) -> Result<bool, JsonError> {
        let (before, after) = &self.around;
        if before.is_empty() || !data.starts_with(before) {
            return Ok(false);
        }
        let text = Scanner::new(data).again_from(before.len() - 1).known_string()?;
        let like = data[text.raw.end..] == after[..];
        if like {
            self.text.extend_from_slice(&data[text.raw]);
        }
        Ok(like)
    }

    fn keep_choices(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        let mut first = true;
        scanner.enter_array()?;
        while scanner.next_item(&mut first)? {
            let mut first = true;
            scanner.enter_object()?;
            while let Some(key) = scanner.next_key(&mut first)? {
                match scanner.raw(&key) {
                    b"index" if scanner.whole()? != Some(0) => {
                        return Err(scanner.error("one of several answers"));
                    }
                    b"index" => {}
                    b"delta" if scanner.kind()? == Next::Object => self.keep_delta(scanner)?,
                    b"text" if scanner.kind()? == Next::String => self.keep_text(scanner)?,
                    b"logprobs" if something(scanner)? => return Err(scanner.error("a scored answer")),
                    b"logprobs" => {}
                    _ => scanner.pass()?,
                }
            }
        }
        Ok(())
    }

    fn keep_delta(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        let mut first = true;
        scanner.enter_object()?;
        while let Some(key) = scanner.next_key(&mut first)? {
            match scanner.raw(&key) {
                b"content" if scanner.kind()? == Next::String => self.keep_text(scanner)?,
                b"role" => scanner.pass()?,
                _ if something(scanner)? => return Err(scanner.error("more than text")),
                _ => {}
            }
        }
        Ok(())
    }

    fn keep_text(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        let text = scanner.string()?;
        if self.found.is_some() {
            return Err(scanner.error("a second text"));
        }
        self.text.extend_from_slice(scanner.raw(&text));
        self.found = Some(text.raw);
        Ok(())
    }

    /// What is to be changed in the body, in its order; `None` where the rest would not be that of the same answer.
    fn edits(&self, body: &[u8]) -> Result<Option<Vec<Edit>>, JsonError> {
        let (mut scanner, mut first) = (Scanner::new(body), true);
        let (mut edits, mut goes_on) = (Vec::new(), None);
        scanner.enter_object()?;
        while let Some(key) = scanner.next_key(&mut first)? {
            match (self.kind, scanner.raw(&key)) {
                (Kind::Chat, b"messages") => goes_on = self.last_message(&mut scanner)?,
                (Kind::Completion, b"prompt") => {
                    let Some(end) = end_of_prompt(&mut scanner)? else { return Ok(None) };
                    goes_on = Some((end..end, self.text.clone()));
                }
                (_, b"response_format") if says_text(&mut scanner)? => {}
                (_, b"max_tokens" | b"max_completion_tokens") if scanner.kind()? == Next::Number => {
                    let Some((at, left)) = self.left(&mut scanner)? else { return Ok(None) };
                    if left == 0 {
                        return Ok(None);
                    }
                    edits.push((at, left.to_string().into_bytes()));
                }
                (_, b"min_tokens") if scanner.kind()? == Next::Number => {
                    let Some((at, left)) = self.left(&mut scanner)? else { return Ok(None) };
                    edits.push((at, left.to_string().into_bytes()));
                }
                (_, b"n" | b"best_of") if scanner.kind()? == Next::Number => {
                    let Some(1) = scanner.whole()? else { return Ok(None) };
                }
                (_, name) if SAME.contains(&name) => scanner.pass()?,
                _ if something(&mut scanner)? => return Ok(None),
                _ => {}
            }
        }
        let Some(goes_on) = goes_on else { return Ok(None) };
        edits.push(goes_on);
        if self.kind == Kind::Chat {
            let end = scanner.position() - 1;
            edits.push((end..end, CONTINUE.to_vec()));
        }
        edits.sort_by_key(|(at, _)| at.start);
        Ok(Some(edits))
    }

    /// A limit in tokens, where it stands and what is left of it.
    fn left(&self, scanner: &mut Scanner<'_>) -> Result<Option<(Range<usize>, u64)>, JsonError> {
        let begins = scanner.position();
        let limit = scanner.whole()?;
        let at = begins..scanner.position();
        Ok(limit.map(|limit| (at, limit.saturating_sub(self.tokens.into()))))
    }

    /// What was told, as the last of the messages; `None` where the caller has begun the answer already.
    fn last_message(&self, scanner: &mut Scanner<'_>) -> Result<Option<Edit>, JsonError> {
        let (mut first, mut users) = (true, false);
        scanner.enter_array()?;
        while scanner.next_item(&mut first)? {
            users = false;
            let mut first = true;
            scanner.enter_object()?;
            while let Some(key) = scanner.next_key(&mut first)? {
                if scanner.raw(&key) == b"role" && scanner.kind()? == Next::String {
                    let role = scanner.string()?;
                    users = scanner.says(&role, "user") || scanner.says(&role, "tool");
                } else {
                    scanner.pass()?;
                }
            }
        }
        let end = scanner.position() - 1;
        let message = [br#",{"role":"assistant","content":""#, self.text.as_slice(), br#""}"#].concat();
        Ok(users.then_some((end..end, message)))
    }

    /// A piece of another backend's stream as the first one would have told it: the same names, no second beginning, and
    /// the usage of the whole.
    fn as_first(&self, mut chunk: Chunk) -> Chunk {
        let mut told = BytesMut::with_capacity(chunk.bytes.len() + 64);
        let mut rest = &chunk.bytes[..];
        while let Some(end) = sse::end_of_event(rest) {
            let (event, others) = rest.split_at(end);
            match self.retold(sse::data_of(event).trim_ascii()) {
                Ok(Some(data)) => {
                    for part in [b"data: ", data.as_slice(), b"\n\n"] {
                        told.extend_from_slice(part);
                    }
                }
                Ok(None) => {}
                Err(_) => told.extend_from_slice(event),
            }
            rest = others;
        }
        chunk.bytes = told.freeze();
        if let Some(usage) = &mut chunk.peeked.usage {
            usage.prompt = usage.prompt.saturating_sub(self.resumed);
            usage.completion = usage.completion.saturating_add(self.resumed);
        }
        chunk
    }

    /// The data of an event; nothing of one that only begins. An error where it is none to be changed.
    fn retold(&self, data: &[u8]) -> Result<Option<Vec<u8>>, JsonError> {
        let (mut scanner, mut first, mut edits) = (Scanner::new(data), true, Vec::new());
        scanner.enter_object()?;
        while let Some(key) = scanner.next_key(&mut first)? {
            let name = scanner.raw(&key);
            if name == b"usage" && scanner.kind()? == Next::Object {
                self.correct(&mut scanner, &mut edits)?;
                continue;
            }
            let at = scanner.skip()?;
            let known = NAMES.iter().position(|one| *one == name);
            if let Some(name) = known.and_then(|known| self.names[known].as_ref()) {
                edits.push((at, name.clone()));
            }
        }
        // The first event has a role and no text, and with some engines usage: its client would read a second beginning.
        let seen = crate::event::read(self.kind, data);
        let Peeked { token_events, finish, error, .. } = seen.peeked;
        let says = token_events > 0 || seen.only_usage || finish.is_some() || error;
        Ok(says.then(|| written(data, edits).into()))
    }

    fn correct(&self, scanner: &mut Scanner<'_>, edits: &mut Vec<Edit>) -> Result<(), JsonError> {
        let mut first = true;
        scanner.enter_object()?;
        while let Some(key) = scanner.next_key(&mut first)? {
            let resumed = u64::from(self.resumed);
            let count: fn(u64, u64) -> u64 = match scanner.raw(&key) {
                b"prompt_tokens" => u64::saturating_sub,
                b"completion_tokens" => u64::saturating_add,
                _ => {
                    scanner.pass()?;
                    continue;
                }
            };
            let begins = scanner.position();
            if let Some(tokens) = scanner.whole()? {
                let text = count(tokens, resumed).to_string().into_bytes();
                edits.push((begins..scanner.position(), text));
            }
        }
        Ok(())
    }
}

/// Where the text of a prompt ends, alone or as the only one of a list; `None` where there are others or it is no text.
fn end_of_prompt(scanner: &mut Scanner<'_>) -> Result<Option<usize>, JsonError> {
    match scanner.kind()? {
        Next::String => Ok(Some(scanner.string()?.raw.end)),
        Next::Array => {
            let (mut first, mut end, mut count) = (true, None, 0);
            scanner.enter_array()?;
            while scanner.next_item(&mut first)? {
                count += 1;
                match scanner.kind()? {
                    Next::String => end = Some(scanner.string()?.raw.end),
                    _ => {
                        scanner.skip()?;
                    }
                }
            }
            Ok(end.filter(|_| count == 1))
        }
        _ => {
            scanner.skip()?;
            Ok(None)
        }
    }
}

/// Takes a response format and says whether it asks for plain text, which is what every answer is without one.
fn says_text(scanner: &mut Scanner<'_>) -> Result<bool, JsonError> {
    let format = scanner.clone().skip()?;
    let format = &scanner.text()[format];
    let is_text = serde_json::from_slice::<serde_json::Value>(format)
        .is_ok_and(|format| format.is_null() || format == serde_json::json!({"type": "text"}));
    if is_text {
        scanner.skip()?;
    }
    Ok(is_text)
}

/// Bytes of a text, and what takes their place.
type Edit = (Range<usize>, Vec<u8>);

/// What vLLM and SGLang are told, so that a template does not end the last message and begin another.
const CONTINUE: &[u8] = br#","continue_final_message":true,"add_generation_prompt":false"#;

/// Keys that mean the same for the rest of an answer as for all of it. Penalties and seeds do so nearly: what they are about
/// begins anew.
const SAME: [&[u8]; 26] = [
    b"model",
    b"stream",
    b"stream_options",
    b"temperature",
    b"top_p",
    b"top_k",
    b"min_p",
    b"typical_p",
    b"seed",
    b"stop",
    b"stop_token_ids",
    b"ignore_eos",
    b"presence_penalty",
    b"frequency_penalty",
    b"repetition_penalty",
    b"logit_bias",
    b"skip_special_tokens",
    b"spaces_between_special_tokens",
    b"user",
    b"metadata",
    b"priority",
    b"cache_salt",
    b"service_tier",
    b"safety_identifier",
    b"prompt_cache_key",
    b"store",
];

/// Where a place of the text is after the edits.
fn moved(place: usize, edits: &[Edit]) -> usize {
    let before = edits.iter().filter(|(at, _)| at.end <= place);
    before.fold(place, |place, (at, text)| place + text.len() - at.len())
}

fn written(text: &[u8], edits: Vec<Edit>) -> Bytes {
    let (mut out, mut from) = (BytesMut::with_capacity(text.len() + 256), 0);
    for (at, new) in edits {
        out.extend_from_slice(&text[from..at.start]);
        out.extend_from_slice(&new);
        from = at.end;
    }
    out.extend_from_slice(&text[from..]);
    out.freeze()
}

#[cfg(test)]
mod tests;
