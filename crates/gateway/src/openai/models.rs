//! `GET /v1/models`: what the pools serve.

use std::collections::HashMap;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Response};
use plimsoll_engines::openai::Card;
use plimsoll_pipeline::Snapshot;
use plimsoll_types::ServeError;
use serde_json::{Value, json};

use crate::body::Body;

/// The model of this name. Where its backends say nothing of when it was made and whose it is, the fields are there all the same.
fn model(name: &str, cards: &HashMap<String, Card>) -> Value {
    let card = cards.get(name).cloned().unwrap_or_default();
    let mut model = json!({
        "id": name, "object": "model", "created": card.created.unwrap_or(0),
        "owned_by": card.owned_by.as_deref().unwrap_or("plimsoll"),
    });
    if let Some(length) = card.max_model_len {
        model["max_model_len"] = length.into();
    }
    model
}

/// All models, in order.
pub(crate) fn list(snapshot: &Snapshot, cards: &HashMap<String, Card>) -> Value {
    let mut names: Vec<&str> = snapshot.fleet.pools().map(|pool| pool.model.as_str()).collect();
    names.sort_unstable();
    let data: Vec<Value> = names.into_iter().map(|name| model(name, cards)).collect();
    json!({"object": "list", "data": data})
}

/// Answers `GET /v1/models` and `GET /v1/models/{id}`; an id may have slashes in it.
pub(crate) fn answer(
    method: &Method,
    id: Option<&str>,
    (snapshot, cards): (&Snapshot, &HashMap<String, Card>),
) -> Result<Response<Body>, ServeError> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(ServeError::WrongMethod { allowed: "GET, HEAD" });
    }
    let document = match id {
        None => list(snapshot, cards),
        Some(id) => {
            let name = percent_decoded(id);
            if snapshot.fleet.pool(&name).is_none() {
                let known = snapshot.fleet.known_models().to_owned();
                return Err(ServeError::UnknownModel { model: name.chars().take(200).collect(), known });
            }
            model(&name, cards)
        }
    };
    let mut response = Response::new(Body::full(document.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn percent_decoded(text: &str) -> String {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [byte, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match (byte, hex.and_then(|digits| u8::from_str_radix(digits, 16).ok())) {
            (b'%', Some(value)) => {
                out.push(value);
                rest = &tail[2..];
            }
            _ => {
                out.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_decoded_and_broken_escapes_stay() {
        assert_eq!(percent_decoded("meta%2Fllama%zz%4"), "meta/llama%zz%4");
    }
}
