//! Reads from a body what the way through the house needs, without building the document.
//!
//! Every byte is checked on the way, so that no backend gets JSON which another reader would see differently; what is
//! not known is passed on as it is. Hot path: no allocation but for what is kept.

use std::ops::Range;

use bytes::Bytes;
use plimsoll_engines::json::{JsonError, Next, Scanner, Str, Visit};
use plimsoll_types::{Blocks, Kind, Priority, ServeError, Splice, Text};

use super::prompt::{Part, Prompt};
use crate::config::Requests;

/// What was read from a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peeked {
    pub(crate) model: Text,
    pub(crate) model_at: Range<usize>,
    pub(crate) stream: bool,
    pub(crate) ask_usage: Option<Splice>,
    pub(crate) prompt_tokens: u32,
    pub(crate) blocks: Blocks,
    /// Where `cache_salt` stands, or could where there is none.
    pub(crate) salt_at: Range<usize>,
    /// How to put in that of the tenant.
    pub(crate) cache_salt: Option<Splice>,
    pub(crate) max_tokens: Option<u32>,
    pub(crate) priority: Priority,
}

/// Bytes of text that make a token, roughly, in the languages and vocabularies of today.
const BYTES_PER_TOKEN: usize = 4;

/// Reads the body of a request of `kind`. Where somebody wants to know what the prompt begins with, `prompt` brings the
/// space to find out.
///
/// # Errors
///
/// [`ServeError::Invalid`] that says what to change.
pub(crate) fn peek(
    kind: Kind,
    body: &Bytes,
    limits: &Requests,
    prompt: Option<&mut Prompt>,
) -> Result<Peeked, ServeError> {
    // Most bodies are ASCII, which is found out several times as fast.
    if !body.is_ascii()
        && let Err(error) = std::str::from_utf8(body)
    {
        return Err(bad_json(JsonError { at: error.valid_up_to(), what: "the body is not UTF-8" }));
    }
    // Only what writes tokens has a use for a prompt that is cached.
    let mut prompt = prompt.filter(|_| kind.streams());
    if let Some(prompt) = &mut prompt {
        prompt.clear();
    }
    let mut reader = Reader { scanner: Scanner::new(body), limits, found: Found::default(), prompt };
    reader.document().map_err(|problem| match problem {
        Problem::Json(error) => bad_json(error),
        Problem::Said(error) => error,
    })?;
    let Reader { found, prompt, .. } = reader;
    let salt = found.salt.clone();
    let mut peeked = found.done(kind, body)?;
    if let Some(prompt) = prompt {
        peeked.blocks = prompt.blocks(body, &[peeked.model.as_bytes(), &body[salt]]);
    }
    Ok(peeked)
}

fn bad_json(error: JsonError) -> ServeError {
    ServeError::Invalid {
        message: format!("the body is not valid JSON: {error}"),
        param: None,
        code: "invalid_json",
    }
}

fn invalid(param: &'static str, why: &str) -> Problem {
    let message = format!("`{param}` {why}");
    Problem::Said(ServeError::Invalid { message, param: Some(param), code: "invalid_value" })
}

enum Problem {
    Json(JsonError),
    Said(ServeError),
}

impl From<JsonError> for Problem {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

/// How a body asks for usage in its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Options {
    /// An object without the key: where its first member would stand, and whether it has others.
    Object { at: usize, empty: bool },
    /// The key, with this value.
    Include { value: bool, at: Range<usize> },
    /// `null`.
    Null(Range<usize>),
}

#[derive(Default)]
struct Found {
    seen: Vec<&'static str>,
    model: Option<(Str, String, bool)>,
    stream: bool,
    options: Option<Options>,
    prompt_bytes: usize,
    salt: Range<usize>,
    max_tokens: Option<u32>,
    priority: Range<usize>,
    first_member: usize,
}

/// Keys that are looked at. Each may stand once: of two, readers take different ones.
const KEYS: &[&str] = &[
    "model",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "n",
    "best_of",
    "messages",
    "prompt",
    "input",
    "instructions",
    "system",
    "tools",
    "query",
    "documents",
    "cache_salt",
    "priority",
];

struct Reader<'a> {
    scanner: Scanner<'a>,
    limits: &'a Requests,
    found: Found,
    prompt: Option<&'a mut Prompt>,
}

