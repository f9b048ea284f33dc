//! What an event of a stream, or a plain answer, says: tokens, usage, the end, an error.
//!
//! Everything that a backend may leave out may be missing: engines differ (vLLM's `reasoning`, llama.cpp's
//! `content: null`, Azure's choices without `delta`). What cannot be read counts as nothing said, and passes through.
//! Hot path: no allocation, no lock, no await.

use plimsoll_types::{Finish, Kind, Peeked, Usage};

use crate::json::{JsonError, Next, Scanner, Str};

/// What was read from one event, and whether it holds nothing but usage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// What was read.
    pub peeked: Peeked,
    /// Whether it is the extra chunk with usage and without choices, which a caller who did not ask must not see.
    pub only_usage: bool,
    /// Whether the data is not the JSON that it should be.
    pub malformed: bool,
}

/// Reads the data of one event of a stream that answers a request of `kind`.
#[must_use]
pub fn read(kind: Kind, data: &[u8]) -> Seen {
    let mut seen = Seen::default();
    let data = data.trim_ascii();
    // llama.cpp begins the stream of an array of prompts with an event that says `null`.
    if data.is_empty() || data == b"null" {
        return seen;
    }
    if data.starts_with(b"[DONE]") {
        seen.peeked.done = true;
        return seen;
    }
    let parse = |data: &[u8]| {
        let (mut scanner, mut seen) = (Scanner::new(data), Seen::default());
        let read = match kind {
            Kind::Response | Kind::Message => typed(&mut scanner, &mut seen),
            _ => chunk(&mut scanner, &mut seen),
        };
        seen.malformed = read.is_err();
        seen
    };
    match parse(data) {
        seen if seen.malformed => finite(data).map_or(seen, |data| parse(&data)),
        seen => seen,
    }
}

/// The data with a number in the place of each of `-Infinity`, `Infinity` and `NaN`, which Python writes and reads though JSON
/// has no such numbers; `None` where there is none. What stands in texts is replaced too: nothing but their length matters.
#[cold]
fn finite(data: &[u8]) -> Option<Vec<u8>> {
    let mut finite = data.to_vec();
    for word in ["Infinity", "NaN"] {
        let mut from = 0;
        while let Some(at) = memchr::memmem::find(&finite[from..], word.as_bytes()) {
            let at = from + at;
            finite[at..at + word.len()].fill(b' ');
            finite[at] = b'1';
            from = at + word.len();
        }
    }
    (finite != data).then_some(finite)
}

/// The id of a response: of the whole document, or of an event that has it in `response`. Other answers' ids are none.
#[must_use]
pub fn response_id(data: &[u8]) -> Option<String> {
    fn id(scanner: &mut Scanner<'_>, depth: u32) -> Result<Option<String>, JsonError> {
        let (mut first, mut found) = (true, None);
        scanner.enter_object()?;
        while let Some(key) = scanner.next_key(&mut first)? {
            match scanner.raw(&key) {
                b"id" if scanner.kind()? == Next::String => {
                    let id = scanner.string()?;
                    found = Some(scanner.decode(&id));
                }
                b"response" if depth == 0 && scanner.kind()? == Next::Object => {
                    return id(scanner, 1);
                }
                _ => scanner.pass()?,
            }
            // It stands at the beginning as a rule, and the rest may be megabytes.
            if found.is_some() {
                break;
            }
        }
        Ok(found)
    }
    id(&mut Scanner::new(data.trim_ascii()), 0).ok().flatten()
}

/// The usage of a plain answer. It stands near the end as a rule, so that is where it is looked for first.
#[must_use]
pub fn usage_of(answer: &[u8]) -> Option<Usage> {
    const TAIL: usize = 1_024;
    let tail = &answer[answer.len().saturating_sub(TAIL)..];
    find_usage(tail)
        .or_else(|| if answer.len() > TAIL { top_level_usage(answer).ok().flatten() } else { None })
}

/// Inside a string the quotes would be escaped, so `"usage":{` can only be a key with an object.
fn find_usage(text: &[u8]) -> Option<Usage> {
    let at = memchr::memmem::rfind(text, b"\"usage\"")? + b"\"usage\"".len();
    let rest = text[at..].trim_ascii_start().strip_prefix(b":")?;
    let mut usage = Usage::default();
    read_usage(&mut Scanner::new(rest), &mut usage).ok()?.then_some(usage)
}

