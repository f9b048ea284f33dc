use std::time::Duration;

use plimsoll_engines::simulated::count_tokens;
use serde_json::Value;

use super::*;

fn trace(lengths: &[(u32, &[u64])]) -> Trace {
    let mut trace = Trace { block_tokens: 16, models: vec!["a \"model\"".into()], ..Trace::default() };
    for (prompt_tokens, blocks) in lengths {
        trace.arrivals.push(Arrival {
            at: Duration::ZERO,
            prompt_tokens: *prompt_tokens,
            output_tokens: 7,
            first_block: trace.blocks.len() as u32,
            block_count: blocks.len() as u32,
            model: 0,
            tenant: 0,
            region: 0,
            answer: crate::trace::Answer::Stream,
        });
        trace.blocks.extend_from_slice(blocks);
    }
    trace
}

fn json(body: &Body, trace: &Trace, request: usize) -> Value {
    serde_json::from_slice(&body.write(trace, &trace.arrivals[request], request)).unwrap()
}

fn prompts(trace: &Trace) -> Vec<String> {
    let body = Body { form: Form::Completion, ..Body::default() };
    (0..trace.arrivals.len())
        .map(|request| json(&body, trace, request)["prompt"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_body_says_what_is_wanted_in_the_words_of_the_api() {
    let trace = trace(&[(40, &[])]);
    let chat = json(&Body::default(), &trace, 0);
    assert_eq!(
        (chat["model"].as_str(), chat["messages"][0]["role"].as_str()),
        (Some("a \"model\""), Some("user"))
    );
    assert_eq!((&chat["max_tokens"], &chat["min_tokens"]), (&7.into(), &7.into()));
    assert_eq!((&chat["stream"], &chat["ignore_eos"]), (&true.into(), &true.into()));
    let plain = Body { length: Length::AtMost, stream: false, model: Some("m".into()), ..Body::default() };
    let chat = json(&plain, &trace, 0);
    assert!(chat["model"] == "m" && chat.as_object().unwrap().len() == 3, "{chat}");
}

#[test]
fn a_prompt_has_as_many_tokens_as_the_trace_says() {
    for tokens in [1, 9, 17, 100, 1_155, 30_000] {
        let trace = trace(&[(tokens, &[1, 2, 3])]);
        let prompt = &prompts(&trace)[0];
        assert_eq!(count_tokens(prompt), tokens as usize);
        let chat = json(&Body::default(), &trace, 0);
        let said = chat["messages"][0]["content"].as_str().unwrap();
        // As the embedded fleet reads a chat.
        let read = count_tokens(&format!("user: {said}\nassistant:"));
        assert_eq!(read, (tokens as usize).max(8), "a chat has the template and one word at least");
    }
}

#[test]
fn prompts_share_text_exactly_where_they_share_blocks() {
    let trace = trace(&[(64, &[1, 2, 3]), (64, &[1, 2, 4]), (40, &[5, 2, 1]), (64, &[])]);
    let prompts = prompts(&trace);
    let shared = |a: &str, b: &str| a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
    // Two blocks of sixteen words of four bytes, without the first space; then perhaps a letter or two by chance.
    assert!((127..140).contains(&shared(&prompts[0], &prompts[1])));
    assert!(shared(&prompts[0], &prompts[2]) < 16 && shared(&prompts[0], &prompts[3]) < 16);
    // A block says the same wherever it stands, and one that the end of the prompt cuts says the beginning of it.
    assert_eq!(prompts[2][63..127], prompts[0][63..127]);
    assert_eq!(prompts[2][128..], prompts[0][..31]);
}

#[test]
fn what_follows_the_blocks_is_nobody_elses_and_a_salt_changes_all() {
    let trace = trace(&[(32, &[1]), (32, &[1])]);
    let all = prompts(&trace);
    assert!(all[0][..63] == all[1][..63] && all[0][64..] != all[1][64..]);
    let salted = Body { salt: 1, form: Form::Completion, ..Body::default() };
    assert_ne!(json(&salted, &trace, 0)["prompt"].as_str().unwrap()[..63], all[0][..63]);
    assert_eq!(salted.write(&trace, &trace.arrivals[0], 0), salted.write(&trace, &trace.arrivals[0], 0));
}
