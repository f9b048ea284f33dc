//! Makes one text of a conversation, by the template that comes with the model.
//!
//! Such templates are written for Python's Jinja2, as Hugging Face sets it up, and get what they get there: `messages`,
//! `tools`, `add_generation_prompt`, the tokens at the borders of a text, and `chat_template_kwargs` of the request. With
//! `continue_final_message` the last message is the beginning of the answer.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind};

use crate::{json, time};

/// For a model that brings none: ChatML, as llama-server has it.
const USUAL: &str = "{%- for message in messages -%}{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' -}}\
     {%- endfor -%}{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}";

/// The template of one model.
#[derive(Debug)]
pub struct Template {
    environment: Environment<'static>,
    borders: (String, String),
}

impl Template {
    /// Reads a template, for a model whose texts are written between these `borders`.
    ///
    /// # Errors
    ///
    /// Where it is no template.
    pub fn new(source: Option<String>, borders: (String, String)) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", |why: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, why))
        });
        environment.add_function("strftime_now", |format: String| time::written(&format, time::now()));
        let source = source.unwrap_or_else(|| USUAL.to_owned());
        environment
            .add_template_owned("chat", source)
            .map_err(|error| format!("its chat template cannot be read: {error:#}"))?;
        Ok(Self { environment, borders })
    }

    /// The text of the conversation in `body`, a chat request.
    ///
    /// # Errors
    ///
    /// Why there is none, for the caller.
    pub fn write(&self, body: &[u8]) -> Result<String, String> {
        let body: Value =
            serde_json::from_slice(body).map_err(|error| format!("the body is not JSON: {error}"))?;
        let goes_on = given(&body, "continue_final_message").is_true();
        let mut messages =
            items(&body, "messages").map(|message| self.message(&message)).collect::<Result<Vec<_>, _>>()?;
        // What an answer begins with stands behind everything that led to it, as when it was written.
        let begun = messages.pop_if(|_| goes_on).map(|message| given(&message, "content"));
        let messages = Value::from_iter(messages);
        let prompted = body
            .get_attr("add_generation_prompt")
            .ok()
            .filter(|said| !goes_on && said.kind() == ValueKind::Bool);
        let (first, last) = &self.borders;
        let own = [
            ("messages", messages),
            ("tools", given(&body, "tools")),
            ("add_generation_prompt", prompted.unwrap_or_else(|| true.into())),
            ("bos_token", first.into()),
            ("eos_token", last.into()),
        ];
        let more = given(&body, "chat_template_kwargs");
        let more = more.try_iter().into_iter().flatten().filter_map(|key| {
            let value = more.get_item(&key).ok()?;
            Some((key, value))
        });
        let context: Value = more.chain(own.map(|(key, value)| (key.into(), value))).collect();
        let template = self.environment.get_template("chat").expect("it was added when this was made");
        let mut text = template.render(context).map_err(|error| refused(&error))?;
        if goes_on {
            let begun = begun.as_ref().and_then(Value::as_str);
            text.push_str(
                begun.ok_or("continue_final_message: the last message must have text to go on with")?,
            );
        }
        Ok(text)
    }

    /// A message as templates expect it: its text as one, and what tools were called with as values.
    fn message(&self, message: &Value) -> Result<Value, String> {
        let change = |key: Value| {
            let value = message.get_item(&key).unwrap_or_default();
            let value = match key.as_str() {
                Some("content") if value.kind() == ValueKind::Seq => joined(&value)?.into(),
                Some("tool_calls") => items(message, "tool_calls").map(|call| called(&call)).collect(),
                _ => value,
            };
            Ok((key, value))
        };
        let keys = message.try_iter().map_err(|_| "a message is no object".to_owned())?;
        keys.map(change).collect::<Result<Vec<_>, String>>().map(Value::from_iter)
    }
}

/// The entries of a list, or nothing.
fn items(of: &Value, key: &str) -> impl Iterator<Item = Value> {
    let list = given(of, key);
    list.try_iter().into_iter().flatten()
}

/// A member, or none.
fn given(of: &Value, key: &str) -> Value {
    of.get_attr(key).ok().filter(|value| !value.is_undefined()).unwrap_or_else(|| ().into())
}

/// The texts of a message in parts, which this model cannot look at in any other form.
fn joined(parts: &Value) -> Result<String, String> {
    let mut text = String::new();
    for part in parts.try_iter().into_iter().flatten() {
        let kind = given(&part, "type");
        if kind.as_str() != Some("text") {
            return Err(format!("this model reads text and nothing else, no {kind}"));
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(given(&part, "text").as_str().unwrap_or_default());
    }
    Ok(text)
}

/// A call whose arguments, JSON in a string over HTTP, are what they say.
fn called(call: &Value) -> Value {
    let with = |of: &Value, key: &str, value: Value| -> Value {
        let keys: Vec<Value> = of.try_iter().into_iter().flatten().collect();
        let member = |name: Value| {
            let kept = of.get_item(&name).unwrap_or_default();
            let changed = name.as_str() == Some(key);
            (name, if changed { value.clone() } else { kept })
        };
        keys.into_iter().map(member).collect()
    };
    let function = given(call, "function");
    let arguments = given(&function, "arguments");
    match arguments.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok()) {
        Some(arguments) => with(call, "function", with(&function, "arguments", arguments)),
        None => call.clone(),
    }
}

