//! `/explain`: why a request would go where it would go.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, StatusCode};
use plimsoll_routing::{Backend, Cost, Line, RequestShape, Service, Tier};
use plimsoll_types::Instant;
use serde_json::{Value, json};

use super::{json_of, text};
use crate::explain::components;
use crate::house::House;

/// What a request would cost at each backend of a model's pool now, the cheapest first.
pub(super) fn answer(house: &House, query: &str) -> Response<Full<Bytes>> {
    let asked = match Question::read(query) {
        Ok(asked) => asked,
        Err(why) => return text(StatusCode::BAD_REQUEST, format!("{why}\n")),
    };
    let (now, snapshot) = (house.clock.now(), house.shared.snapshot());
    let fleet = &snapshot.fleet;
    let Some(pool) = fleet.pool(&asked.model) else {
        let why = format!("no pool serves {:?}; these are served: {}\n", asked.model, fleet.known_models());
        return text(StatusCode::NOT_FOUND, why);
    };
    let conditions = pool.conditions(now, &fleet.config);
    let request = RequestShape {
        prompt_tokens: asked.prompt_tokens,
        expected_output: pool.learned.expected_output(now),
        ..RequestShape::typical(now)
    };
    let line = Line::of(&request, &conditions, &fleet.config);
    let mut ranked: Vec<((Tier, f32), Value)> = Vec::new();
    for backend in &pool.members {
        let cost = Cost::of(backend, &request, 0, &conditions);
        let room = line.has_room(backend);
        ranked.push(((cost.tier, cost.total()), costs(backend, &cost, room, now)));
    }
    ranked.sort_by(|(a, _), (b, _)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    json_of(&json!({
        "model": asked.model,
        "policy": fleet.config.policy,
        "prompt_tokens": request.prompt_tokens,
        "expected_output_tokens": request.expected_output,
        "pool": {
            "pace": conditions.pace,
            "externality": conditions.externality,
        },
        "backends": ranked.into_iter().map(|(_, cost)| cost).collect::<Vec<_>>(),
    }))
}

/// What a request would cost at a backend, by component.
fn costs(backend: &Backend, cost: &Cost, room: bool, now: Instant) -> Value {
    let mut told = components(cost);
    told.insert("name".into(), json!(backend.spec.name));
    told.insert("in_service".into(), json!(backend.service(now) == Service::Open));
    told.insert("found_slow".into(), json!(backend.outlier.is_slow()));
    told.insert("drained".into(), json!(backend.is_drained()));
    told.insert("below_its_line".into(), json!(room));
    told.insert("prompts_at_a_time".into(), json!(backend.prompts_at_a_time()));
    told.insert("seats".into(), json!(backend.seats()));
    told.into()
}

/// What somebody wants explained.
#[derive(Debug, PartialEq, Eq)]
struct Question {
    model: String,
    prompt_tokens: u32,
}

impl Question {
    /// Reads `model=NAME&prompt_tokens=1000`.
    fn read(query: &str) -> Result<Self, String> {
        let mut asked = Self { model: String::new(), prompt_tokens: 1_000 };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match key {
                "model" => asked.model = unescape(value),
                "prompt_tokens" => {
                    let tokens = value.parse().ok().filter(|tokens| (1..=16_777_216).contains(tokens));
                    let wrong = || format!("prompt_tokens: {value:?} is not a number from 1 to 16777216");
                    asked.prompt_tokens = tokens.ok_or_else(wrong)?;
                }
                _ => return Err(format!("{key:?} is unknown; ask /explain?model=NAME&prompt_tokens=1000")),
            }
        }
        if asked.model.is_empty() {
            return Err("say which model: /explain?model=NAME&prompt_tokens=1000".into());
        }
        Ok(asked)
    }
}

/// Takes `%2F` and the like out of a value of a query.
pub(super) fn unescape(value: &str) -> String {
    let (mut out, mut rest) = (Vec::new(), value.as_bytes());
    while let Some((byte, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        rest = after;
        match (byte, code) {
            (b'%', Some(code)) => {
                out.push(code);
                rest = &after[2..];
            }
            (b'+', _) => out.push(b' '),
            _ => out.push(*byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_a_model_and_perhaps_a_length() {
        let asked = |query| Question::read(query).map(|asked| (asked.model, asked.prompt_tokens));
        assert_eq!(asked("model=meta%2FLlama-3+8B"), Ok(("meta/Llama-3 8B".into(), 1_000)));
        assert_eq!(asked("prompt_tokens=20&model=m"), Ok(("m".into(), 20)));
        for wrong in ["", "prompt_tokens=20", "model=m&prompt_tokens=0", "model=m&tokens=3"] {
            assert!(asked(wrong).is_err(), "{wrong}");
        }
        assert_eq!(unescape("100%"), "100%");
    }
}
