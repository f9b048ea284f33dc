//! What an executor tells beside what it writes.

use super::*;

#[test]
fn what_an_executor_knew_by_itself_is_told() {
    let mut bench = bench(limits(), Told { knows: 5, ..Told::default() });
    let mut answer = bench.complete("twelve chars", 3);
    bench.run();
    // Eight tokens in a first step, four in a second.
    assert_eq!(plain(&mut *answer).1["usage"]["prompt_tokens_details"]["cached_tokens"], 5 + 4);
}

#[test]
fn who_wants_to_know_is_told_how_likely_each_token_was() {
    let mut bench = bench(limits(), Told::default());
    let body = json!({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3, "ignore_eos": true,
        "logprobs": true, "top_logprobs": 2});
    let mut chat = bench.ask(Kind::Chat, &body);
    let body = json!({"prompt": "go", "max_tokens": 3, "ignore_eos": true, "logprobs": 1, "stream": true});
    let mut stream = bench.ask(Kind::Completion, &body);
    let mut silent = bench.complete("go", 3);
    bench.run();
    let (_, body) = plain(&mut *chat);
    let choice = &body["choices"][0];
    let content = choice["logprobs"]["content"].as_array().unwrap();
    let said: String = content.iter().map(|token| token["token"].as_str().unwrap()).collect();
    assert_eq!(choice["message"]["content"], said);
    assert_eq!((&content[2]["logprob"], content.len()), (&json!(-0.25), 3));
    assert_eq!(content[2]["top_logprobs"][1], json!({"token": "1", "logprob": -2.0, "bytes": [b'1']}));
    assert!(now(|cx| stream.poll_head(cx)).unwrap().unwrap().stream);
    let events = now(|cx| stream.poll_chunk(cx)).unwrap().unwrap().unwrap();
    let second =
        crate::sse_data(&events.bytes).nth(1).map(|data| serde_json::from_slice::<Value>(&data).unwrap());
    let told = &second.unwrap()["choices"][0]["logprobs"];
    assert_eq!((&told["top_logprobs"], &told["text_offset"]), (&json!([{"0": -1.0}]), &json!([1])));
    let (_, body) = plain(&mut *silent);
    assert_eq!(body["choices"][0]["logprobs"], Value::Null);
}