/// As Hugging Face's filter: nothing is escaped for HTML.
fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    // Others change how it looks in ways that no template was seen to need.
    let text = json::written(value, indent)
        .map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))?;
    Ok(Value::from_safe_string(text))
}

/// What a template says to a conversation that it does not take.
fn refused(error: &Error) -> String {
    let why = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    format!("the model's template does not take this conversation: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(source: &str) -> Template {
        Template::new(Some(source.to_owned()), ("<s>".into(), "</s>".into())).unwrap()
    }

    const HELLO: &[u8] =
        br#"{"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]}"#;

    #[test]
    fn a_model_without_a_template_gets_chatml() {
        let usual = Template::new(None, (String::new(), String::new())).unwrap();
        assert_eq!(
            usual.write(HELLO).unwrap(),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
        );
    }

    #[test]
    fn templates_are_python_and_blocks_leave_no_blanks() {
        let source = "{{ bos_token }}\n{% for m in messages %}\n  {% if m['role'].startswith('sys') %}\n[{{ m.content.strip().upper() }}]\n  \
                      {% else %}\n{{ loop.index0 }}:{{ m.content }}{{ eos_token }}\n  {% endif %}\n{% endfor %}\n{% if add_generation_prompt %}A:{% endif %}";
        assert_eq!(template(source).write(HELLO).unwrap(), "<s>\n[BE BRIEF.]\n1:Hi</s>\nA:");
    }

    #[test]
    fn parts_of_text_are_joined_and_others_are_refused() {
        let plain = template("{{ messages[0].content }}");
        let body = br#"{"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]}"#;
        assert_eq!(plain.write(body).unwrap(), "a\nb");
        let body = br#"{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}"#;
        assert_eq!(plain.write(body).unwrap_err(), "this model reads text and nothing else, no image_url");
    }

    #[test]
    fn tools_and_what_they_were_called_with_keep_their_order() {
        let source = "{{ tools | tojson }}{% for m in messages %}{% if m.tool_calls %}{{ m.tool_calls[0].function.arguments.z }}\
                      {{ m.tool_calls[0].function.arguments | tojson }}{% endif %}{% endfor %}";
        let body = br#"{"tools": [{"type": "function", "function": {"name": "f", "b": 1, "a": "<x>"}}], "messages": [
            {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{\"z\": 1, \"y\": [true]}"}}]}]}"#;
        assert_eq!(
            template(source).write(body).unwrap(),
            r#"[{"type": "function", "function": {"name": "f", "b": 1, "a": "<x>"}}]1{"z": 1, "y": [true]}"#
        );
    }

    #[test]
    fn a_request_may_say_what_the_template_gets_but_not_in_the_place_of_the_conversation() {
        let source = "{{ thinks }}{{ messages | length }}{{ add_generation_prompt }}{{ tools is none }}";
        let body = br#"{"messages": [{"role": "user", "content": "Hi"}], "add_generation_prompt": false,
            "chat_template_kwargs": {"thinks": "no", "messages": []}}"#;
        assert_eq!(template(source).write(body).unwrap(), "no1FalseTrue");
    }

    #[test]
    fn an_answer_that_has_begun_goes_on_where_it_ends() {
        let usual = Template::new(None, (String::new(), String::new())).unwrap();
        let body = |content: &str| {
            format!(
                r#"{{"messages": [{{"role": "user", "content": "Hi"}}, {{"role": "assistant", "content": "{content}"}}],
                "continue_final_message": true, "add_generation_prompt": false}}"#
            )
        };
        assert_eq!(
            usual.write(body("One, two ").as_bytes()).unwrap(),
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nOne, two "
        );
        let other = template(
            "{% for m in messages %}[{{ m.content | trim }}]{% endfor %}{% if add_generation_prompt %}A: {% endif %}",
        );
        assert_eq!(other.write(body("One, two ").as_bytes()).unwrap(), "[Hi]A: One, two ");
        let none =
            br#"{"messages": [{"role": "assistant", "content": null}], "continue_final_message": true}"#;
        assert!(usual.write(none).unwrap_err().starts_with("continue_final_message: "));
    }

    #[test]
    fn what_a_template_objects_to_is_told() {
        let strict = template("{{ raise_exception('roles must alternate') }}");
        let why = strict.write(HELLO).unwrap_err();
        assert_eq!(why, "the model's template does not take this conversation: roles must alternate");
        assert!(
            Template::new(Some("{% if %}".into()), Default::default()).unwrap_err().contains("chat template")
        );
    }

    #[test]
    fn the_date_is_there_for_those_who_tell_it() {
        let today = template("{{ strftime_now('%Y-%m') }}").write(HELLO).unwrap();
        assert!(today.len() == 7 && today.starts_with("20"), "{today}");
    }
}
