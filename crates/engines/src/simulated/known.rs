//! Answers that are no text: embeddings, ranks, scores, tokens. All that they say is known when the request is read;
//! only the time that a GPU needs to read it is still to pass.

pub(crate) mod embedding;
mod ranking;
mod tokenizing;

use bytes::{Bytes, BytesMut};
use plimsoll_types::{Kind, Usage};
use serde::Serialize;

use super::ask::{Fields, Wrong, room};
use super::dialect::{Origin, json};
use super::gpu::Work;
use super::tokens::Prompt;

/// An answer, and what a GPU must do before it is given.
type Answered = (Known, Option<Work>);

/// An answer that is known when the request is read.
#[derive(Debug)]
pub(crate) struct Known {
    /// The status, as HTTP counts them.
    pub(crate) status: u16,
    /// The whole of it.
    pub(crate) body: Bytes,
    /// What it says of tokens.
    pub(crate) usage: Option<Usage>,
}

impl Known {
    /// An answer that is no refusal.
    fn new(body: &impl Serialize, usage: Option<Usage>) -> Self {
        Self { status: 200, body: document(body), usage }
    }
}

impl From<Wrong> for Known {
    fn from(wrong: Wrong) -> Self {
        #[derive(Serialize)]
        struct Refusal {
            error: Reason,
        }
        #[derive(Serialize)]
        struct Reason {
            message: String,
            r#type: &'static str,
            param: Option<&'static str>,
            code: Option<&'static str>,
        }
        let Wrong { message, param, code } = wrong;
        let error = Reason { message, r#type: "invalid_request_error", param, code };
        Self { status: 400, body: document(&Refusal { error }), usage: None }
    }
}

#[derive(Serialize)]
struct Counted {
    prompt_tokens: u32,
    total_tokens: u32,
}

/// The answer to a request of `kind`, and what a GPU must do for it.
pub(super) fn read(kind: Kind, fields: &Fields, origin: &Origin) -> Result<Answered, Wrong> {
    match kind {
        Kind::Embedding => embedding::embedding(fields, origin),
        Kind::Rerank => ranking::rerank(fields, origin),
        Kind::Score => ranking::score(fields, origin),
        Kind::Tokenize => tokenizing::tokenize(fields),
        Kind::CountTokens => tokenizing::count(fields),
        _ => tokenizing::detokenize(fields),
    }
}

/// A list of items with usage, as OpenAI writes it.
fn list<T: Serialize>(data: Vec<T>, origin: &Origin, work: Work) -> Answered {
    (listed(data, origin, usage(&work)), Some(work))
}

fn listed<T: Serialize>(data: Vec<T>, origin: &Origin, usage: Usage) -> Known {
    #[derive(Serialize)]
    struct List<'a, T> {
        object: &'static str,
        data: Vec<T>,
        model: &'a str,
        usage: Counted,
        system_fingerprint: &'static str,
    }
    let (model, system_fingerprint) = (&*origin.model, origin.fingerprint);
    let list = List { object: "list", data, model, usage: usage.into(), system_fingerprint };
    Known::new(&list, Some(usage))
}

/// Texts are read whole each time: a model that pools cannot go on from a prefix.
fn reading(prompts: impl Iterator<Item = Prompt>, param: &'static str) -> Result<Work, Wrong> {
    let uncached = |prompt: Prompt| room(&prompt, param).map(|_| Prompt { blocks: Vec::new(), ..prompt });
    let prompts: Vec<Prompt> = prompts.map(uncached).collect::<Result<_, _>>()?;
    let outputs = vec![0; prompts.len()];
    Ok(Work { prompts, outputs })
}

fn usage(work: &Work) -> Usage {
    Usage { prompt: work.prompts.iter().map(|prompt| prompt.tokens).sum(), ..Usage::default() }
}

impl From<Usage> for Counted {
    fn from(usage: Usage) -> Self {
        Self { prompt_tokens: usage.prompt, total_tokens: usage.prompt }
    }
}

