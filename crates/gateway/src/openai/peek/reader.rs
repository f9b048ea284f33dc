//! Walks over a body, member by member, and keeps what is looked for. Hot path: no allocation but for what is kept.

use std::ops::Range;

use plimsoll_engines::json::{Next, Scanner, Str};
use plimsoll_types::ServeError;

use super::found::{Found, Options};
use super::look::Look;
use super::{Problem, invalid};
use crate::config::Requests;
use crate::openai::prompt::{Part, Prompt};

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
    "previous_response_id",
    "conversation",
];

/// What there is in `body`; the prompt goes into `prompt`.
pub(super) fn read(body: &[u8], limits: &Requests, prompt: Option<&mut Prompt>) -> Result<Found, Problem> {
    let mut reader = Reader { scanner: Scanner::new(body), limits, found: Found::default(), prompt };
    reader.document()?;
    Ok(reader.found)
}

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
                let limit = self.limit(name)?;
                self.found.max_tokens = limit.or(self.found.max_tokens);
                Ok(())
            }
            "n" | "best_of" => self.whole(name, self.limits.max_choices).map(|_| ()),
            "priority" => {
                self.found.priority = self.scanner.skip()?;
                Ok(())
            }
            "previous_response_id" | "conversation" => self.home(),
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

    /// The id of a response or conversation, alone or as the `id` of an object.
    fn home(&mut self) -> Result<(), Problem> {
        match self.scanner.kind()? {
            Next::String => {
                let id = self.scanner.string()?;
                self.found.home = Some(self.scanner.decode(&id));
            }
            Next::Object => {
                let mut first = true;
                self.scanner.enter_object()?;
                while let Some(key) = self.scanner.next_key(&mut first)? {
                    if self.scanner.says(&key, "id") && self.scanner.kind()? == Next::String {
                        let id = self.scanner.string()?;
                        self.found.home = Some(self.scanner.decode(&id));
                    } else {
                        self.scanner.skip()?;
                    }
                }
            }
            _ => {
                self.scanner.skip()?;
            }
        }
        Ok(())
    }

    fn model(&mut self) -> Result<(), Problem> {
        if self.scanner.kind()? != Next::String {
            return Err(invalid("model", "must be a string"));
        }
        let str = self.scanner.string()?;
        let text = if str.escaped { self.scanner.decode(&str) } else { String::new() };
        self.found.model = Some((str, text));
        Ok(())
    }

    /// A limit on tokens. Engines take -1 (no limit) and 0 (a cache is warmed, a prompt is scored), which count as not said
    /// here, and 64.0 of languages that have no whole numbers.
    fn limit(&mut self, name: &'static str) -> Result<Option<u32>, Problem> {
        match self.scanner.kind()? {
            Next::Null => {
                self.scanner.pass()?;
                Ok(None)
            }
            Next::Number => {
                let at = self.scanner.skip()?;
                let number = std::str::from_utf8(&self.scanner.text()[at])
                    .ok()
                    .and_then(|text| text.parse::<f64>().ok());
                let most = f64::from(u32::MAX / 2);
                if !number.is_some_and(|number| (-1.0..=most).contains(&number)) {
                    return Err(invalid(
                        name,
                        &format!("must be a whole number up to {most}, or -1 for no limit"),
                    ));
                }
                Ok(number.filter(|number| (1.0..=most).contains(number)).map(|number| number as u32))
            }
            _ => Err(invalid(name, "must be a whole number")),
        }
    }

    fn whole(&mut self, name: &'static str, most: u64) -> Result<Option<u32>, Problem> {
        match self.scanner.kind()? {
            Next::Null => {
                self.scanner.pass()?;
                Ok(None)
            }
            Next::Number => match self.scanner.whole()? {
                // OpenAI's legacy `best_of` may be 0.
                Some(value) if value <= most => Ok(Some(value as u32)),
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

    /// Takes a value and looks at the links in it that an engine would follow.
    fn prose(&mut self, part: Option<Part>) -> Result<Range<usize>, Problem> {
        let prompt = match (&mut self.prompt, part) {
            (Some(prompt), Some(part)) => {
                prompt.enter(part);
                Some(&mut **prompt)
            }
            _ => None,
        };
        let mut look = Look::new(self.limits, prompt);
        let at = self.scanner.skip_with(&mut look)?;
        let Look { refused, .. } = look;
        match refused {
            None => Ok(at),
            Some(link) => {
                let link: String = link.chars().take(100).collect();
                let message = format!(
                    "the link {link:?} is not accepted here: send the content as a `data:` URL, or ask the operator \
                     to add its host to `requests.media_hosts` (of an MCP server: to `requests.mcp_hosts`)"
                );
                Err(Problem::Said(ServeError::Invalid { message, param: None, code: "link_not_allowed" }))
            }
        }
    }
}