fn top_level_usage(answer: &[u8]) -> Result<Option<Usage>, JsonError> {
    let (mut scanner, mut first, mut found) = (Scanner::new(answer), true, None);
    scanner.enter_object()?;
    while let Some(key) = scanner.next_key(&mut first)? {
        if scanner.says(&key, "usage") {
            let mut usage = Usage::default();
            found = read_usage(&mut scanner, &mut usage)?.then_some(usage);
        } else {
            scanner.skip()?;
        }
    }
    Ok(found)
}

/// Chat and text completions: choices with a delta or a text.
fn chunk(scanner: &mut Scanner<'_>, seen: &mut Seen) -> Result<(), JsonError> {
    let (mut first, mut choices) = (true, None);
    scanner.enter_object()?;
    while let Some(key) = scanner.next_key(&mut first)? {
        match scanner.raw(&key) {
            b"choices" if scanner.kind()? == Next::Array => choices = Some(read_choices(scanner, seen)?),
            b"usage" => {
                let mut usage = Usage::default();
                if read_usage(scanner, &mut usage)? {
                    seen.peeked.usage = Some(usage);
                }
            }
            b"error" => seen.peeked.error |= something(scanner)?,
            _ => scanner.pass()?,
        }
    }
    seen.only_usage = choices == Some(0) && seen.peeked.usage.is_some();
    Ok(())
}

/// Gives the number of choices.
fn read_choices(scanner: &mut Scanner<'_>, seen: &mut Seen) -> Result<u32, JsonError> {
    let (mut first, mut count) = (true, 0);
    scanner.enter_array()?;
    while scanner.next_item(&mut first)? {
        count += 1;
        let (mut first, mut token) = (true, false);
        scanner.enter_object()?;
        while let Some(key) = scanner.next_key(&mut first)? {
            match scanner.raw(&key) {
                b"delta" if scanner.kind()? == Next::Object => token |= read_delta(scanner)?,
                b"text" => token |= something(scanner)?,
                b"finish_reason" => seen.peeked.finish = read_finish(scanner)?.or(seen.peeked.finish),
                _ => scanner.pass()?,
            }
        }
        seen.peeked.token_events |= u32::from(token);
    }
    Ok(count)
}

/// Whether a delta carries a token. The role alone does not.
fn read_delta(scanner: &mut Scanner<'_>) -> Result<bool, JsonError> {
    let (mut first, mut token) = (true, false);
    scanner.enter_object()?;
    while let Some(key) = scanner.next_key(&mut first)? {
        match scanner.raw(&key) {
            b"content" | b"reasoning" | b"reasoning_content" | b"refusal" | b"tool_calls"
            | b"function_call" | b"audio" | b"images" => {
                token |= something(scanner)?;
            }
            _ => scanner.pass()?,
        }
    }
    Ok(token)
}

/// Responses and messages: events with a `type`.
fn typed(scanner: &mut Scanner<'_>, seen: &mut Seen) -> Result<(), JsonError> {
    let (mut first, mut usage) = (true, Usage::default());
    let mut found = false;
    scanner.enter_object()?;
    while let Some(key) = scanner.next_key(&mut first)? {
        match scanner.raw(&key) {
            b"type" if scanner.kind()? == Next::String => {
                let name = scanner.string()?;
                read_type(scanner.raw(&name), seen);
            }
            // `response` of a terminal event, `message` of Anthropic's first, `delta` of its last but one.
            b"response" | b"message" | b"delta" if scanner.kind()? == Next::Object => {
                found |= nested(scanner, &mut usage, seen)?;
            }
            b"usage" => found |= read_usage(scanner, &mut usage)?,
            _ => scanner.pass()?,
        }
    }
    if found {
        seen.peeked.usage = Some(usage);
    }
    Ok(())
}

fn nested(scanner: &mut Scanner<'_>, usage: &mut Usage, seen: &mut Seen) -> Result<bool, JsonError> {
    let (mut first, mut found) = (true, false);
    scanner.enter_object()?;
    while let Some(key) = scanner.next_key(&mut first)? {
        match scanner.raw(&key) {
            b"usage" => found |= read_usage(scanner, usage)?,
            b"stop_reason" => seen.peeked.finish = read_finish(scanner)?.or(seen.peeked.finish),
            _ => scanner.pass()?,
        }
    }
    Ok(found)
}

