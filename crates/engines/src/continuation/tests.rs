use plimsoll_types::{Envelope, Instant, Priority, Protocol, Splice, Text, Usage};

use super::*;

fn request(kind: Kind, body: &str) -> Request {
    let at = body.find(r#""m""#).unwrap();
    let envelope = Envelope {
        id: Text::from_static("r"),
        protocol: Protocol::Http,
        kind,
        model: Text::from_static("m"),
        model_at: at..at + 3,
        stream: true,
        ask_usage: Some(Splice { at: 1..1, text: Text::from_static("x") }),
        cache_salt: None,
        prompt_tokens: 10,
        blocks: plimsoll_types::Blocks::default(),
        max_tokens: Some(20),
        tenant: None,
        tools: false,
        query: None,
        home: None,
        priority: Priority::Normal,
        residency: None,
        deadline: None,
        patience: None,
        forward: Vec::new(),
        explain: false,
        received: Instant::ORIGIN,
    };
    Request { envelope, body: Bytes::copy_from_slice(body.as_bytes()) }
}

/// Events as an engine sends them, read as they are when they come.
fn chunk(kind: Kind, events: &[&str]) -> Chunk {
    let mut peeked = Peeked::default();
    events.iter().for_each(|data| peeked.add(crate::event::read(kind, data.as_bytes()).peeked));
    let bytes: String = events.iter().map(|data| format!("data: {data}\n\n")).collect();
    Chunk { bytes: bytes.into(), peeked }
}

fn delta(content: &str) -> String {
    format!(
        r#"{{"id":"a","created":1,"model":"m","choices":[{{"index":0,"delta":{{"content":"{content}"}}}}]}}"#
    )
}

fn told(kind: Kind, events: &[&str]) -> Told {
    let body = if kind == Kind::Chat { CHAT } else { r#"{"model":"m"}"# };
    let mut told = Told::of(&request(kind, body)).unwrap();
    for event in events {
        let chunk = chunk(kind, &[event]);
        assert_eq!(told.hear(chunk.clone()), chunk, "the first backend's words are left alone");
    }
    told
}

const CHAT: &str =
    r#"{"messages":[{"role":"user","content":"Hi"}],"max_tokens": 20,"model":"m","temperature":0}"#;

#[test]
fn a_chat_gets_what_was_told_as_the_beginning_of_its_last_message() {
    let role = r#"{"id":"a","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#;
    let mut told = told(Kind::Chat, &[role, &delta("A \\\"b"), &delta("\\u00e9")]);
    let rest = told.rest(&request(Kind::Chat, CHAT)).unwrap();
    let expected = r#"{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"A \"b\u00e9"}],"max_tokens": 18,"model":"m","temperature":0,"continue_final_message":true,"add_generation_prompt":false}"#;
    assert_eq!(std::str::from_utf8(&rest.body).unwrap(), expected);
    assert_eq!(&rest.body[rest.envelope.model_at.clone()], br#""m""#);
    assert_eq!((rest.envelope.max_tokens, rest.envelope.prompt_tokens), (Some(18), 12));
    assert_eq!(rest.envelope.ask_usage.unwrap().at, 1..1);
}

#[test]
fn a_completion_gets_it_at_the_end_of_its_prompt() {
    let event = r#"{"id":"a","choices":[{"index":0,"text":" upon","logprobs":null,"finish_reason":null}]}"#;
    let mut told = told(Kind::Completion, &[event, event]);
    let body = r#"{"model":"m","prompt":"Once","stream":true}"#;
    let rest = told.rest(&request(Kind::Completion, body)).unwrap();
    assert_eq!(&rest.body[..], br#"{"model":"m","prompt":"Once upon upon","stream":true}"#);
}

#[test]
fn a_list_of_one_prompt_and_a_format_of_text_say_no_more_than_a_prompt_alone() {
    let event = r#"{"id":"a","choices":[{"index":0,"text":" upon"}]}"#;
    let rest = |body: &str| {
        let rest = told(Kind::Completion, &[event]).rest(&request(Kind::Completion, body))?;
        Some(String::from_utf8(rest.body.to_vec()).unwrap())
    };
    let body = r#"{"model":"m","prompt":["Once"],"response_format":{"type":"text"}}"#;
    assert_eq!(rest(body), Some(body.replace("Once", "Once upon")));
    for other in [
        r#"{"model":"m","prompt":["Once","Twice"]}"#,
        r#"{"model":"m","prompt":[[1,2]]}"#,
        r#"{"model":"m","prompt":[1]}"#,
        r#"{"model":"m","prompt":[]}"#,
        r#"{"model":"m","prompt":"Once","response_format":{"type":"json_object"}}"#,
    ] {
        assert_eq!(rest(other), None, "{other}");
    }
}

#[test]
fn a_first_event_with_usage_is_no_second_beginning() {
    let mut told = told(Kind::Chat, &[&delta("a")]);
    told.rest(&request(Kind::Chat, CHAT)).unwrap();
    let role = r#"{"id":"b","choices":[{"index":0,"delta":{"role":"assistant","content":""}}],"usage":{"prompt_tokens":9,"completion_tokens":0}}"#;
    assert!(told.hear(chunk(Kind::Chat, &[role])).bytes.is_empty());
}

#[test]
fn the_rest_is_told_under_the_first_names_without_a_second_beginning_and_with_the_usage_of_all() {
    let mut told = told(Kind::Chat, &[&delta("a"), &delta("b")]);
    told.rest(&request(Kind::Chat, CHAT)).unwrap();
    let events = [
        r#"{"id":"z","created":9,"model":"other","choices":[{"index":0,"delta":{"role":"assistant","content":null}}]}"#,
        r#"{"id":"z","created":9,"model":"other","choices":[{"index":0,"delta":{"content":"c"}}]}"#,
        r#"{"id":"z","created":9,"model":"other","choices":[],"usage":{"prompt_tokens":12,"total_tokens":13,"completion_tokens":1}}"#,
        "[DONE]",
    ];
    let heard = told.hear(chunk(Kind::Chat, &events));
    let expected = [
        delta("c"),
        r#"{"id":"a","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":10,"total_tokens":13,"completion_tokens":3}}"#.into(),
        "[DONE]".into(),
    ];
    let expected: String = expected.iter().map(|data| format!("data: {data}\n\n")).collect();
    assert_eq!(std::str::from_utf8(&heard.bytes).unwrap(), expected);
    assert_eq!(heard.peeked.usage, Some(Usage { prompt: 10, cached: 0, completion: 3 }));
    // And again: what both told, from the request as the caller sent it.
    let rest = told.rest(&request(Kind::Chat, CHAT)).unwrap();
    assert!(std::str::from_utf8(&rest.body).unwrap().contains(r#""content":"abc""#));
    assert_eq!(rest.envelope.max_tokens, Some(17));
}

#[test]
fn what_cannot_be_begun_again_in_its_middle_is_left_broken() {
    let rest = |body: &str| told(Kind::Chat, &[&delta("a")]).rest(&request(Kind::Chat, body)).is_some();
    let with = |more: &str| CHAT.replace("\"temperature\":0", more);
    assert!(rest(CHAT) && rest(&with(r#""tools":[],"n":1,"logprobs":false,"logit_bias":{"5":1}"#)));
    for more in [
        r#""tools":[{"type":"function"}]"#,
        r#""response_format":{"type":"json_object"}"#,
        r#""n":2"#,
        r#""logprobs":true"#,
        r#""guided_regex":"a+""#,
        r#""continue_final_message":true"#,
        r#""of_which_nothing_is_known":1"#,
        r#""max_completion_tokens":1"#,
    ] {
        assert!(!rest(&with(more)), "{more}");
    }
    let begun = CHAT.replace(r#""user","content":"Hi""#, r#""assistant","content":"I""#);
    assert!(!rest(&begun), "the caller began the answer");
    for event in [
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"reasoning_content":"so"}}]}"#,
        r#"{"choices":[{"index":1,"delta":{"content":"a"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":"a"},"logprobs":{"content":[]}}]}"#,
    ] {
        let mut told = told(Kind::Chat, &[&delta("a"), event]);
        assert!(told.rest(&request(Kind::Chat, CHAT)).is_none(), "{event}");
    }
    assert!(
        Told::of(&request(Kind::Chat, CHAT)).unwrap().rest(&request(Kind::Chat, CHAT)).is_none(),
        "nothing was told"
    );
    assert!(Told::of(&request(Kind::Response, CHAT)).is_none());
}

#[test]
fn events_that_differ_in_more_than_their_text_are_read_as_such() {
    let tool = r#"{"id":"a","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"c","tool_calls":[{"index":0}]}}]}"#;
    let said = |events: &[&str]| std::str::from_utf8(&told(Kind::Chat, events).text).unwrap().to_owned();
    assert_eq!(said(&[&delta("a"), &delta("b \\\" }"), &delta(""), &delta("c")]), "ab \\\" }c");
    assert!(told(Kind::Chat, &[&delta("a"), &delta("b"), tool]).lost);
    let finish = delta("d").replace("}}]", "},\"finish_reason\":\"stop\"}]");
    assert!(told(Kind::Chat, &[&delta("a"), &finish]).lost, "it has ended");
    let (later, filtered) =
        (delta("d").replace(":1,", ":2,"), delta("e").replace("}}]", "},\"finish_reason\":null}]"));
    assert_eq!(said(&[&delta("a"), &later, &filtered, &delta("f")]), "adef");
}

#[test]
fn an_answer_that_is_too_long_to_be_asked_for_again_is_not_kept() {
    let mut told = told(Kind::Chat, &[&delta(&"a".repeat(MOST + 1))]);
    assert!(told.text.is_empty() && told.rest(&request(Kind::Chat, CHAT)).is_none());
}