impl Reader<'_> {
    fn document(&mut self) -> Result<(), Problem> {
        if self.scanner.kind()? != Next::Object {
            return Err(Problem::Json(self.scanner.error("the body must be a JSON object")));
        }
        self.scanner.enter_object()?;
        self.found.first_member = self.scanner.position();
        let mut first = true;
        while let Some(key) = self.scanner.next_key(&mut first)? {
            match self.known(&key) {
                Some(name) => {
                    if self.found.seen.contains(&name) {
                        return Err(invalid(
                            name,
                            "is given twice; readers differ in which of the two they take",
                        ));
                    }
                    self.found.seen.push(name);
                    self.member(name)?;
                }
                None => {
                    self.refuse_closed(&key)?;
                    self.prose(None)?;
                }
            }
        }
        Ok(self.scanner.finish()?)
    }

    fn known(&self, key: &Str) -> Option<&'static str> {
        if !key.escaped {
            let raw = self.scanner.raw(key);
            return KEYS.iter().find(|name| name.as_bytes() == raw).copied();
        }
        KEYS.iter().find(|name| self.scanner.says(key, name)).copied()
    }

    /// Fields by which a caller would run templates, fetch files or skip the tokenizer at the backend
    /// (CVE-2025-61620, CVE-2025-62426, CVE-2025-62164) are closed unless the operator opens them.
    fn refuse_closed(&self, key: &Str) -> Result<(), Problem> {
        let Some(name) = self.limits.closed_fields.iter().find(|name| self.scanner.says(key, name)) else {
            return Ok(());
        };
        let message =
            format!("`{name}` is not accepted here; the operator can allow it in `requests.allow_fields`");
        Err(Problem::Said(ServeError::Invalid { message, param: None, code: "field_not_allowed" }))
    }

    fn member(&mut self, name: &'static str) -> Result<(), Problem> {
        match name {
            "model" => self.model(),
            "stream" => match self.scanner.kind()? {
                Next::Bool => {
                    self.found.stream = self.scanner.boolean()?;
                    Ok(())
                }
                Next::Null => Ok(self.scanner.pass()?),
                _ => Err(invalid("stream", "must be true or false")),
            },
            "stream_options" => self.stream_options(),
            "max_tokens" | "max_completion_tokens" | "max_output_tokens" => {
                let limit = self.whole(name, u64::from(u32::MAX / 2))?;
                self.found.max_tokens = limit.or(self.found.max_tokens);
                Ok(())
            }
            "n" | "best_of" => self.whole(name, self.limits.max_choices).map(|_| ()),
            "priority" => {
                self.found.priority = self.scanner.skip()?;
                Ok(())
            }
            "cache_salt" => {
                self.found.salt = self.prose(None)?;
                Ok(())
            }
            _ => {
                self.found.prompt_bytes += self.prose(Part::named(name))?.len();
                Ok(())
            }
        }
    }

    fn model(&mut self) -> Result<(), Problem> {
        if self.scanner.kind()? != Next::String {
            return Err(invalid("model", "must be a string"));
        }
        let str = self.scanner.string()?;
        let (text, escaped) =
            if str.escaped { (self.scanner.decode(&str), true) } else { (String::new(), false) };
        self.found.model = Some((str, text, escaped));
        Ok(())
    }

    fn whole(&mut self, name: &'static str, most: u64) -> Result<Option<u32>, Problem> {
        match self.scanner.kind()? {
            Next::Null => {
                self.scanner.pass()?;
                Ok(None)
            }
            Next::Number => match self.scanner.whole()? {
                Some(value) if (1..=most).contains(&value) => Ok(Some(value as u32)),
                _ => Err(invalid(name, &format!("must be a whole number from 1 to {most}"))),
            },
            _ => Err(invalid(name, "must be a whole number")),
        }
    }

    fn stream_options(&mut self) -> Result<(), Problem> {
        match self.scanner.kind()? {
            Next::Null => {
                let at = self.scanner.skip()?;
                self.found.options = Some(Options::Null(at));
                return Ok(());
            }
            Next::Object => {}
            _ => return Err(invalid("stream_options", "must be an object")),
        }
        self.scanner.enter_object()?;
        let (at, mut first, mut count, mut include) = (self.scanner.position(), true, 0, None);
        while let Some(key) = self.scanner.next_key(&mut first)? {
            count += 1;
            let wanted = self.scanner.says(&key, "include_usage");
            let value_at = self.scanner.skip()?;
            if wanted {
                include = Some(Options::Include { value: value_at.len() == 4, at: value_at });
            }
        }
        self.found.options = include.or(Some(Options::Object { at, empty: count == 0 }));
        Ok(())
    }

    /// Takes a value and looks at the links in it: an engine follows those that it finds under a key such as
    /// `image_url`, and where in the body those may stand changes with every engine.
    fn prose(&mut self, part: Option<Part>) -> Result<Range<usize>, Problem> {
        let prompt = match (&mut self.prompt, part) {
            (Some(prompt), Some(part)) => {
                prompt.enter(part);
                Some(&mut **prompt)
            }
            _ => None,
        };
        let mut look = Look { limits: self.limits, refused: None, prompt };
        let at = self.scanner.skip_with(&mut look)?;
        let Look { refused, .. } = look;
        match refused {
            None => Ok(at),
            Some(link) => {
                let link: String = link.chars().take(100).collect();
                let message = format!(
                    "the link {link:?} is not accepted here: send the content as a `data:` URL, or ask the operator \
                     to add its host to `requests.media_hosts`"
                );
                Err(Problem::Said(ServeError::Invalid { message, param: None, code: "link_not_allowed" }))
            }
        }
    }
}

