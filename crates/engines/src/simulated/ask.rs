//! Reads what a request asks, and says what is wrong with it in words that a caller can act on.

use std::ops::RangeInclusive;

use plimsoll_batching::step::Refusal;
use serde_json::{Map, Value};

use super::random::mix;
use super::text::Bounds;
use super::tokens::{self, Prompt};

/// Tokens that prompt and answer may have together.
pub(crate) const CONTEXT: u32 = 131_072;

/// What is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// What to change.
    pub(crate) message: String,
    /// The field at fault.
    pub(crate) param: Option<&'static str>,
    /// The machine-readable reason.
    pub(crate) code: Option<&'static str>,
}

impl Wrong {
    /// A field that is missing or of the wrong form.
    pub(crate) fn field(param: &'static str, is: &str) -> Self {
        Self { message: format!("`{param}` {is}"), param: Some(param), code: None }
    }
}

impl From<Refusal> for Wrong {
    /// What no GPU of this kind could compute, even alone.
    fn from(refusal: Refusal) -> Self {
        Self { message: refusal.to_string(), param: None, code: Some("context_length_exceeded") }
    }
}

/// The fields of a request.
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    /// The fields of a body.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Wrong> {
        let wrong = |message: String| Wrong { message, param: None, code: Some("invalid_json") };
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(wrong("the body is not a JSON object".into())),
            Err(error) => Err(wrong(format!("the body is not JSON: {error}"))),
        }
    }

    /// The value of a field; `null` is as good as not there.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    /// A whole number.
    pub(crate) fn whole(&self, key: &'static str, range: RangeInclusive<u64>) -> Result<Option<u64>, Wrong> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = value.as_u64().filter(|number| range.contains(number));
        let is = || format!("must be a whole number from {} to {}", range.start(), range.end());
        number.map(Some).ok_or_else(|| Wrong::field(key, &is()))
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self, key: &'static str) -> Result<bool, Wrong> {
        self.get(key).map_or(Ok(false), |value| {
            value.as_bool().ok_or_else(|| Wrong::field(key, "must be true or false"))
        })
    }

    /// Text.
    pub(crate) fn text(&self, key: &'static str) -> Result<Option<&str>, Wrong> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Wrong::field(key, "must be a string")),
        }
    }

    /// A text or a list of texts, none of them empty.
    pub(crate) fn texts(&self, key: &'static str) -> Result<Vec<String>, Wrong> {
        let wrong = || Wrong::field(key, "must be a string or an array of strings that are not empty");
        let text = |value: &Value| {
            value.as_str().filter(|text| !text.is_empty()).map(str::to_owned).ok_or_else(wrong)
        };
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => items.iter().map(text).collect(),
            Some(value) => Ok(vec![text(value)?]),
        }
    }

    /// What a text must keep to. `limits` are the fields that may hold the limit, `stop` the one with its stop strings.
    pub(crate) fn bounds(
        &self,
        limits: &[&'static str],
        default: u32,
        stop: &'static str,
    ) -> Result<Bounds, Wrong> {
        let mut limit = None;
        for key in limits {
            limit = limit.or(self.whole(key, 1..=u64::from(u32::MAX))?);
        }
        let limit = limit.map_or(default, |limit| limit as u32);
        Ok(Bounds { limit, stops: self.texts(stop)?, endless: self.flag("ignore_eos")? })
    }

    /// What decides the text beside the prompt: nothing at temperature 0, the seed if there is one, else `fresh`.
    pub(crate) fn salt(&self, fresh: u64) -> Result<u64, Wrong> {
        let number = |value: &Value| value.as_f64().filter(|number| (0.0..=2.0).contains(number));
        if let Some(value) = self.get("temperature")
            && number(value).ok_or_else(|| Wrong::field("temperature", "must be a number from 0 to 2"))?
                == 0.0
        {
            return Ok(0);
        }
        match self.get("seed") {
            None => Ok(fresh),
            Some(value) => match value.as_i64() {
                Some(seed) => Ok(mix(1, seed as u64)),
                None => Err(Wrong::field("seed", "must be a whole number")),
            },
        }
    }

    /// Whether the caller wants the usage of a stream.
    pub(crate) fn include_usage(&self) -> bool {
        self.get("stream_options")
            .and_then(|options| options.get("include_usage"))
            .is_some_and(|value| value == true)
    }
}

