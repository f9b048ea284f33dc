use plimsoll_proto::plimsoll::v1;
use plimsoll_proto::schema::{self, Message};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use prost::Message as _;
use serde_json::{Map, Value, json};

use super::*;

fn wire_of(message: &'static Message, json: &Value, nulls: Nulls) -> Vec<u8> {
    let mut wire = Vec::new();
    to_wire(message, json.to_string().as_bytes(), &[], nulls, &mut wire).unwrap();
    wire
}

fn json_of(message: &'static Message, wire: &[u8]) -> Value {
    let mut text = Vec::new();
    to_json(message, wire, &[], &mut text).unwrap();
    serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&text)))
}

/// Numbers by what they say: 1 and 1.0 are the same to every reader.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => {
            let value = number.as_f64().unwrap();
            let whole = value.fract() == 0.0 && value.abs() <= 2_f64.powi(53);
            if whole { json!(value as i64) } else { json!(value) }
        }
        Value::Array(values) => values.iter().map(plain).collect(),
        Value::Object(members) => {
            Value::Object(members.iter().map(|(name, value)| (name.clone(), plain(value))).collect())
        }
        other => other.clone(),
    }
}

#[test]
fn a_request_is_typed_where_it_can_be() {
    let body = json!({
        "model": "m", "temperature": 0.5, "max_tokens": 9, "stop": ["a", "b"], "seed": -9_223_372_036_854_775_808_i64,
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [
                {"type": "text", "text": "what is \"this\"?\n"},
                {"type": "image_url", "image_url": {"url": "data:x", "detail": "low"}}]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "z": 1, "a": 2}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "logit_bias": {"42": -100}, "metadata": {"a": "b"}, "vendor": {"deep": [1, 18_446_744_073_709_551_615_u64]},
    });
    let wire = wire_of(&schema::CHAT_REQUEST, &body, Nulls::Kept);
    let request = v1::ChatRequest::decode(&wire[..]).unwrap();
    assert_eq!((&*request.model, request.temperature, request.max_tokens), ("m", Some(0.5), Some(9)));
    assert_eq!(request.seed, Some(i64::MIN));
    assert_eq!(request.messages[2].extra_json.as_deref(), Some(r#"{"content":null}"#));
    let function = request.tools[0].function.as_ref().unwrap();
    assert_eq!(function.parameters_json.as_deref(), Some(r#"{"a":2,"type":"object","z":1}"#));
    assert_eq!(request.logit_bias["42"], -100);
    assert_eq!(request.extra_json.as_deref(), Some(r#"{"vendor":{"deep":[1,18446744073709551615]}}"#));
    assert_eq!(json_of(&schema::CHAT_REQUEST, &wire), body);
    assert_eq!(json_of(&schema::CHAT_REQUEST, &request.encode_to_vec()), body);
}

#[test]
fn a_value_that_does_not_fit_its_field_is_kept_as_it_is() {
    let kept = [
        r#"{"temperature":"hot","n":1.5,"seed":18446744073709551615,"messages":{},"tools":[]}"#,
        r#"{"stop":[null],"user":"\ud800","top_k":9223372036854775808,"min_p":1e999,"logprobs":null}"#,
        r#"{"model":5,"messages":[{"role":"user","content":"a"},7],"top_p":9007199254740993}"#,
        r#"{"max_tokens":-0,"x_":[[1,2],[]],"logit_bias":{"1":0.5},"metadata":{},"top_logprobs":2147483648}"#,
    ];
    for text in kept {
        let (mut wire, mut back) = (Vec::new(), Vec::new());
        to_wire(&schema::CHAT_REQUEST, text.as_bytes(), &[], Nulls::Kept, &mut wire).unwrap();
        let request = v1::ChatRequest::decode(&wire[..]).unwrap();
        let expected = v1::ChatRequest { extra_json: Some(text.into()), ..Default::default() };
        assert_eq!(request, expected);
        to_json(&schema::CHAT_REQUEST, &wire, &[], &mut back).unwrap();
        let back = String::from_utf8(back).unwrap();
        assert!(back.ends_with(&text[1..]), "{back}");
    }
    let stop = wire_of(&schema::CHAT_REQUEST, &json!({"stop": []}), Nulls::Kept);
    assert_eq!(json_of(&schema::CHAT_REQUEST, &stop)["stop"], json!([]));
}

#[test]
fn nulls_of_an_answer_are_nothing_and_what_clients_count_on_is_there() {
    let chunk = json!({
        "id": "c", "object": "chat.completion.chunk", "created": 5, "model": "m", "system_fingerprint": null,
        "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": null, "logprobs": null}], "usage": null,
    });
    let wire = wire_of(&schema::CHAT_STREAM_RESPONSE, &chunk, Nulls::Dropped);
    let message = v1::ChatStreamResponse::decode(&wire[..]).unwrap();
    assert_eq!((message.extra_json, message.choices[0].extra_json.clone()), (None, None));
    let expected = json!({
        "id": "c", "object": "chat.completion.chunk", "created": 5, "model": "m",
        "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": null}],
    });
    assert_eq!(json_of(&schema::CHAT_STREAM_RESPONSE, &wire), expected);
    let usage = v1::ChatStreamResponse { usage: Some(v1::Usage::default()), ..Default::default() };
    let text = json_of(&schema::CHAT_STREAM_RESPONSE, &usage.encode_to_vec());
    assert_eq!(text["choices"], json!([]));
    assert_eq!(text["usage"], json!({"prompt_tokens": 0, "total_tokens": 0}));
}

#[test]
fn extra_members_cannot_break_out_or_contradict() {
    let why = |extra: &str| {
        let request =
            v1::ChatRequest { model: "m".into(), extra_json: Some(extra.into()), ..Default::default() };
        to_json(&schema::CHAT_REQUEST, &request.encode_to_vec(), &[("stream", "true")], &mut Vec::new())
            .map_err(|malformed| malformed.to_string())
    };
    let no_object = "ChatRequest: extra_json is not the text of a JSON object, or is nested too deep";
    for extra in ["", "[]", "{", r#"{"a":1},"b":{"c":2}"#, r#"{"a":1}}"#, r#"{"a":01}"#, "null"] {
        assert_eq!(why(extra).unwrap_err(), no_object, "{extra}");
    }
    for (extra, name) in [
        (r#"{"model":"other"}"#, "model"),
        (r#"{"a":1,"mod\u0065l":"other"}"#, "model"),
        (r#"{"stream":false}"#, "stream"),
    ] {
        let twice = "stands in extra_json and is said already by a field or the method";
        assert_eq!(why(extra).unwrap_err(), format!("{name}: {twice}"));
    }
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let deep = |levels: usize| format!(r#"{{"deep":{}0{}}}"#, open.repeat(levels), close.repeat(levels));
        assert!(why(&deep(64)).is_ok());
        assert_eq!(why(&deep(65)).unwrap_err(), no_object);
        assert_eq!(why(&format!(r#"{{"deep":{}"#, open.repeat(1_000_000))).unwrap_err(), no_object);
    }
    assert!(why(" { \"a\" : 1 } ").is_ok() && why("{}").is_ok());
}

#[test]
fn what_a_type_says_by_itself_is_said_once() {
    let odd = json!({"object": "chunk", "id": "c", "created": 1, "model": "m", "choices": []});
    let wire = wire_of(&schema::CHAT_STREAM_RESPONSE, &odd, Nulls::Dropped);
    let mut text = Vec::new();
    to_json(&schema::CHAT_STREAM_RESPONSE, &wire, &[], &mut text).unwrap();
    assert_eq!(String::from_utf8(text).unwrap().matches("object").count(), 1);
    assert_eq!(json_of(&schema::CHAT_STREAM_RESPONSE, &wire), odd);
}

#[test]
fn bytes_that_are_no_message_are_refused() {
    let refused = |wire: &[u8]| to_json(&schema::CHAT_REQUEST, wire, &[], &mut Vec::new()).is_err();
    assert!(refused(&[0x0a, 5, b'm']), "cut short");
    assert!(refused(&[0x08, 1]), "a number in the place of the model");
    assert!(refused(&[0x0a, 1, 0xff]), "not UTF-8");
    assert!(refused(&[0x0b, 0x0c]), "a group");
    assert!(refused(&[0x02, 0]), "no number");
    assert!(refused(&[0xff; 11]), "a tag without end");
    assert!(refused(&[0x29, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f]), "NaN");
    assert!(!refused(&[0xfa, 0x7f, 1, 7]), "a field of a later version");
}

/// Any JSON, whole numbers of 64 bits with and without sign included.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        // The parser that this test compares with is exact for these only.
        any::<i16>().prop_map(|value| json!(f64::from(value) / 64.0)),
        "(\\PC|[\\n\"\\\\]){0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map("[a-z_]{1,6}", inner, 0..4).prop_map(|members| Value::Object(Map::from_iter(members))),
        ]
    })
}

/// An object with members of `message`, of the right form and of any other, and with unknown ones.
fn any_object(message: &'static Message, depth: u32) -> BoxedStrategy<Value> {
    let member = |field: &'static schema::Field| -> BoxedStrategy<(String, Value)> {
        let right = if field.repeated {
            vec(fitting(field.kind, depth), 0..3).prop_map(Value::from).boxed()
        } else {
            fitting(field.kind, depth)
        };
        prop_oneof![4 => right, 1 => any_value()].prop_map(|value| (field.json.to_owned(), value)).boxed()
    };
    let known: Vec<_> = message.fields.iter().map(member).collect();
    let some = proptest::sample::subsequence((0..known.len()).collect::<Vec<_>>(), 0..=known.len().min(8))
        .prop_flat_map(move |chosen| chosen.into_iter().map(|at| known[at].clone()).collect::<Vec<_>>());
    (some, btree_map("x_[a-z]{1,4}", any_value(), 0..3))
        .prop_map(|(known, unknown)| Value::Object(known.into_iter().chain(unknown).collect()))
        .boxed()
}

fn fitting(kind: schema::Kind, depth: u32) -> BoxedStrategy<Value> {
    match kind {
        schema::Kind::Message(message) if depth > 0 => match message.form {
            schema::Form::Object => any_object(message, depth - 1),
            schema::Form::List => {
                vec(fitting(message.fields[0].kind, depth - 1), 0..3).prop_map(Value::from).boxed()
            }
            schema::Form::Union => {
                proptest::strategy::Union::new(message.fields.iter().map(|f| fitting(f.kind, depth - 1)))
                    .boxed()
            }
        },
        schema::Kind::String => "\\PC{0,6}".prop_map(Value::from).boxed(),
        schema::Kind::Float => any::<i16>().prop_map(|value| json!(f64::from(value) / 8.0)).boxed(),
        _ => any_value().boxed(),
    }
}

proptest! {
    #[test]
    fn a_body_comes_back_as_it_went(body in any_object(&schema::CHAT_REQUEST, 3)) {
        round_trip(&schema::CHAT_REQUEST, body)?;
    }

    #[test]
    fn so_do_bodies_of_the_other_routes(
        complete in any_object(&schema::COMPLETE_REQUEST, 3),
        embed in any_object(&schema::EMBED_REQUEST, 3),
        rerank in any_object(&schema::RERANK_REQUEST, 3),
    ) {
        round_trip(&schema::COMPLETE_REQUEST, complete)?;
        round_trip(&schema::EMBED_REQUEST, embed)?;
        round_trip(&schema::RERANK_REQUEST, rerank)?;
    }

    #[test]
    fn bytes_of_any_kind_do_no_harm(bytes in vec(any::<u8>(), 0..64)) {
        let mut text = Vec::new();
        if to_json(&schema::CHAT_REQUEST, &bytes, &[], &mut text).is_ok() {
            prop_assert!(serde_json::from_slice::<Value>(&text).is_ok(), "{}", String::from_utf8_lossy(&text));
        }
    }
}

fn round_trip(message: &'static Message, body: Value) -> Result<(), TestCaseError> {
    let wire = wire_of(message, &body, Nulls::Kept);
    let mut expected = body;
    // The one member of a request that is always there.
    expected.as_object_mut().unwrap().entry("model").or_insert(json!(""));
    prop_assert_eq!(plain(&json_of(message, &wire)), plain(&expected));
    Ok(())
}
