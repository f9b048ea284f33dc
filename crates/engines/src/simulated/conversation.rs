//! Turns the messages of a conversation into the text that a model would read: what comes first stands first, so that
//! conversations that begin alike share their prefix.

use serde_json::Value;

use super::ask::{Fields, Wrong};

/// The prompt of a chat: tools, then messages.
pub(crate) fn chat(fields: &Fields) -> Result<String, Wrong> {
    let mut prompt = String::new();
    tools(fields, &mut prompt);
    messages(fields, &mut prompt)?;
    Ok(prompt)
}

/// The prompt of Anthropic's messages: tools, system, messages.
pub(super) fn message(fields: &Fields) -> Result<String, Wrong> {
    let mut prompt = String::new();
    tools(fields, &mut prompt);
    if let Some(system) = fields.get("system") {
        turn("system", Some(system), "system", &mut prompt)?;
    }
    messages(fields, &mut prompt)?;
    Ok(prompt)
}

/// The prompt of a response: tools, instructions, input.
pub(super) fn response(fields: &Fields) -> Result<String, Wrong> {
    let mut prompt = String::new();
    tools(fields, &mut prompt);
    if fields.get("instructions").is_some() {
        turn("system", fields.get("instructions"), "instructions", &mut prompt)?;
    }
    match fields.get("input") {
        Some(Value::Array(items)) if !items.is_empty() => {
            for item in items {
                match (item.get("role").and_then(Value::as_str), item.get("type").and_then(Value::as_str)) {
                    (Some(role), _) => turn(role, item.get("content"), "input", &mut prompt)?,
                    (None, Some(kind)) => block(kind, &item.to_string(), &mut prompt),
                    (None, None) => {
                        return Err(Wrong::field("input", "must hold items with a `role` or a `type`"));
                    }
                }
            }
        }
        Some(text @ Value::String(said)) if !said.is_empty() => {
            turn("user", Some(text), "input", &mut prompt)?
        }
        Some(_) => return Err(Wrong::field("input", "must be a string or an array of items, and not empty")),
        None => return Err(Wrong::field("input", "is missing")),
    }
    prompt.push_str("assistant:");
    Ok(prompt)
}

fn tools(fields: &Fields, prompt: &mut String) {
    for tool in fields.get("tools").and_then(Value::as_array).into_iter().flatten() {
        block("tool", &tool.to_string(), prompt);
    }
}

fn messages(fields: &Fields, prompt: &mut String) -> Result<(), Wrong> {
    let messages = fields.get("messages").ok_or_else(|| Wrong::field("messages", "is missing"))?;
    let messages = messages.as_array().filter(|messages| !messages.is_empty());
    for message in
        messages.ok_or_else(|| Wrong::field("messages", "must be an array with at least one message"))?
    {
        let role = message.get("role").and_then(Value::as_str);
        let role = role.ok_or_else(|| Wrong::field("messages", "must hold objects with a `role`"))?;
        turn(role, message.get("content"), "messages", prompt)?;
        if let Some(calls) = message.get("tool_calls").filter(|calls| !calls.is_null()) {
            block("calls", &calls.to_string(), prompt);
        }
    }
    prompt.push_str("assistant:");
    Ok(())
}

/// What one side says: a text, or parts of which those that are no text are taken as they are written.
fn turn(role: &str, content: Option<&Value>, param: &'static str, prompt: &mut String) -> Result<(), Wrong> {
    match content {
        Some(Value::String(text)) => block(role, text, prompt),
        Some(Value::Array(parts)) => {
            for part in parts {
                match part.get("text").and_then(Value::as_str) {
                    Some(text) => block(role, text, prompt),
                    None => block(role, &part.to_string(), prompt),
                }
            }
        }
        Some(Value::Null) | None => block(role, "", prompt),
        Some(_) => {
            return Err(Wrong::field(param, "must have a `content` that is a string or an array of parts"));
        }
    }
    Ok(())
}

fn block(role: &str, text: &str, prompt: &mut String) {
    prompt.push_str(role);
    prompt.push_str(": ");
    prompt.push_str(text);
    prompt.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str, how: fn(&Fields) -> Result<String, Wrong>) -> Result<String, String> {
        how(&Fields::read(json.as_bytes()).unwrap()).map_err(|wrong| wrong.message)
    }

    #[test]
    fn a_conversation_reads_as_a_play() {
        let json = r#"{"messages":[{"role":"system","content":"Be brief."},
            {"role":"user","content":[{"type":"text","text":"Hello"}]},{"role":"assistant","content":null}]}"#;
        assert_eq!(read(json, chat).unwrap(), "system: Be brief.\nuser: Hello\nassistant: \nassistant:");
        let json = r#"{"instructions":"Be brief.","input":[{"role":"user","content":[{"type":"input_text","text":"Hello"}]}]}"#;
        assert_eq!(read(json, response).unwrap(), "system: Be brief.\nuser: Hello\nassistant:");
        let json = r#"{"system":"Be brief.","messages":[{"role":"user","content":"Hello"}]}"#;
        assert_eq!(read(json, message).unwrap(), "system: Be brief.\nuser: Hello\nassistant:");
    }

    #[test]
    fn what_is_no_conversation_is_refused() {
        assert_eq!(read("{}", chat).unwrap_err(), "`messages` is missing");
        assert!(read(r#"{"messages":[]}"#, chat).is_err());
        assert!(read(r#"{"messages":"hi"}"#, chat).is_err());
        assert!(read(r#"{"messages":[{"content":"hi"}]}"#, chat).is_err());
        assert!(read(r#"{"messages":[{"role":"user","content":7}]}"#, chat).is_err());
        assert!(read(r#"{"input":[]}"#, response).is_err());
        assert!(read(r#"{"input":[{}]}"#, response).is_err());
    }
}
