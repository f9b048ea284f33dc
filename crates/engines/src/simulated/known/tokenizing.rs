//! `/v1/tokenize`, `/v1/detokenize` and `/v1/messages/count_tokens`

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;

use super::{Answered, Known};
use crate::simulated::ask::{CONTEXT, Fields, Wrong};
use crate::simulated::conversation;
use crate::simulated::dialect::FINGERPRINT;
use crate::simulated::tokens;

pub(super) fn tokenize(fields: &Fields) -> Result<Answered, Wrong> {
    #[derive(Serialize)]
    struct Cut<'a> {
        count: usize,
        max_model_len: u32,
        tokens: Vec<u32>,
        token_strs: Option<Vec<&'a str>>,
        system_fingerprint: &'static str,
    }
    let text = match fields.text("prompt")? {
        Some(prompt) => Cow::Borrowed(prompt),
        None if fields.get("messages").is_some() => Cow::Owned(conversation::chat(fields)?),
        None => return Err(Wrong::field("prompt", "is missing")),
    };
    let tokens: Vec<u32> = tokens::numbers(&text).collect();
    let token_strs = fields.flag("return_token_strs")?.then(|| tokens::tokens(&text).collect());
    let cut = Cut {
        count: tokens.len(),
        max_model_len: CONTEXT,
        tokens,
        token_strs,
        system_fingerprint: FINGERPRINT,
    };
    Ok((Known::new(&cut, None), None))
}

/// How many tokens a prompt of `/v1/messages` has.
pub(super) fn count(fields: &Fields) -> Result<Answered, Wrong> {
    #[derive(Serialize)]
    struct Counted {
        input_tokens: usize,
        system_fingerprint: &'static str,
    }
    let text = conversation::message(fields)?;
    let input_tokens = tokens::numbers(&text).count();
    Ok((Known::new(&Counted { input_tokens, system_fingerprint: FINGERPRINT }, None), None))
}

pub(super) fn detokenize(fields: &Fields) -> Result<Answered, Wrong> {
    #[derive(Serialize)]
    struct Joined {
        prompt: String,
        system_fingerprint: &'static str,
    }
    let wrong = || Wrong::field("tokens", "must be an array of tokens that this model knows");
    let numbers = fields.get("tokens").and_then(Value::as_array).ok_or_else(wrong)?;
    let mut prompt = String::new();
    for number in numbers {
        let number = number.as_u64().and_then(|number| u32::try_from(number).ok()).ok_or_else(wrong)?;
        if !tokens::decode(number, &mut prompt) {
            return Err(wrong());
        }
    }
    Ok((Known::new(&Joined { prompt, system_fingerprint: FINGERPRINT }, None), None))
}
