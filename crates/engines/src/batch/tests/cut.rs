//! One request in parts.

use bytes::Bytes;
use plimsoll_batching::budget::{Budget, Fill};
use plimsoll_types::{Kind, Request};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{Joinable, cut, is_answer, may_exceed, merge};
use super::{ask, request_of};

fn parts_of(request: &Request, budget: Budget) -> Vec<(Request, Joinable)> {
    let read = Joinable::read(request.envelope.kind, &request.body).expect("it can be cut");
    let parts = cut(request, &read, budget);
    let read =
        |part: &Request| Joinable::read(part.envelope.kind, &part.body).expect("a part is like a whole");
    parts
        .into_iter()
        .map(|part| {
            let read = read(&part);
            (part, read)
        })
        .collect()
}

/// Cuts a request, asks for each part, and compares what comes of their answers with that to the whole.
fn are_as_if_whole(kind: Kind, body: &str, budget: Budget) -> Result<(), TestCaseError> {
    let request = request_of(kind, body);
    let whole = Joinable::read(kind, &request.body).expect("it can be cut");
    let parts = parts_of(&request, budget);
    let mut answers = Vec::new();
    for (part, read) in &parts {
        prop_assert_eq!(&part.body[part.envelope.model_at.clone()], b"\"sim-embed\"");
        prop_assert!(Fill::of(read.size()).fits(budget) || read.items == 1, "{:?}", read);
        let (status, answer) = ask(&[part]).remove(0);
        prop_assert_eq!(status, 200, "{:?}", part.body);
        prop_assert!(is_answer(kind, read.items, &answer));
        answers.push((answer, read.items));
    }
    prop_assert_eq!(parts.iter().map(|(_, read)| read.items).sum::<u32>(), whole.items);
    let merged = merge(&whole, &answers).unwrap();
    let plain = |body: &Bytes| {
        let mut value: Value = serde_json::from_slice(body).unwrap();
        value.as_object_mut().unwrap().remove("id");
        value
    };
    let (_, alone) = ask(&[&request]).remove(0);
    let (merged_plain, alone) = (plain(&merged.body), plain(&alone));
    prop_assert_eq!(
        merged.usage.map(|usage| json!(usage.prompt)),
        Some(alone["usage"]["prompt_tokens"].clone())
    );
    prop_assert_eq!(merged_plain, alone);
    Ok(())
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[ -~äß漢\"\\\\]{1,60}", 1..40)
}

fn budget() -> impl Strategy<Value = Budget> {
    (2..12_u32, 16..200_u32).prop_map(|(items, tokens)| Budget { items, tokens })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_answers_to_parts_are_together_what_the_whole_would_have_had(
        texts in texts(),
        tokens in prop::collection::vec(prop::collection::vec(0..255_u32, 1..20), 1..20),
        top in prop::option::of(1..50_u32),
        (budget, which) in (budget(), 0..5_u8),
    ) {
        let (kind, body) = match which {
            0 => (Kind::Embedding, format!(r#"{{"dimensions":8,"input":{},"model":"sim-embed"}}"#, json!(texts))),
            1 => (Kind::Embedding, format!(r#"{{"model":"sim-embed","encoding_format":"base64","input": {} }}"#, json!(tokens))),
            2 => {
                let top = top.map_or(String::new(), |top| format!(r#""top_n":{top},"#));
                (Kind::Rerank, format!(r#"{{"documents":{},"query":"a ship",{top}"model":"sim-embed"}}"#, json!(texts)))
            }
            3 => (Kind::Score, format!(r#"{{"text_1":"a ship","text_2":{},"model":"sim-embed"}}"#, json!(texts))),
            _ => (Kind::Score, format!(r#"{{"text_1":{},"text_2":{0},"model":"sim-embed"}}"#, json!(texts))),
        };
        are_as_if_whole(kind, &body, budget)?;
        let size = Joinable::read(kind, body.as_bytes()).unwrap().size();
        let exceeds = size.items > budget.items || size.tokens > budget.tokens;
        prop_assert!(!exceeds || may_exceed(kind, body.as_bytes(), budget));
    }
}

#[test]
fn most_bodies_need_not_be_read_to_know_that_they_are_not_too_large() {
    let body = json!({"model": "m", "input": "a word, and another ".repeat(200)}).to_string();
    let may = |items| may_exceed(Kind::Embedding, body.as_bytes(), Budget { items, tokens: 16_384 });
    assert!(!may(256) && may(64));
}

#[test]
fn parts_are_of_about_the_same_size() {
    let request = request_of(Kind::Embedding, &json!({"input": vec!["text"; 65]}).to_string());
    let sizes = |budget| parts_of(&request, budget).iter().map(|(_, read)| read.items).collect::<Vec<_>>();
    assert_eq!(sizes(Budget { items: 64, tokens: 16_384 }), [33, 32]);
    assert_eq!(sizes(Budget { items: 65, tokens: 16_384 }), [65]);
    // Three tokens each, 195 in all.
    assert_eq!(sizes(Budget { items: 64, tokens: 100 }), [33, 32]);
}

#[test]
fn what_the_parts_of_a_request_are_estimated_at_adds_up() {
    let mut request =
        request_of(Kind::Rerank, &json!({"query": "q", "documents": vec!["text"; 10]}).to_string());
    request.envelope.prompt_tokens = 1_000;
    let parts = parts_of(&request, Budget { items: 4, tokens: 16_384 });
    assert_eq!(
        parts.iter().map(|(part, _)| part.envelope.prompt_tokens).collect::<Vec<_>>(),
        [400, 400, 200]
    );
}

#[test]
fn prompts_are_not_cut() {
    let request =
        request_of(Kind::Completion, &json!({"prompt": vec!["text"; 65], "max_tokens": 1}).to_string());
    assert!(parts_of(&request, Budget { items: 4, tokens: 16_384 }).is_empty());
}

#[test]
fn an_answer_to_fewer_texts_or_to_more_is_none() {
    assert!(is_answer(Kind::Embedding, 2, br#"{"data":[{"index":1},{"index":0}]}"#));
    for answer in [r#"{"data":[{"index":0}]}"#, r#"{"data":[{"index":0},{"index":1},{"index":2}]}"#, "{}"] {
        assert!(!is_answer(Kind::Embedding, 2, answer.as_bytes()), "{answer}");
    }
}
