use super::*;
use proptest::prelude::*;

fn check(text: &[u8]) -> Result<(), JsonError> {
    let mut scanner = Scanner::new(text);
    scanner.skip()?;
    scanner.finish()
}

#[test]
fn what_is_not_json_is_refused() {
    for bad in [
        "",
        "{",
        "[1,]",
        "{\"a\":1,}",
        "{'a':1}",
        "NaN",
        "01",
        "1.",
        "1e",
        "-",
        "+1",
        ".5",
        "\"\\x\"",
        "\"\\u12g4\"",
        "{\"a\"}",
        "{\"a\":}",
        "{1:2}",
        "[1 2]",
        "tru",
        "nulll",
        "1 2",
        "{}{}",
        "\"a\u{1}\"",
        "/* */1",
        "[}",
        "{]",
    ] {
        assert!(check(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn nesting_is_bounded_without_recursion() {
    let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    assert!(check(deep(64).as_bytes()).is_ok());
    assert_eq!(check(deep(65).as_bytes()).unwrap_err().what, "nested too deep");
    assert!(check("[".repeat(5_000_000).as_bytes()).is_err());
}

#[test]
fn an_escaped_key_says_the_same() {
    let text = br#"{"mod\u0065l": "x"}"#;
    let mut scanner = Scanner::new(text);
    scanner.enter_object().unwrap();
    let key = scanner.next_key(&mut true).unwrap().unwrap();
    assert!(key.escaped && scanner.says(&key, "model"));
}

proptest! {
    #[test]
    fn whatever_serde_writes_is_accepted(value in json_value()) {
        let text = serde_json::to_vec(&value).unwrap();
        prop_assert!(check(&text).is_ok());
        let pretty = serde_json::to_vec_pretty(&value).unwrap();
        prop_assert!(check(&pretty).is_ok());
    }

    #[test]
    fn it_agrees_with_serde_on_any_text(text in "[\\[\\]{}:,\"a0-9.eE+\\- tfn\\\\u]{0,24}") {
        let serde = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        prop_assert_eq!(check(text.as_bytes()).is_ok(), serde, "{}", text);
    }

    #[test]
    fn it_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = check(&bytes);
    }
}

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map(".{0,6}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}
