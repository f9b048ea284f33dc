//! What each route says, and how.

use plimsoll_types::{Kind, Peeked};
use serde_json::json;

use super::{Whole, chat, chatting};
use crate::event;

/// What the reader of real backends' events makes of a stream.
fn reread(kind: Kind, whole: &Whole) -> Peeked {
    let mut all = Peeked::default();
    for data in whole.bytes().lines().filter_map(|line| line.strip_prefix("data: ")) {
        let seen = event::read(kind, data.as_bytes());
        assert!(!seen.malformed, "{data}");
        all.add(seen.peeked);
    }
    all
}

#[tokio::test(start_paused = true)]
async fn what_is_peeked_is_what_a_reader_of_the_bytes_would_see() {
    let core = chatting();
    for (kind, body) in [
        (Kind::Chat, chat(&json!({"stream": true, "n": 3, "stream_options": {"include_usage": true}}))),
        (Kind::Completion, json!({"prompt": "a", "stream": true, "stream_options": {"include_usage": true}})),
        (Kind::Response, json!({"input": "a", "stream": true, "max_output_tokens": 20})),
        (
            Kind::Message,
            json!({"messages": [{"role": "user", "content": "a"}], "stream": true, "max_tokens": 20}),
        ),
    ] {
        // The second time, some of the prompt is cached.
        for _ in 0..2 {
            let whole = core.ask(kind, &body).await;
            assert_eq!(reread(kind, &whole), whole.peeked(), "{body}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_completion_takes_many_prompts_in_words_or_tokens() {
    let core = chatting();
    let answer =
        core.ask(Kind::Completion, &json!({"prompt": ["one", "two"], "n": 2, "temperature": 0})).await.json();
    assert_eq!(answer["object"], "text_completion");
    assert_eq!(answer["choices"].as_array().unwrap().len(), 4);
    assert_eq!(
        (&answer["choices"][3]["index"], &answer["choices"][3]["finish_reason"]),
        (&json!(3), &json!("length"))
    );
    assert_eq!(
        (&answer["usage"]["prompt_tokens"], &answer["usage"]["completion_tokens"]),
        (&json!(2), &json!(64))
    );
    let tokens = core.ask(Kind::Tokenize, &json!({"prompt": "one"})).await.json()["tokens"].clone();
    let again = core.ask(Kind::Completion, &json!({"prompt": tokens, "temperature": 0})).await.json();
    assert_eq!(again["choices"][0]["text"], answer["choices"][0]["text"]);
    let stream =
        core.ask(Kind::Completion, &json!({"prompt": "one", "temperature": 0, "stream": true})).await;
    let text: String = stream
        .events()
        .iter()
        .map(|event| event["choices"][0]["text"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(text, answer["choices"][0]["text"]);
    assert!(stream.bytes().ends_with("data: [DONE]\n\n"));
}

#[tokio::test(start_paused = true)]
async fn a_response_is_a_numbered_sequence_of_events_without_done() {
    let core = chatting();
    let body = json!({"input": "Hello", "stream": true, "temperature": 0, "max_output_tokens": 16, "instructions": "Be brief."});
    let whole = core.ask(Kind::Response, &body).await;
    let events = whole.events();
    let types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let begin = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ];
    let end = [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ];
    assert_eq!(types[..4], begin);
    assert!(types[4..20].iter().all(|one| *one == "response.output_text.delta"));
    assert_eq!(types[20..], end);
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    let named = whole
        .bytes()
        .lines()
        .filter_map(|line| line.strip_prefix("event: ").map(str::to_owned))
        .collect::<Vec<_>>();
    assert_eq!(named, types);
    let deltas: String = events[4..20].iter().map(|event| event["delta"].as_str().unwrap()).collect();
    let response = &events.last().unwrap()["response"];
    assert_eq!(response["output"][0]["content"][0]["text"], *deltas);
    assert_eq!(
        (&response["status"], &response["incomplete_details"]["reason"]),
        (&json!("incomplete"), &json!("max_output_tokens"))
    );
    assert_eq!((&response["usage"]["output_tokens"], whole.peeked().token_events), (&json!(16), 16));
    let plain = core
        .ask(Kind::Response, &json!({"input": "Hello", "temperature": 0, "instructions": "Be brief."}))
        .await;
    let plain = plain.json();
    assert_eq!(plain["status"], "completed");
    assert!(plain["output"][0]["content"][0]["text"].as_str().unwrap().starts_with(&deltas));
    assert!(plain["usage"]["input_tokens_details"]["cached_tokens"].is_u64());
}

#[tokio::test(start_paused = true)]
async fn a_message_is_written_as_anthropic_writes_it() {
    let core = chatting();
    let mut body = json!({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5, "temperature": 0, "stream": true});
    let whole = core.ask(Kind::Message, &body).await;
    let events = whole.events();
    let types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types[..2], ["message_start", "content_block_start"]);
    assert_eq!(types[2..7], ["content_block_delta"; 5]);
    assert_eq!(types[7..], ["content_block_stop", "message_delta", "message_stop"]);
    assert_eq!(
        (&events[2]["delta"], &events[8]["delta"]["stop_reason"]),
        (&json!({"type": "text_delta", "text": "This"}), &json!("max_tokens"))
    );
    assert_eq!(events[8]["usage"]["output_tokens"], 5);
    body["stream"] = json!(false);
    body["stop_sequences"] = json!([" is"]);
    let plain = core.ask(Kind::Message, &body).await.json();
    assert_eq!(plain["content"], json!([{"type": "text", "text": "This answer"}]));
    assert_eq!((&plain["stop_reason"], &plain["stop_sequence"]), (&json!("stop_sequence"), &json!(" is")));
    assert!(plain["usage"]["cache_read_input_tokens"].is_u64());
}

#[tokio::test(start_paused = true)]
async fn wrong_requests_are_refused_with_400_and_a_reason() {
    let core = chatting();
    for (kind, body, param) in [
        (Kind::Chat, json!({}), "messages"),
        (Kind::Chat, chat(&json!({"n": 0})), "n"),
        (Kind::Chat, chat(&json!({"max_tokens": "many"})), "max_tokens"),
        (Kind::Chat, chat(&json!({"stream": true, "stop": [7]})), "stop"),
        (Kind::Completion, json!({"prompt": []}), "prompt"),
        (Kind::Completion, json!({"prompt": vec!["a"; 100], "n": 100}), "n"),
        (Kind::Response, json!({"model": "sim-chat"}), "input"),
        (Kind::Response, json!({"input": "a", "previous_response_id": "b"}), "previous_response_id"),
        (Kind::Message, json!({"messages": [{"role": "user", "content": "a"}]}), "max_tokens"),
        (Kind::Embedding, json!({"input": "a"}), "model"),
    ] {
        let whole = core.ask(kind, &body).await;
        assert_eq!((whole.head.status, whole.head.stream), (400, false), "{body}");
        let answer = whole.json();
        assert_eq!(
            (&answer["error"]["type"], &answer["error"]["param"]),
            (&json!("invalid_request_error"), &json!(param))
        );
    }
    let long = chat(&json!({"messages": [{"role": "user", "content": "x ".repeat(200_000)}]}));
    assert_eq!(core.ask(Kind::Chat, &long).await.json()["error"]["code"], "context_length_exceeded");
}
