//! Texts that become vectors.

use super::*;

#[test]
fn texts_of_many_become_vectors_together_and_each_gets_his_own() {
    let mut bench = bench(limits(), Told::default());
    let texts = ["abc", "de", "fghij", "k", "lmnopqrstuvw"];
    let mut answers: Vec<_> =
        texts.iter().map(|text| bench.ask(Kind::Embedding, &json!({"input": text}))).collect();
    let mut all = bench.ask(Kind::Embedding, &json!({"input": texts, "dimensions": 2}));
    let mut written = bench.complete("xyz", 3);
    let left = bench.ask(Kind::Embedding, &json!({"input": "nobody"}));
    drop(left);
    bench.run();
    let vector = |text: &str| json!([text.len() as f32, f32::from(text.as_bytes()[0])]);
    for (text, answer) in texts.iter().zip(&mut answers) {
        let (status, body) = plain(&mut **answer);
        assert_eq!((status, &body["data"][0]["embedding"]), (200, &vector(text)));
        assert_eq!(body["usage"]["prompt_tokens"], text.len());
    }
    let (_, body) = plain(&mut *all);
    let vectors: Vec<&Value> =
        body["data"].as_array().unwrap().iter().map(|item| &item["embedding"]).collect();
    assert_eq!(vectors, texts.map(vector).iter().collect::<Vec<_>>());
    assert_eq!(text(&mut *written), expected("xyz", 3));
    let told = bench.told.lock().unwrap();
    assert_eq!(told.steps.iter().take(2).sum::<usize>(), 11 + 3, "four texts, then a step");
    assert!(told.steps.iter().all(|tokens| *tokens <= 16), "{:?}", told.steps);
}

#[test]
fn texts_that_were_not_read_are_told_so() {
    let mut bench = bench(limits(), Told { fails_to_step: true, ..Told::default() });
    let mut answer = bench.ask(Kind::Embedding, &json!({"input": ["a", "b"]}));
    bench.turn();
    assert_eq!(now(|cx| answer.poll_head(cx)), Some(Err(Failure::Broken("lost in the middle"))));
    assert!(bench.driver.is_idle());
}
