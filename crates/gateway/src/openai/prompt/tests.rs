use bytes::Bytes;
use plimsoll_types::{Blocks, Kind};
use proptest::prelude::*;

use super::*;
use crate::config::Requests;
use crate::openai::peek::peek;

fn blocks_of(kind: Kind, body: &str) -> Blocks {
    let mut prompt = Prompt::default();
    let body = Bytes::copy_from_slice(body.as_bytes());
    peek(kind, &body, &Requests::default(), Some(&mut prompt)).unwrap().blocks
}

fn chat(body: &str) -> Blocks {
    blocks_of(Kind::Chat, body)
}

fn long(word: &str) -> String {
    word.repeat(2_000 / word.len())
}

/// Blocks that two prompts have in common from the first on.
fn shared(a: &Blocks, b: &Blocks) -> usize {
    a.hashes().iter().zip(b.hashes()).take_while(|(a, b)| a == b).count()
}

#[test]
fn the_order_is_that_of_the_template_and_not_of_the_body() {
    let (tools, text) = (long("tool "), long("text "));
    let tools = format!(r#"[{{"type":"function","function":{{"name":"f","description":"{tools}"}}}}]"#);
    let messages = format!(r#"[{{"role":"user","content":"{text}"}}]"#);
    let before = chat(&format!(r#"{{"model":"m","tools":{tools},"messages":{messages}}}"#));
    let after = chat(&format!(r#"{{"messages":{messages},"x":1,"tools":{tools},"model":"m"}}"#));
    assert_eq!(before, after);
    let alone = chat(&format!(r#"{{"model":"m","tools":{tools},"messages":[]}}"#));
    assert_eq!(shared(&alone, &after), alone.hashes().len(), "tools come first");
    let turned = format!(r#"[{{"content":"{text}","role":"user"}}]"#);
    assert_eq!(chat(&format!(r#"{{"model":"m","tools":{tools},"messages":{turned}}}"#)), before);
}

#[test]
fn the_next_turn_begins_with_the_last() {
    let turn = |role: &str, word: &str| format!(r#"{{"role":"{role}","content":"{}"}}"#, long(word));
    let (one, two, three) =
        (turn("system", "rules "), turn("user", "question "), turn("assistant", "answer "));
    let first = chat(&format!(r#"{{"model":"m","messages":[{one},{two}]}}"#));
    let next = chat(&format!(r#"{{"model":"m","messages":[{one},{two},{three},{two}]}}"#));
    assert_eq!(first.hashes().len(), 7);
    assert_eq!(shared(&first, &next), 7);
    assert!((0.88..1.0).contains(&first.share(7)), "{}", first.share(7));
    let other = chat(&format!(r#"{{"model":"m","messages":[{two},{one}]}}"#));
    assert_eq!(shared(&first, &other), 0);
}

#[test]
fn parts_say_what_a_text_says_and_cache_control_may_wander() {
    let text = long("text ");
    let plain = chat(&format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{text}"}}]}}"#));
    for part in [
        format!(r#"{{"type":"text","text":"{text}"}}"#),
        format!(r#"{{"text":"{text}","type":"text"}}"#),
        format!(r#"{{"cache_control":{{"type":"ephemeral","ttl":["1h"]}},"text":"{text}"}}"#),
    ] {
        let parts = format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{part}]}}]}}"#);
        assert_eq!(chat(&parts), plain, "{parts}");
    }
}

#[test]
fn every_kind_that_writes_tokens_has_blocks() {
    let text = long("text ");
    for (kind, body) in [
        (Kind::Completion, format!(r#"{{"model":"m","prompt":"{text}"}}"#)),
        (Kind::Completion, format!(r#"{{"model":"m","prompt":[{}7]}}"#, "123,".repeat(500))),
        (Kind::Response, format!(r#"{{"input":"{text}","instructions":"short","model":"m"}}"#)),
        (Kind::Message, format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}],"model":"m"}}"#)),
    ] {
        assert_eq!(blocks_of(kind, &body).hashes().len(), 3, "{body}");
    }
    let embedding = format!(r#"{{"model":"m","input":"{text}"}}"#);
    assert_eq!(blocks_of(Kind::Embedding, &embedding), Blocks::default());
}

#[test]
fn the_system_comes_before_the_messages() {
    let (system, text) = (long("system "), long("text "));
    let messages = format!(r#""messages":[{{"role":"user","content":"{text}"}}]"#);
    let plain = format!(r#"{{"model":"m",{messages},"system":"{system}"}}"#);
    let parts = format!(
        r#"{{"system":[{{"type":"text","text":"{system}","cache_control":{{"type":"ephemeral"}}}}],{messages},"model":"m"}}"#
    );
    assert_eq!(blocks_of(Kind::Message, &plain), blocks_of(Kind::Message, &parts));
}

#[test]
fn another_model_or_salt_shares_nothing() {
    let text = long("text ");
    let body = |model: &str, salt: &str| {
        format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}],"model":"{model}"{salt}}}"#)
    };
    let plain = chat(&body("m", ""));
    assert_eq!(shared(&plain, &chat(&body("n", ""))), 0);
    assert_eq!(shared(&plain, &chat(&body("m", r#","cache_salt":"a""#))), 0);
    let salted = chat(&body("m", r#","cache_salt": "a""#));
    assert_eq!(salted, chat(&body("m", r#","cache_salt":"a""#)));
}

#[test]
fn a_short_prompt_has_none_and_a_huge_one_is_bounded() {
    let short = chat(r#"{"model":"m","messages":[{"role":"user","content":"hello"}]}"#);
    assert_eq!((short.hashes(), short.bytes()), (&[][..], 11));
    let ids = format!(r#"{{"model":"m","prompt":[{}7]}}"#, "1,".repeat(100_000));
    let many = blocks_of(Kind::Completion, &ids);
    assert_eq!(many.hashes().len(), 2 * MAX_PIECES / BLOCK_BYTES);
}

/// An object with its members in the order of `turn`, with white space where `wide` says.
fn object(mut members: Vec<(&str, String)>, turn: usize, wide: bool) -> String {
    let at = turn % members.len();
    members.rotate_left(at);
    let space = if wide { " \n\t" } else { "" };
    let members = members.iter().map(|(key, value)| format!("{space}\"{key}\"{space}:{space}{value}{space}"));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

fn text(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn content(of: &str, turn: usize, wide: bool, parts: bool) -> String {
    if !parts {
        return text(of);
    }
    format!("[{}]", object(vec![("type", text("text")), ("text", text(of))], turn, wide))
}

proptest! {
    #[test]
    fn order_of_keys_white_space_and_parts_make_no_difference(
        messages in proptest::collection::vec(("[a-z]{1,9}", ".{0,400}", any::<bool>()), 1..8),
        tools in proptest::option::of("[ -~]{0,700}"),
        turn in 0_usize..24,
        wide in any::<bool>(),
    ) {
        let write = |turn: usize, wide: bool, turned: bool| {
            let message = |(role, said, parts): &(String, String, bool)| {
                let content = content(said, turn, wide, *parts != turned);
                object(vec![("role", text(role)), ("content", content), ("name", text("n"))], turn, wide)
            };
            let messages = messages.iter().map(message).collect::<Vec<_>>().join(",");
            let mut members = vec![
                ("model", text("m")),
                ("messages", format!("[{messages}]")),
                ("temperature", "0.5".to_owned()),
            ];
            if let Some(tools) = &tools {
                let tool = object(vec![("type", text("function")), ("description", text(tools))], 0, wide);
                members.push(("tools", format!("[{tool}]")));
            }
            object(members, turn, wide)
        };
        prop_assert_eq!(chat(&write(0, false, false)), chat(&write(turn, wide, turn % 2 == 1)));
    }

    #[test]
    fn whatever_the_body_is_nothing_panics(body in "[\\[\\]{}:,\"a0type]{0,60}") {
        let body = format!(r#"{{"model":"m","messages":{body}}}"#);
        let mut prompt = Prompt::default();
        let _ = peek(Kind::Chat, &Bytes::from(body), &Requests::default(), Some(&mut prompt));
    }
}