fn document(value: &impl Serialize) -> Bytes {
    let mut out = BytesMut::new();
    json(&mut out, value);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::dialect::FINGERPRINT;
    use serde_json::Value;

    fn answer(kind: Kind, json: &str) -> Value {
        let origin = Origin {
            serial: 1,
            created: 0,
            fingerprint: FINGERPRINT,
            model: "sim-embed".into(),
            shows_usage: false,
        };
        let fields = Fields::read(json.as_bytes()).unwrap();
        let known = read(kind, &fields, &origin).map_or_else(Known::from, |(known, _)| known);
        let value: Value = serde_json::from_slice(&known.body).unwrap();
        if known.status == 200 {
            assert_eq!(value["system_fingerprint"], FINGERPRINT);
            assert_eq!(
                known.usage.map(|usage| usage.prompt.into()),
                value["usage"]["prompt_tokens"].as_u64()
            );
        }
        value
    }

    #[test]
    fn both_encodings_of_an_embedding_hold_the_same_numbers() {
        let floats = answer(Kind::Embedding, r#"{"input":["a harbour","a ship"],"dimensions":6}"#);
        let text = answer(
            Kind::Embedding,
            r#"{"input":["a harbour","a ship"],"dimensions":6,"encoding_format":"base64"}"#,
        );
        for index in 0..2 {
            let numbers: Vec<f32> = floats["data"][index]["embedding"]
                .as_array()
                .unwrap()
                .iter()
                .map(|x| x.as_f64().unwrap() as f32)
                .collect();
            let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
            assert_eq!(text["data"][index]["embedding"], embedding::base64(&bytes));
            assert_eq!(text["data"][index]["index"], index);
        }
        assert_eq!(floats["usage"]["total_tokens"], 4);
    }

    #[test]
    fn the_tokens_of_a_text_embed_as_the_text_does() {
        let tokens = answer(Kind::Tokenize, r#"{"prompt":"a harbour"}"#)["tokens"].to_string();
        let one = answer(Kind::Embedding, r#"{"input":"a harbour"}"#);
        assert_eq!(answer(Kind::Embedding, &format!(r#"{{"input":{tokens}}}"#)), one);
    }

    #[test]
    fn documents_are_ranked_by_their_score_and_cut_at_top_n() {
        let json = r#"{"query":"capital of France","top_n":2,
            "documents":["bananas ripen",{"text":"Paris, capital of France"},"the capital gains tax"]}"#;
        let ranked = answer(Kind::Rerank, json);
        let indices: Vec<u64> = ranked["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["index"].as_u64().unwrap())
            .collect();
        assert_eq!(indices, [1, 2]);
        assert_eq!(ranked["results"][0]["document"]["text"], "Paris, capital of France");
    }

    #[test]
    fn a_score_is_given_for_each_pair() {
        let scores = answer(Kind::Score, r#"{"text_1":"ships","text_2":["ships","bananas"]}"#);
        assert!(scores["data"][0]["score"].as_f64() > scores["data"][1]["score"].as_f64());
        let wrong = answer(Kind::Score, r#"{"text_1":["a","b"],"text_2":["a","b","c"]}"#);
        assert_eq!(wrong["error"]["param"], "text_1");
    }

    #[test]
    fn text_survives_tokenize_and_detokenize() {
        let cut = answer(Kind::Tokenize, r#"{"prompt":"Grüße vom Kai!\n","return_token_strs":true}"#);
        assert_eq!(cut["count"], cut["token_strs"].as_array().unwrap().len());
        let counted = answer(Kind::CountTokens, r#"{"messages":[{"role":"user","content":"a harbour"}]}"#);
        assert!(counted["input_tokens"].as_u64().is_some_and(|tokens| tokens > 1), "{counted}");
        let joined = answer(Kind::Detokenize, &format!(r#"{{"tokens":{}}}"#, cut["tokens"]));
        assert_eq!(joined["prompt"], "Grüße vom Kai!\n");
    }

    #[test]
    fn what_is_wrong_is_said_in_openais_shape() {
        let wrong = answer(Kind::Embedding, r#"{"input":""}"#);
        let message = "`input` must be a string, an array of strings, or arrays of tokens, and not empty";
        let expected = serde_json::json!({"error":
            {"message": message, "type": "invalid_request_error", "param": "input", "code": null}});
        assert_eq!(wrong, expected);
        for (kind, json) in [
            (Kind::Embedding, r#"{"input":"a","dimensions":0}"#),
            (Kind::Embedding, r#"{"input":"a","encoding_format":"hex"}"#),
            (Kind::Rerank, r#"{"documents":["a"]}"#),
            (Kind::Rerank, r#"{"query":"a","documents":[]}"#),
            (Kind::Score, r#"{"text_1":"a"}"#),
            (Kind::Tokenize, "{}"),
            (Kind::Detokenize, r#"{"tokens":[3]}"#),
        ] {
            assert!(answer(kind, json)["error"]["message"].is_string(), "{json}");
        }
    }
}
