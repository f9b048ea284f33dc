mod cut;
mod kinds;

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use plimsoll_types::{Blocks, Clock, Envelope, Instant, Kind, Protocol, Request, Text, TokioClock};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Form, Joinable, Share, join, split};
use crate::Call;
use crate::json::JsonError;
use crate::simulated::{EMBEDDING_MODEL, embedded};

fn request(body: &str) -> Request {
    request_of(Kind::Embedding, body)
}

pub(super) fn request_of(kind: Kind, body: &str) -> Request {
    let model_at = body.find("\"sim-embed\"").map_or(0..0, |at| at..at + 11);
    let envelope = Envelope {
        id: Text::from_static("test"),
        protocol: Protocol::Http,
        kind,
        model: Text::from_static(EMBEDDING_MODEL),
        model_at,
        stream: false,
        ask_usage: None,
        prompt_tokens: 1,
        blocks: Blocks::default(),
        max_tokens: None,
        tenant: None,
        tools: false,
        query: None,
        home: None,
        residency: None,
        priority: plimsoll_types::Priority::Normal,
        explain: false,
        cache_salt: None,
        deadline: None,
        patience: None,
        forward: Vec::new(),
        received: Instant::ORIGIN,
    };
    Request { envelope, body: Bytes::copy_from_slice(body.as_bytes()) }
}

fn read(body: &str) -> Option<Joinable> {
    Joinable::read(Kind::Embedding, body.as_bytes())
}

/// What each of those who sent `bodies` gets of an answer to all of them.
pub(super) fn shares(kind: Kind, bodies: &[&str], answer: &str) -> Result<Vec<Share>, JsonError> {
    let mut requests: Vec<Request> = bodies.iter().map(|body| request_of(kind, body)).collect();
    for (number, request) in requests.iter_mut().enumerate() {
        request.envelope.id = Text::from(format!("caller-{number}"));
    }
    let read: Vec<Joinable> =
        requests.iter().map(|one| Joinable::read(kind, &one.body).expect("it can be joined")).collect();
    let parts: Vec<(&Request, &Joinable)> = requests.iter().zip(&read).collect();
    split(&Bytes::copy_from_slice(answer.as_bytes()), &parts)
}

/// What the simulated engine says to each of `bodies`.
pub(super) fn ask(bodies: &[&Request]) -> Vec<(u16, Bytes)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::start());
        let fleet = embedded(1, Duration::ZERO, 1);
        let backend = fleet.iter().find(|one| one.spec().models[0].name == EMBEDDING_MODEL).unwrap();
        let engine = backend.engine(clock);
        let mut answers = Vec::new();
        for request in bodies {
            let mut answer = engine.start(&Call { request, alias: None, again: false });
            let head = poll_fn(|cx| answer.poll_head(cx)).await.unwrap();
            let chunk = poll_fn(|cx| answer.poll_chunk(cx)).await.unwrap().unwrap();
            answers.push((head.status, chunk.bytes));
        }
        answers
    })
}

/// The text of an answer without its usage, and the tokens of that.
pub(super) fn apart(body: &[u8]) -> (String, u64) {
    let text = std::str::from_utf8(body).unwrap();
    let at = text.find("\"usage\":").unwrap();
    let ends = at + text[at..].find('}').unwrap() + 1;
    let document: Value = serde_json::from_str(text).unwrap();
    let usage = &document["usage"];
    assert_eq!(usage["prompt_tokens"], usage["total_tokens"]);
    (format!("{}{}", &text[..at], &text[ends..]), usage["prompt_tokens"].as_u64().unwrap())
}