fn read_type(name: &[u8], seen: &mut Seen) {
    match name {
        b"content_block_delta" => seen.peeked.token_events = 1,
        b"message_stop" | b"response.completed" | b"response.cancelled" => seen.peeked.done = true,
        b"response.incomplete" => {
            seen.peeked.done = true;
            seen.peeked.finish = Some(Finish::Length);
        }
        b"response.failed" => {
            seen.peeked.done = true;
            seen.peeked.error = true;
        }
        b"error" => seen.peeked.error = true,
        _ if name.starts_with(b"response.") && name.ends_with(b".delta") => seen.peeked.token_events = 1,
        _ => {}
    }
}

/// Takes a value and says whether it is more than null, `false` or nothing.
pub(crate) fn something(scanner: &mut Scanner<'_>) -> Result<bool, JsonError> {
    let kind = scanner.kind()?;
    let at = scanner.skip()?;
    Ok(match kind {
        Next::Null => false,
        Next::Bool => at.len() == 4,
        Next::Number => true,
        // Two bytes are the brackets or quotes of an empty one.
        Next::String | Next::Array | Next::Object => at.len() > 2,
    })
}

fn read_finish(scanner: &mut Scanner<'_>) -> Result<Option<Finish>, JsonError> {
    if scanner.kind()? != Next::String {
        scanner.skip()?;
        return Ok(None);
    }
    let reason: Str = scanner.string()?;
    Ok(match scanner.raw(&reason) {
        // Older SGLang, Ollama and others say so in each event.
        b"" => None,
        b"length" | b"max_tokens" => Some(Finish::Length),
        _ => Some(Finish::Natural),
    })
}

/// Reads a usage object of either API into `usage`; false where it is not one.
fn read_usage(scanner: &mut Scanner<'_>, usage: &mut Usage) -> Result<bool, JsonError> {
    if scanner.kind()? != Next::Object {
        scanner.skip()?;
        return Ok(false);
    }
    let (mut first, mut uncached_apart) = (true, 0);
    scanner.enter_object()?;
    while let Some(key) = scanner.next_key(&mut first)? {
        match scanner.raw(&key) {
            b"prompt_tokens" | b"input_tokens" => usage.prompt = count(scanner)?,
            b"completion_tokens" | b"output_tokens" => usage.completion = count(scanner)?,
            // Anthropic counts cached tokens beside the input and not inside it.
            b"cache_read_input_tokens" => {
                usage.cached = count(scanner)?;
                uncached_apart += usage.cached;
            }
            b"cache_creation_input_tokens" => uncached_apart += count(scanner)?,
            b"prompt_tokens_details" | b"input_tokens_details" if scanner.kind()? == Next::Object => {
                let mut first = true;
                scanner.enter_object()?;
                while let Some(key) = scanner.next_key(&mut first)? {
                    if scanner.raw(&key) == b"cached_tokens" {
                        usage.cached = count(scanner)?;
                    } else {
                        scanner.skip()?;
                    }
                }
            }
            _ => scanner.pass()?,
        }
    }
    usage.prompt = usage.prompt.saturating_add(uncached_apart);
    Ok(true)
}