/// Looks for links that may not be followed, and gathers the prompt.
struct Look<'a> {
    limits: &'a Requests,
    refused: Option<String>,
    prompt: Option<&'a mut Prompt>,
}

impl Visit for Look<'_> {
    fn key(&mut self, scanner: &Scanner<'_>, key: &Str, depth: u32) -> Result<(), JsonError> {
        if self.refused.is_none() && names_a_link(scanner, key) {
            let links = links_at(&mut scanner.clone())?;
            self.refused = links.into_iter().find(|link| !self.limits.may_link(link));
        }
        if let Some(prompt) = &mut self.prompt {
            prompt.key(scanner.raw(key), key.raw.clone(), depth);
        }
        Ok(())
    }

    fn open(&mut self, depth: u32) {
        if let Some(prompt) = &mut self.prompt {
            prompt.open(depth);
        }
    }

    fn scalar(&mut self, at: Range<usize>, depth: u32) {
        if let Some(prompt) = &mut self.prompt {
            prompt.scalar(at, depth);
        }
    }
}

/// Whether a key says that a link follows, however it is written.
fn names_a_link(scanner: &Scanner<'_>, key: &Str) -> bool {
    if key.escaped { scanner.decode(key).ends_with("url") } else { scanner.raw(key).ends_with(b"url") }
}

/// The texts at the scanner, alone or in an array, that are not content of the body itself.
fn links_at(scanner: &mut Scanner<'_>) -> Result<Vec<String>, JsonError> {
    let mut links = Vec::new();
    match scanner.kind()? {
        Next::String => links.extend(link_at(scanner)?),
        Next::Array => {
            let mut first = true;
            scanner.enter_array()?;
            while scanner.next_item(&mut first)? {
                match scanner.kind()? {
                    Next::String => links.extend(link_at(scanner)?),
                    _ => scanner.pass()?,
                }
            }
        }
        _ => {}
    }
    Ok(links)
}

fn link_at(scanner: &mut Scanner<'_>) -> Result<Option<String>, JsonError> {
    let str = scanner.string()?;
    // Content in the body itself may be megabytes: its beginning says what it is.
    let inside = scanner.raw(&str).starts_with(b"data:");
    Ok((!inside).then(|| scanner.decode(&str)))
}

impl Found {
    fn done(self, kind: Kind, body: &Bytes) -> Result<Peeked, ServeError> {
        let missing = || ServeError::Invalid {
            message: "`model` is missing: name the model that is to answer".into(),
            param: Some("model"),
            code: "missing_model",
        };
        let (str, decoded, escaped) = self.model.clone().ok_or_else(missing)?;
        let model = if escaped {
            Text::from(decoded)
        } else {
            Text::new(body.slice(str.raw.clone())).ok_or_else(missing)?
        };
        if model.is_empty() {
            return Err(missing());
        }
        let stream = self.stream && kind.streams();
        let ask_usage =
            if stream && matches!(kind, Kind::Chat | Kind::Completion) { self.ask_usage() } else { None };
        Ok(Peeked {
            model,
            model_at: str.raw.start - 1..str.raw.end + 1,
            stream,
            ask_usage,
            prompt_tokens: u32::try_from(self.prompt_bytes / BYTES_PER_TOKEN).unwrap_or(u32::MAX / 2),
            blocks: Blocks::default(),
            salt_at: if self.salt.is_empty() {
                self.first_member..self.first_member
            } else {
                self.salt.clone()
            },
            cache_salt: None,
            max_tokens: self.max_tokens,
            // What is no number is for the engine to refuse.
            priority: std::str::from_utf8(&body[self.priority])
                .ok()
                .and_then(|number| number.parse().ok())
                .map_or(Priority::Normal, Priority::of_number),
        })
    }