fn input() -> impl Strategy<Value = Value> {
    let text = "[ -~äß漢\"\\\\\n]{1,40}";
    let tokens = || prop::collection::vec(0..255_u32, 1..20);
    prop_oneof![
        text.prop_map(Value::from),
        prop::collection::vec(text, 1..5).prop_map(Value::from),
        tokens().prop_map(Value::from),
        prop::collection::vec(tokens(), 1..5).prop_map(|all| json!(all)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_parts_of_a_joined_answer_are_what_each_would_have_had_alone(
        inputs in prop::collection::vec(input(), 1..6),
        base64 in any::<bool>(),
        model_last in any::<bool>(),
    ) {
        let format = if base64 { "base64" } else { "float" };
        let requests: Vec<Request> = inputs.iter().map(|input| request(&if model_last {
            format!(r#"{{"dimensions": 12, "input" : {input} , "encoding_format":"{format}","model":"sim-embed"}}"#)
        } else {
            format!(r#"{{"model":"sim-embed","encoding_format":"{format}","dimensions":12,"input":{input}}}"#)
        })).collect();
        for form in [Form::Text, Form::Tokens] {
            let read: Vec<(&Request, Joinable)> = requests.iter()
                .map(|one| (one, Joinable::read(Kind::Embedding, &one.body).unwrap()))
                .filter(|(_, read)| read.form == form).collect();
            if read.is_empty() {
                continue;
            }
            let parts: Vec<(&Request, &Joinable)> = read.iter().map(|(one, read)| (*one, read)).collect();
            let joined = join(&parts);
            prop_assert_eq!(&joined.body[joined.envelope.model_at.clone()], b"\"sim-embed\"");
            let alone: Vec<&Request> = parts.iter().map(|(one, _)| *one).collect();
            let whole = ask(&[&joined]).remove(0);
            prop_assert_eq!(whole.0, 200);
            let shares = split(&whole.1, &parts).unwrap();
            let (_, all) = apart(&whole.1);
            let mut sum = 0;
            for (share, (status, expected)) in shares.iter().zip(ask(&alone)) {
                prop_assert_eq!(status, 200);
                let ((text, tokens), (expected, counted)) = (apart(&share.body), apart(&expected));
                prop_assert_eq!(text, expected);
                prop_assert_eq!(share.usage.map(|usage| u64::from(usage.prompt)), Some(tokens));
                if form == Form::Tokens {
                    prop_assert_eq!(tokens, counted, "tokens are counted, not estimated");
                }
                sum += tokens;
            }
            prop_assert_eq!(sum, all);
        }
    }

    #[test]
    fn no_answer_makes_it_panic_or_mixes_callers(answer in "[\\[\\]{}:,\"01 ]{0,40}|\\{\"data\":\\[(\\{\"index\":[0-3]\\},?){0,4}\\]\\}") {
        let bodies = [r#"{"input":"a"}"#, r#"{"input":["b","c"]}"#];
        if let Ok(shares) = shares(Kind::Embedding, &bodies, &answer) {
            let items = |share: &Share| serde_json::from_slice::<Value>(&share.body).unwrap()["data"].clone();
            prop_assert_eq!(items(&shares[0]), json!([{"index": 0}]));
            prop_assert_eq!(items(&shares[1]), json!([{"index": 0}, {"index": 1}]));
        }
    }
}

#[test]
fn frames_tell_what_else_is_asked_for() {
    let frame = |body: &'static str| read(body).unwrap().frame(&Bytes::from_static(body.as_bytes()));
    assert_eq!(frame(r#"{"model":"m","input":"a"}"#), frame(r#"{"model":"m","input":["b","c"]}"#));
    assert_ne!(frame(r#"{"model":"m","input":"a"}"#), frame(r#"{"model":"n","input":"a"}"#));
    assert_ne!(frame(r#"{"input":"a","dimensions":3}"#), frame(r#"{"input":"a","dimensions":4}"#));
}

#[test]
fn what_is_not_plainly_texts_is_not_joined() {
    for body in [
        r#"{"model":"m"}"#,
        r#"{"input":""}"#,
        r#"{"input":["a",""]}"#,
        r#"{"input":[]}"#,
        r#"{"input":[[]]}"#,
        r#"{"input":["a",[1]]}"#,
        r#"{"input":["a",1]}"#,
        r#"{"input":[1,"a"]}"#,
        r#"{"input":[1.5]}"#,
        r#"{"input":[-1]}"#,
        r#"{"input":[["a"]]}"#,
        r#"{"input":{"a":1}}"#,
        r#"{"input":[{"type":"image_url"}]}"#,
        r#"{"input":null}"#,
        r#"{"input":3}"#,
        "[]",
        "",
    ] {
        assert_eq!(read(body), None, "{body}");
    }
    assert_eq!(Joinable::read(Kind::Chat, br#"{"input":"a"}"#), None);
    let much = format!(r#"{{"input":"a","user":"{}"}}"#, "x".repeat(5_000));
    assert_eq!(read(&much), None);
    let sizes = |body: &str| read(body).map(|read| (read.form, read.items, read.tokens, read.longest));
    assert_eq!(sizes(r#"{"input":[7,8,9]}"#), Some((Form::Tokens, 1, 3, 3)));
    assert_eq!(sizes(r#"{"input":[[7],[8,9]]}"#), Some((Form::Tokens, 2, 3, 2)));
    assert_eq!(sizes(r#"{"inp\u0075t":["abcdefgh","ab"]}"#), Some((Form::Text, 2, 6, 4)));
}

#[test]
fn results_in_any_order_go_to_whom_they_belong() {
    let answer = r#"{"id":1,"usage":{"total_tokens":7,"x":{},"prompt_tokens":7},"data":[ {"embedding":[3e-1],"index": 2} ,{"index":0,"embedding":[1]},{"index":1,"embedding":[2]}],"z":null}"#;
    let shares = shares(Kind::Embedding, &[r#"{"input":["a","b"]}"#, r#"{"input":"c"}"#], answer).unwrap();
    let first = br#"{"id":1,"usage":{"total_tokens":4,"x":{},"prompt_tokens":4},"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[2]}],"z":null}"#;
    let second = br#"{"id":1,"usage":{"total_tokens":3,"x":{},"prompt_tokens":3},"data":[{"embedding":[3e-1],"index": 0}],"z":null}"#;
    assert_eq!(shares[0].body, first.as_slice());
    assert_eq!(shares[1].body, second.as_slice());
}

#[test]
fn an_answer_that_is_not_one_for_each_is_one_for_nobody() {
    let parts = [r#"{"input":"a"}"#, r#"{"input":"b"}"#];
    for (answer, why) in [
        (r#"{"data":[{"index":0}]}"#, "there are fewer results than texts"),
        (r#"{"data":[]}"#, "there are fewer results than texts"),
        (r#"{"data":[{"index":0},{"index":1},{"index":2}]}"#, "a result has no index of its own"),
        (r#"{"data":[{"index":0},{"index":0}]}"#, "a result has no index of its own"),
        (r#"{"data":[{"index":0},{"index":1.0}]}"#, "a result has no index of its own"),
        (r#"{"data":[{"index":0},{"index":-1}]}"#, "a result has no index of its own"),
        (r#"{"data":[{"index":0},{"index":"1"}]}"#, "a result has no index"),
        (r#"{"data":[{"index":0,"index":1},{"index":1}]}"#, "a result has two indices"),
        (r#"{"data":[{"index":0},{"index":1}],"data":[]}"#, "there are two lists of results"),
        (r#"{"object":"list"}"#, "there is no list of results"),
        (r#"{"data":[{"index":0},{"index":1}]"#, "expected a comma or the end of the object"),
        (r#"{"data":[{"index":0},{"index":1}]} x"#, "more text after the document"),
        ("<html>", "expected an object"),
    ] {
        let error = shares(Kind::Embedding, &parts, answer).unwrap_err();
        assert_eq!(error.what, why, "{answer}");
    }
    let torn = Bytes::from_static(b"{\"data\":[{\"index\":0,\"e\":\"\xff\"},{\"index\":1}]}");
    let (request, read) = (request(parts[0]), read(parts[0]).unwrap());
    assert_eq!(split(&torn, &[(&request, &read); 2]).unwrap_err().what, "not UTF-8");
}