fn count(scanner: &mut Scanner<'_>) -> Result<u32, JsonError> {
    if scanner.kind()? != Next::Number {
        scanner.skip()?;
        return Ok(0);
    }
    Ok(scanner.whole()?.map_or(0, |value| u32::try_from(value).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(data: &str) -> Seen {
        read(Kind::Chat, data.as_bytes())
    }

    #[test]
    fn the_role_is_not_a_token_and_content_reasoning_and_tools_are() {
        let tokens = |delta: &str| {
            chat(&format!(r#"{{"choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]}}"#))
                .peeked
                .token_events
        };
        assert_eq!(tokens(r#"{"role":"assistant","content":null}"#), 0);
        assert_eq!(tokens(r#"{"role":"assistant","content":""}"#), 0);
        assert_eq!(tokens(r#"{"content":"Hi"}"#), 1);
        assert_eq!(tokens(r#"{"reasoning":"so"}"#), 1);
        assert_eq!(tokens(r#"{"reasoning_content":"so"}"#), 1);
        assert_eq!(tokens(r#"{"tool_calls":[{"index":0,"function":{"arguments":""}}]}"#), 1);
    }

    #[test]
    fn the_usage_chunk_is_told_from_azures_first_chunk() {
        let usage = chat(
            r#"{"choices":[],"usage":{"prompt_tokens":21,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":20}}}"#,
        );
        assert!(usage.only_usage);
        assert_eq!(usage.peeked.usage, Some(Usage { prompt: 21, cached: 20, completion: 4 }));
        let azure = chat(r#"{"id":"","choices":[],"prompt_filter_results":[{"prompt_index":0}]}"#);
        assert!(!azure.only_usage && azure.peeked.usage.is_none());
        assert!(!chat(r#"{"choices":[{"index":0,"content_filter_results":{}}],"usage":null}"#).only_usage);
    }

    #[test]
    fn errors_and_ends_are_seen() {
        assert!(chat(r#"{"error":{"message":"x"}}"#).peeked.error);
        assert!(!chat(r#"{"error":null,"choices":[]}"#).peeked.error);
        assert!(chat("[DONE]").peeked.done);
        assert!(chat("{\"choices\":[").malformed);
        assert_eq!(chat("null"), Seen::default());
        let end = chat(r#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#).peeked;
        assert_eq!(end.finish, Some(Finish::Length));
        let not_yet = chat(r#"{"choices":[{"delta":{"content":"a"},"finish_reason":""}]}"#).peeked;
        assert_eq!((not_yet.finish, not_yet.token_events), (None, 1));
    }

    #[test]
    fn a_log_probability_of_minus_infinity_is_a_number_as_python_writes_it() {
        let event = r#"{"choices":[{"logprobs":{"content":[{"logprob":-Infinity}]},"delta":{"content":"a"},"finish_reason":"stop"}]}"#;
        let seen = chat(event);
        assert!(!seen.malformed && seen.peeked.token_events == 1 && seen.peeked.finish.is_some());
        assert!(chat(r#"{"choices":[],"x":NaN,"y":Infinity}"#) == Seen::default());
    }

    #[test]
    fn responses_and_messages_are_read_by_their_types() {
        let event = |text: &str| read(Kind::Response, text.as_bytes()).peeked;
        assert_eq!(event(r#"{"type":"response.output_text.delta","delta":"Hi"}"#).token_events, 1);
        assert_eq!(event(r#"{"type":"response.created","response":{"usage":null}}"#), Peeked::default());
        let end = event(
            r#"{"type":"response.completed","response":{"usage":{"input_tokens":3,"output_tokens":5,"input_tokens_details":{"cached_tokens":1}}}}"#,
        );
        assert!(end.done);
        assert_eq!(end.usage, Some(Usage { prompt: 3, cached: 1, completion: 5 }));
        let start = r#"{"type":"message_start","message":{"usage":{"input_tokens":10,"cache_read_input_tokens":90,"output_tokens":1}}}"#;
        let usage = read(Kind::Message, start.as_bytes()).peeked.usage;
        assert_eq!(usage, Some(Usage { prompt: 100, cached: 90, completion: 1 }));
        assert!(read(Kind::Message, br#"{"type":"message_stop"}"#).peeked.done);
    }

    #[test]
    fn the_id_of_a_response_is_found_in_the_document_and_in_the_event_that_creates_it() {
        let id = |text: &str| response_id(text.as_bytes());
        assert_eq!(id(r#"{"object":"response","id":"resp_1","output":[]}"#).as_deref(), Some("resp_1"));
        let created = r#"{"type":"response.created","sequence_number":0,"response":{"id":"resp_2","status":"in_progress"}}"#;
        assert_eq!(id(created).as_deref(), Some("resp_2"));
        assert_eq!(id(r#"{"type":"response.output_text.delta","item_id":"x","delta":"a"}"#), None);
        assert_eq!(id("[DONE]"), None);
    }

    #[test]
    fn usage_of_a_plain_answer_is_found_at_either_end() {
        let usage = r#""usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}"#;
        let expected = Some(Usage { prompt: 3, cached: 0, completion: 2 });
        let filler = "x".repeat(5_000);
        assert_eq!(usage_of(format!(r#"{{"a":"{filler}",{usage}}}"#).as_bytes()), expected);
        assert_eq!(usage_of(format!(r#"{{{usage},"a":"{filler}"}}"#).as_bytes()), expected);
        let fake = r#"{"choices":[{"text":"\"usage\":{\"prompt_tokens\":9}"}]}"#;
        assert_eq!(usage_of(fake.as_bytes()), None);
    }
}
