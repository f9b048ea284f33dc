//! Rerank, score and completions.

use plimsoll_types::{Kind, Request};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{Form, Joinable, join, split};
use super::{apart, ask, request_of, shares};

fn read(kind: Kind, body: &str) -> Option<Joinable> {
    Joinable::read(kind, body.as_bytes())
}

fn text() -> impl Strategy<Value = String> {
    "[ -~äß漢\"\\\\]{1,40}"
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(text(), 1..6)
}

/// Joins requests, asks, and compares what each gets with what he gets alone, but for the usage, whose sum is compared.
fn are_as_if_alone(kind: Kind, bodies: &[String]) -> Result<(), TestCaseError> {
    let requests: Vec<Request> = bodies.iter().map(|body| request_of(kind, body)).collect();
    let read: Vec<Joinable> =
        requests.iter().map(|one| Joinable::read(kind, &one.body).expect("it can be joined")).collect();
    let parts: Vec<(&Request, &Joinable)> = requests.iter().zip(&read).collect();
    let joined = join(&parts);
    prop_assert_eq!(&joined.body[joined.envelope.model_at.clone()], b"\"sim-embed\"");
    let whole = ask(&[&joined]).remove(0);
    prop_assert_eq!(whole.0, 200, "{:?} {:?}", &joined.body, &whole.1);
    let (_, all) = apart(&whole.1);
    let mut sum = 0;
    let alone: Vec<&Request> = requests.iter().collect();
    for (share, (_, expected)) in split(&whole.1, &parts).unwrap().iter().zip(ask(&alone)) {
        let ((mine, tokens), (expected, _)) = (apart(&share.body), apart(&expected));
        let without_id = |text: &str| {
            let mut value: Value = serde_json::from_str(&text.replace(",,", ",")).unwrap();
            value.as_object_mut().unwrap().remove("id");
            value
        };
        prop_assert_eq!(without_id(&mine), without_id(&expected));
        sum += tokens;
    }
    prop_assert_eq!(sum, all);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn documents_of_several_are_ranked_for_each_as_if_he_were_alone(
        query in text(),
        all in prop::collection::vec((texts(), 1..7_usize), 1..5),
        top in any::<bool>(),
    ) {
        let bodies: Vec<String> = all.iter().map(|(documents, best)| {
            let top = if top { format!(r#""top_n": {best},"#) } else { String::new() };
            format!(r#"{{"query":{},{top}"documents":{},"model":"sim-embed"}}"#, json!(query), json!(documents))
        }).collect();
        are_as_if_alone(Kind::Rerank, &bodies)?;
    }

    #[test]
    fn pairs_of_several_are_scored_for_each_as_if_he_were_alone(
        all in prop::collection::vec((text(), texts(), 0..3_u8), 1..5),
    ) {
        let bodies: Vec<String> = all.iter().map(|(left, right, how)| {
            let left = match how {
                0 => json!(left),
                1 => json!([left]),
                _ => json!(right.iter().map(|text| format!("{left}{text}")).collect::<Vec<_>>()),
            };
            format!(r#"{{"text_2":{},"model":"sim-embed","text_1":{left}}}"#, json!(right))
        }).collect();
        are_as_if_alone(Kind::Score, &bodies)?;
    }
}

#[test]
fn what_is_not_plainly_documents_of_one_query_or_pairs_is_not_joined() {
    for body in [
        r#"{"documents":["a"]}"#,
        r#"{"query":"q"}"#,
        r#"{"query":["q"],"documents":["a"]}"#,
        r#"{"query":"q","documents":[{"text":"a"}]}"#,
        r#"{"query":"q","documents":["a",""]}"#,
        r#"{"query":"q","documents":[[1]]}"#,
        r#"{"query":"q","documents":["a"],"top_n":-1}"#,
        r#"{"query":"q","documents":["a"],"top_n":1,"top_n":2}"#,
    ] {
        assert_eq!(read(Kind::Rerank, body), None, "{body}");
    }
    for body in [
        r#"{"text_1":"a"}"#,
        r#"{"text_1":["a","b"],"text_2":["c","d","e"]}"#,
        r#"{"text_1":["a","b"],"text_2":"c"}"#,
        r#"{"text_1":"a","queries":"a","text_2":"c"}"#,
        r#"{"text_1":{"content":[]},"text_2":"c"}"#,
        r#"{"query":"a","items":["c"],"label_token_ids":[1]}"#,
    ] {
        assert_eq!(read(Kind::Score, body), None, "{body}");
    }
    let size = |kind, body: &str| {
        let size = read(kind, body).unwrap().size();
        (size.items, size.tokens, size.longest)
    };
    // Each document is read beside the query: 4 tokens, and 3 and 5.
    let body = r#"{"query":"12345678","documents":["1234","123456789012"]}"#;
    assert_eq!(size(Kind::Rerank, body), (2, 16, 9));
    assert_eq!(size(Kind::Score, r#"{"text_1":"1234","text_2":["1","12345678"]}"#), (2, 12, 7));
    assert_eq!(size(Kind::Score, r#"{"data_1":["1234","1"],"data_2":["1","12345678"]}"#), (2, 11, 7));
}

#[test]
fn calls_that_want_another_number_of_results_are_joined_and_the_best_are_cut() {
    let bodies = [
        r#"{"top_n":1,"query":"q","documents":["a","b"]}"#,
        r#"{"top_n":9,"query":"q","documents":["c","d"]}"#,
    ];
    let requests = bodies.map(|body| request_of(Kind::Rerank, body));
    let read = bodies.map(|body| read(Kind::Rerank, body).unwrap());
    assert_eq!(read[0].frame(&requests[0].body), read[1].frame(&requests[1].body));
    let joined = join(&[(&requests[0], &read[0]), (&requests[1], &read[1])]);
    assert_eq!(joined.body, r#"{"top_n":4,"query":"q","documents":["a","b","c","d"]}"#);
    let answer = |scores: [f64; 4]| {
        let results: Vec<Value> = [3, 1, 2, 0]
            .iter()
            .zip(scores)
            .map(|(index, score)| json!({"index": index, "relevance_score": score}))
            .collect();
        json!({"results": results, "usage": {"total_tokens": 12}}).to_string()
    };
    let mine = |answer: &str| {
        let shares = shares(Kind::Rerank, &bodies, answer)?;
        Ok(shares
            .iter()
            .map(|share| serde_json::from_slice::<Value>(&share.body).unwrap())
            .collect::<Vec<_>>())
    };
    let answers = mine(&answer([0.9, 0.8, -1e-9, -0.5]));
    let answers = answers.unwrap();
    let indices = |answer: &Value| -> Vec<u64> {
        answer["results"].as_array().unwrap().iter().map(|result| result["index"].as_u64().unwrap()).collect()
    };
    assert_eq!((indices(&answers[0]), indices(&answers[1])), (vec![1], vec![1, 0]));
    assert_eq!(
        (&answers[0]["usage"]["total_tokens"], &answers[1]["usage"]["total_tokens"]),
        (&json!(6), &json!(6))
    );
    let error: crate::json::JsonError = mine(&answer([0.1, 0.2, 0.3, 0.4])).unwrap_err();
    assert_eq!(error.what, "results of which the best are wanted are not sorted");
}

#[test]
fn completions_are_joined_where_they_are_short_and_what_is_written_for_each_is_told() {
    for (body, joins) in [
        (r#"{"prompt":"a","max_tokens":8,"logprobs":0}"#, true),
        (r#"{"prompt":["a","b"],"max_tokens":1}"#, true),
        (r#"{"prompt":[1,2],"max_tokens":8,"return_token_ids":true}"#, true),
        (r#"{"prompt":"a","max_tokens":1,"n":1,"stream":false,"seed":null,"echo":false,"stop":["x"]}"#, true),
        (r#"{"prompt":"a","max_tokens":8}"#, false),
        (r#"{"prompt":"a","max_tokens":8,"logprobs":null,"return_token_ids":false}"#, false),
        (r#"{"prompt":"a","logprobs":1}"#, false),
        (r#"{"prompt":"a","max_tokens":65,"logprobs":1}"#, false),
        (r#"{"prompt":"a","max_tokens":1,"stream":true}"#, false),
        (r#"{"prompt":"a","max_tokens":1,"echo":true}"#, false),
        (r#"{"prompt":"a","max_tokens":1,"n":2}"#, false),
        (r#"{"prompt":"a","max_tokens":1,"best_of":2}"#, false),
        (r#"{"prompt":"a","max_tokens":1,"seed":7}"#, false),
        (r#"{"prompt":"a","max_tokens":1,"user":"u"}"#, false),
        (r#"{"prompt":"a","max_tokens":1,"suffix":"s"}"#, false),
        (r#"{"prompt":"a","max_tokens":1,"prompt_logprobs":1}"#, false),
    ] {
        assert_eq!(read(Kind::Completion, body).is_some(), joins, "{body}");
    }
    let tokens = read(Kind::Completion, r#"{"prompt":[[1,2],[3]],"max_tokens":8,"logprobs":0}"#).unwrap();
    assert_eq!((tokens.form, tokens.tokens), (Form::Tokens, 3), "by which the prompt is divided");
    assert_eq!((tokens.size().tokens, tokens.size().longest), (19, 10), "with what is written");
}

const PROMPTS: [&str; 2] = [
    r#"{"prompt":[[1,2],[3]],"max_tokens":8,"logprobs":0}"#,
    r#"{"prompt":[4,5,6],"max_tokens":8,"logprobs":0}"#,
];

fn choice(index: u64, tokens: usize) -> Value {
    json!({"text": "t", "index": index, "logprobs": {"tokens": vec!["x"; tokens], "token_logprobs": []}, "finish_reason": "stop"})
}

#[test]
fn each_pays_for_what_was_written_for_him() {
    let details = json!({"cached_tokens": 4});
    let usage = json!({"prompt_tokens": 6, "total_tokens": 15, "completion_tokens": 9, "prompt_tokens_details": details});
    let answer =
        json!({"id": "cmpl-caller-0", "choices": [choice(2, 5), choice(0, 1), choice(1, 3)], "usage": usage});
    let shares = shares(Kind::Completion, &PROMPTS, &answer.to_string()).unwrap();
    let said: Vec<Value> = shares.iter().map(|share| serde_json::from_slice(&share.body).unwrap()).collect();
    let usage = |written: u64| json!({"prompt_tokens": 3, "total_tokens": 3 + written, "completion_tokens": written, "prompt_tokens_details": {"cached_tokens": 2}});
    assert_eq!(
        said[0],
        json!({"id": "cmpl-caller-0", "choices": [choice(0, 1), choice(1, 3)], "usage": usage(4)})
    );
    assert_eq!(said[1], json!({"id": "cmpl-caller-1", "choices": [choice(0, 5)], "usage": usage(5)}));
    let counted = shares[1].usage.unwrap();
    assert_eq!((counted.prompt, counted.cached, counted.completion), (3, 2, 5));
}

#[test]
fn where_nobody_can_tell_what_each_has_to_pay_there_is_no_answer_for_anybody() {
    let with = |choices: Value, usage: Value| {
        shares(Kind::Completion, &PROMPTS, &json!({"choices": choices, "usage": usage}).to_string())
    };
    let plain = |index: u64| json!({"text": "t", "index": index, "logprobs": null});
    let plain = || json!([plain(0), plain(1), plain(2)]);
    let usage = |written: u64| json!({"prompt_tokens": 6, "completion_tokens": written});
    let told = || json!([choice(0, 2), choice(1, 2), choice(2, 2)]);
    assert!(with(told(), usage(6)).is_ok());
    assert!(with(plain(), usage(24)).is_ok(), "each is as long as it may be");
    for (choices, usage) in [
        (plain(), usage(23)),
        (told(), usage(7)),
        (told(), json!({"prompt_tokens": 6})),
        (
            told(),
            json!({"prompt_tokens": 6, "completion_tokens": 6, "completion_tokens_details": {"reasoning_tokens": 1}}),
        ),
        (told(), json!({"prompt_tokens": 6, "completion_tokens": 6, "cost": 0.1})),
    ] {
        assert!(with(choices, usage.clone()).is_err(), "{usage}");
    }
    let two = [r#"{"input":"a"}"#, r#"{"input":"b"}"#];
    let answer =
        r#"{"data":[{"index":0},{"index":1}],"usage":{"prompt_tokens":2,"completion_tokens":0,"images":3}}"#;
    assert!(shares(Kind::Embedding, &two, answer).is_err());
}

#[test]
fn nobody_learns_the_id_of_another() {
    let two = [r#"{"input":"a"}"#, r#"{"input":"b"}"#];
    for (id, expected) in
        [("embd-caller-0", ["embd-caller-0", "embd-caller-1"]), ("embd-7", ["embd-7", "embd-7-1"])]
    {
        let answer = json!({"id": id, "data": [{"index": 0}, {"index": 1}]}).to_string();
        let shares = shares(Kind::Embedding, &two, &answer).unwrap();
        for (share, expected) in shares.iter().zip(expected) {
            assert_eq!(serde_json::from_slice::<Value>(&share.body).unwrap()["id"], expected);
        }
    }
}