    fn ask_usage(&self) -> Option<Splice> {
        let (at, text) = match &self.options {
            None => (self.first_member..self.first_member, "\"stream_options\":{\"include_usage\":true},"),
            Some(Options::Null(at)) => (at.clone(), "{\"include_usage\":true}"),
            Some(Options::Object { at, empty: true }) => (*at..*at, "\"include_usage\":true"),
            Some(Options::Object { at, empty: false }) => (*at..*at, "\"include_usage\":true,"),
            Some(Options::Include { value: false, at }) => (at.clone(), "true"),
            Some(Options::Include { value: true, .. }) => return None,
        };
        Some(Splice { at, text: Text::from_static(text) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(body: &str) -> Result<Peeked, ServeError> {
        peek(Kind::Chat, &Bytes::copy_from_slice(body.as_bytes()), &Requests::default(), None)
    }

    fn why(body: &str) -> String {
        look(body).unwrap_err().to_string()
    }

    fn spliced(body: &str) -> String {
        let Splice { at, text } = look(body).unwrap().ask_usage.unwrap();
        format!("{}{text}{}", &body[..at.start], &body[at.end..])
    }

    #[test]
    fn what_is_needed_is_found_and_the_rest_is_left() {
        let body = r#" {"x":[1,{"model":"no"}],"model":"m","stream":true,"max_tokens":7,"messages":[{"content":"hello there"}]}"#;
        let peeked = look(body).unwrap();
        assert_eq!((&*peeked.model, &body[peeked.model_at.clone()]), ("m", "\"m\""));
        assert!(peeked.stream && peeked.max_tokens == Some(7) && peeked.prompt_tokens > 3);
    }

    #[test]
    fn a_lower_number_is_more_urgent_and_what_is_no_number_says_nothing() {
        let priority = |value: &str| {
            look(&format!(r#"{{"priority":{value},"model":"m","messages":[]}}"#)).unwrap().priority
        };
        assert_eq!(
            (priority("-3"), priority("0"), priority("7")),
            (Priority::High, Priority::Normal, Priority::Low)
        );
        assert_eq!((priority("null"), priority("\"high\"")), (Priority::Normal, Priority::Normal));
    }

    #[test]
    fn usage_is_asked_for_in_every_form_that_a_body_can_have() {
        for (options, expected) in [
            ("", r#"{"stream_options":{"include_usage":true},"model":"m","stream":true}"#),
            (
                r#","stream_options":null"#,
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#","stream_options":{}"#,
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#","stream_options":{"a":1}"#,
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true,"a":1}}"#,
            ),
            (
                r#","stream_options":{"include_usage":false}"#,
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
            ),
        ] {
            assert_eq!(spliced(&format!(r#"{{"model":"m","stream":true{options}}}"#)), expected);
        }
        let asked = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#;
        assert_eq!(look(asked).unwrap().ask_usage, None);
        assert_eq!(look(r#"{"model":"m"}"#).unwrap().ask_usage, None);
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_however_it_is_written() {
        assert!(why(r#"{"model":"m","model":"n"}"#).contains("given twice"));
        assert!(why(r#"{"model":"m","mod\u0065l":"n"}"#).contains("given twice"));
    }

    #[test]
    fn values_that_cannot_stand_are_refused_with_the_name_of_their_key() {
        for (body, expected) in [
            ("{}", "`model` is missing"),
            (r#"{"model":null}"#, "`model` must be a string"),
            (r#"{"model":"m","stream":"yes"}"#, "`stream` must be"),
            (r#"{"model":"m","max_tokens":-1}"#, "`max_tokens` must be"),
            (r#"{"model":"m","max_tokens":1e999}"#, "`max_tokens` must be"),
            (r#"{"model":"m","n":2147483648}"#, "`n` must be a whole number from 1 to 128"),
            (r#"{"model":"m","chat_template":"x"}"#, "`chat_template` is not accepted"),
            ("[1]", "must be a JSON object"),
            ("{\"model\":\"m\"", "the body is not valid JSON"),
        ] {
            assert!(why(body).contains(expected), "{body}: {}", why(body));
        }
    }

    #[test]
    fn links_to_the_inside_are_refused_and_content_in_the_body_is_not() {
        let image = |url: &str| {
            format!(
                r#"{{"model":"m","messages":[{{"content":[{{"type":"image_url","image_url":{{"url":"{url}"}}}}]}}]}}"#
            )
        };
        for url in
            ["http://169.254.169.254/", "file:///etc/passwd", "http://[::1]/", "https://example.com/a.png"]
        {
            assert!(why(&image(url)).contains("is not accepted here"), "{url}");
        }
        for hidden in [
            r#"{"model":"m","messages":[{"image_url":{"\u0075rl":"http://10.0.0.1/"}}]}"#,
            r#"{"model":"m","messages":[{"image_u\u0072l":"http://10.0.0.1/"}]}"#,
            r#"{"model":"m","messages":[{"image_url":["data:x","http://10.0.0.1/"]}]}"#,
            r#"{"model":"m","text_1":{"content":[{"image_url":{"url":"http://10.0.0.1/"}}]}}"#,
        ] {
            assert!(why(hidden).contains("is not accepted here"), "{hidden}");
        }
        assert!(look(&image("data:image/png;base64,AAAA")).is_ok());
        assert!(look(r#"{"model":"m","tools":[{"function":{"parameters":{"properties":{"url":{"type":"string"}}}}}]}"#).is_ok());
    }
}