/// A text to be read: by its words, or by its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input<'a> {
    /// Words.
    Text(&'a str),
    /// Numbers of tokens.
    Numbers(Vec<u32>),
}

impl Input<'_> {
    /// The text as a GPU sees it.
    pub(super) fn prompt(&self) -> Prompt {
        match self {
            Self::Text(text) => Prompt::of_text(text),
            Self::Numbers(numbers) => Prompt::of_numbers(numbers.iter().copied()),
        }
    }

    /// What it says; tokens that are none say nothing.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Text(text) => (*text).to_owned(),
            Self::Numbers(numbers) => {
                let mut text = String::new();
                for number in numbers {
                    tokens::decode(*number, &mut text);
                }
                text
            }
        }
    }
}

/// A field that holds a string, an array of strings, an array of tokens, or an array of arrays of tokens.
pub(crate) fn inputs<'a>(fields: &'a Fields, key: &'static str) -> Result<Vec<Input<'a>>, Wrong> {
    /// As many as OpenAI takes in one request.
    const MOST: usize = 2_048;
    let wrong =
        || Wrong::field(key, "must be a string, an array of strings, or arrays of tokens, and not empty");
    let value = fields.get(key).ok_or_else(|| Wrong::field(key, "is missing"))?;
    let numbers = |value: &Value| -> Option<Vec<u32>> {
        let items = value.as_array().filter(|items| !items.is_empty())?;
        items.iter().map(|item| item.as_u64().and_then(|number| u32::try_from(number).ok())).collect()
    };
    let one = |value: &'a Value| match value {
        Value::String(text) if !text.is_empty() => Some(Input::Text(text)),
        _ => numbers(value).map(Input::Numbers),
    };
    if let Some(input) = one(value) {
        return Ok(vec![input]);
    }
    let items = value.as_array().filter(|items| (1..=MOST).contains(&items.len())).ok_or_else(wrong)?;
    items.iter().map(|item| one(item).ok_or_else(wrong)).collect()
}

/// Room that a prompt leaves for its answer.
pub(super) fn room(prompt: &Prompt, param: &'static str) -> Result<u32, Wrong> {
    match CONTEXT.checked_sub(prompt.tokens) {
        Some(room) if room > 0 => Ok(room),
        _ => Err(Wrong {
            message: format!(
                "the prompt has {} tokens; this model takes fewer than {CONTEXT}",
                prompt.tokens
            ),
            param: Some(param),
            code: Some("context_length_exceeded"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Fields {
        Fields::read(json.as_bytes()).unwrap()
    }

    #[test]
    fn a_prompt_may_be_written_in_four_ways() {
        let read = |json: &str| {
            let fields = fields(&format!(r#"{{"prompt":{json}}}"#));
            inputs(&fields, "prompt").map(|inputs| inputs.len()).ok()
        };
        assert_eq!(read(r#""one""#), Some(1));
        assert_eq!(read(r#"["one","two"]"#), Some(2));
        assert_eq!(read("[1,2,3]"), Some(1));
        assert_eq!(read("[[1],[2,3]]"), Some(2));
        for wrong in ["null", "[]", "[[]]", "[\"\"]", "\"\"", "[1,\"a\"]", "7", "{}", "[-1]", "[1.5]"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_wrong_value_is_named_with_what_it_should_be() {
        let message = |json: &str| fields(json).whole("n", 1..=128).unwrap_err().message;
        assert_eq!(message(r#"{"n":0}"#), "`n` must be a whole number from 1 to 128");
        assert_eq!(message(r#"{"n":"2"}"#), "`n` must be a whole number from 1 to 128");
        assert!(fields(r#"{"n":null}"#).whole("n", 1..=128).unwrap().is_none());
        assert_eq!(Fields::read(b"[]").err().and_then(|wrong| wrong.code), Some("invalid_json"));
    }

    #[test]
    fn temperature_zero_needs_no_seed_and_a_seed_decides_otherwise() {
        let salt = |json: &str| fields(json).salt(99).unwrap();
        assert_eq!(salt(r#"{"temperature":0,"seed":7}"#), 0);
        assert_eq!(salt(r#"{"seed":7}"#), salt(r#"{"temperature":1,"seed":7}"#));
        assert_ne!(salt(r#"{"seed":7}"#), salt(r#"{"seed":8}"#));
        assert_eq!(salt("{}"), 99);
        assert!(fields(r#"{"temperature":"hot"}"#).salt(0).is_err());
    }
}
