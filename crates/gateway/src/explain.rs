//! Tells a caller why its request went where it went: `x-plimsoll-explain`, from those who may ask.
//!
//! The answer is a header field, so that bodies and streams stay what the backend sent.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use plimsoll_pipeline::Response;
use plimsoll_routing::{Cost, Explanation};
use plimsoll_types::Tenant;
use serde_json::{Map, Value, json};

use crate::config::Config;

const EXPLAIN: HeaderName = HeaderName::from_static("x-plimsoll-explain");
pub(crate) const BACKEND: HeaderName = HeaderName::from_static("x-plimsoll-backend");
/// Bytes of an explanation in the most: clients and proxies bear no more than some kilobytes of header fields.
const MOST_BYTES: usize = 4_096;
/// Characters of a backend's name in an explanation.
const NAME: usize = 64;

/// What a caller asks for with `x-plimsoll-explain`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Nothing, or nothing that is understood.
    #[default]
    Nothing,
    /// `backend`: which backend answers.
    Backend,
    /// `1`: that, and what the request was expected to cost there and elsewhere.
    Costs,
}

impl Asked {
    /// What the field's value asks for.
    pub(crate) fn read(value: &HeaderValue) -> Self {
        match value.as_bytes() {
            b"1" => Self::Costs,
            b"backend" => Self::Backend,
            _ => Self::Nothing,
        }
    }

    /// What of it `tenant` may know.
    pub(crate) fn allowed_to(self, tenant: Option<&Tenant>, config: &Config) -> Self {
        if self != Self::Nothing && config.may_ask_why(tenant) { self } else { Self::Nothing }
    }

    /// Says it in the header of the answer.
    pub(crate) fn tell(self, answer: &Response, headers: &mut HeaderMap) {
        if self == Self::Nothing {
            return;
        }
        let backend = answer.body.backend().map(|backend| HeaderValue::from_str(&backend.spec.name));
        if let Some(Ok(name)) = backend {
            headers.insert(BACKEND, name);
        }
        let explanation = answer.explanation.as_ref().map(|why| HeaderValue::from_str(&compact(why)));
        if let Some(Ok(text)) = explanation {
            headers.insert(EXPLAIN, text);
        }
    }
}

/// An explanation as JSON in ASCII. Where it would be too long, it tells of fewer backends.
fn compact(why: &Explanation) -> String {
    let costs = why.costs.iter().enumerate().map(|(place, expected)| {
        let mut told = components(&expected.cost);
        let name: String = expected.backend.spec.name.chars().take(NAME).collect();
        told.insert("backend".into(), name.into());
        told.insert("cached_tokens".into(), json!(expected.cached));
        told.insert("picked".into(), json!(place == why.picked));
        told
    });
    let mut costs: Vec<Map<String, Value>> = costs.collect();
    loop {
        let text = ascii(&json!({ "candidates": why.candidates, "costs": costs }).to_string());
        let Some(last) = costs.iter().rposition(|told| told["picked"] == false) else { return text };
        if text.len() <= MOST_BYTES {
            return text;
        }
        costs.remove(last);
    }
}

/// What a request costs at a backend, by component.
pub(crate) fn components(cost: &Cost) -> Map<String, Value> {
    let millis = |seconds: f32| json!(f64::from((seconds * 1e6).round()) / 1e3);
    let parts = [
        ("network", cost.network),
        ("queue", cost.queue),
        ("prefill", cost.prefill),
        ("decode", cost.decode),
        ("recompute", cost.recompute),
        ("eviction", cost.eviction),
        ("crowding", cost.crowding),
        ("memory", cost.memory),
        ("money", cost.money),
    ];
    let parts: Map<String, Value> =
        parts.into_iter().map(|(name, seconds)| (name.into(), millis(seconds))).collect();
    let mut told = Map::new();
    told.insert("cost_ms".into(), millis(cost.total()));
    told.insert("expected_ttft_ms".into(), millis(cost.ttft()));
    told.insert("of_which_ms".into(), parts.into());
    told.insert("times".into(), json!(cost.times));
    told.insert("tier".into(), cost.tier.name().into());
    told
}

/// JSON with nothing in it that a header field could not hold.
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for unit in json.chars() {
        match unit {
            ' '..='~' => out.push(unit),
            _ => unit.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out += &format!("\\u{unit:04x}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use plimsoll_routing::{Backend, Expected};
    use plimsoll_types::BackendSpec;

    fn explanation(name: &str, count: usize) -> Explanation {
        let expected = |slot| {
            let spec = BackendSpec { name: format!("{name}{slot}"), ..BackendSpec::default() };
            Expected { backend: Arc::new(Backend::new(slot, spec)), cached: 7, cost: Cost::default() }
        };
        Explanation { candidates: 100, picked: count - 1, costs: (0..count).map(expected).collect() }
    }

    #[test]
    fn what_is_too_long_for_a_header_field_loses_backends_but_never_the_picked_one() {
        for (name, all) in [("b", true), (&"long".repeat(200) as &str, true), (&"é".repeat(2_000), false)] {
            let text = compact(&explanation(name, 8));
            assert!(HeaderValue::from_str(&text).is_ok() && text.len() <= MOST_BYTES, "{}", text.len());
            let read: Value = serde_json::from_str(&text).unwrap();
            let costs = read["costs"].as_array().unwrap();
            assert_eq!((costs.len() == 8, &read["candidates"]), (all, &json!(100)), "{}", costs.len());
            assert!(
                costs.last().unwrap()["picked"] == true
                    && costs[0]["backend"].as_str().unwrap().starts_with(['b', 'l', 'é'])
            );
        }
    }

    #[test]
    fn only_two_words_are_understood() {
        let read = |text| Asked::read(&HeaderValue::from_static(text));
        assert_eq!([read("1"), read("backend")], [Asked::Costs, Asked::Backend]);
        assert_eq!([read("0"), read("true"), read("")], [Asked::Nothing; 3]);
    }
}
