//! What is looked at inside the values of a body: links that an engine would follow, and the prompt. Hot path: no
//! allocation but for links and for keys with escapes.
//!
//! An engine follows links in content parts of media: `image_url` and its like, parts with a media `type`, and the
//! `server_url` of MCP tools. Whatever else looks like a link is text: what a model gave to a tool, citations, metadata,
//! schemas. Agents send that again with every turn.

use std::ops::Range;

use plimsoll_engines::json::{JsonError, MAX_DEPTH, Next, Scanner, Str, Visit};

use crate::config::Requests;
use crate::openai::prompt::Prompt;

/// What stands inside an object or an array.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    /// Anything.
    Any,
    /// Media: every link is one that an engine would follow.
    Media,
    /// Text, whatever it looks like.
    Text,
}

/// An object or an array that is open.
#[derive(Clone, Copy)]
struct Open {
    inside: Inside,
    /// Whether its `type` says that it is media, once that was looked for.
    is_media: Option<bool>,
    /// Where its first key stands; 0 before that.
    from: u32,
}

const CLOSED: Open = Open { inside: Inside::Any, is_media: None, from: 0 };

/// Keys under which media stand, whatever stands around them.
const MEDIA: [&str; 9] = [
    "image_url",
    "video_url",
    "audio_url",
    "file_url",
    "input_image",
    "input_video",
    "input_audio",
    "input_file",
    SERVER,
];
/// Keys under which a part that is media by its type has them.
const OF_PART: [&str; 6] = ["url", "uri", "image", "video", "audio", "source"];
/// Types of parts that are media; `url` is that of a source.
const TYPES: [&str; 14] = [
    "image",
    "image_url",
    "input_image",
    "video",
    "video_url",
    "input_video",
    "audio",
    "audio_url",
    "input_audio",
    "file",
    "file_url",
    "input_file",
    "document",
    "url",
];
/// Keys under which stands what no engine reads as media.
const TEXT: [&str; 13] = [
    "input",
    "arguments",
    "annotations",
    "citations",
    "metadata",
    "parameters",
    "input_schema",
    "json_schema",
    "schema",
    "action",
    "url_citation",
    "results",
    "sources",
];
/// Where an engine finds an MCP server.
const SERVER: &str = "server_url";
/// Keys inside media that hold no content.
const NAMES: [&str; 9] =
    ["type", "detail", "format", "media_type", "id", "file_id", "filename", "title", "data"];

/// Looks for links that may not be followed, and gathers the prompt.
pub(super) struct Look<'a> {
    limits: &'a Requests,
    /// The first link that may not.
    pub(super) refused: Option<String>,
    prompt: Option<&'a mut Prompt>,
    open: [Open; MAX_DEPTH as usize + 1],
    /// What stands in the container that begins next.
    next: Inside,
}

impl<'a> Look<'a> {
    pub(super) fn new(limits: &'a Requests, prompt: Option<&'a mut Prompt>) -> Self {
        Self { limits, refused: None, prompt, open: [CLOSED; MAX_DEPTH as usize + 1], next: Inside::Any }
    }

    /// Looks at the value behind `key`.
    fn look(&mut self, scanner: &Scanner<'_>, key: &Str, depth: u32) -> Result<(), JsonError> {
        let open = &mut self.open[depth as usize];
        if open.from == 0 {
            open.from = (key.raw.start - 1) as u32;
        }
        let inside = open.inside;
        self.next = inside;
        if inside == Inside::Text {
            return Ok(());
        }
        let named = |names: &[&str]| match key.escaped {
            true => names.contains(&&*scanner.decode(key)),
            false => names.iter().any(|name| name.as_bytes() == scanner.raw(key)),
        };
        if inside == Inside::Media {
            return if named(&NAMES) { Ok(()) } else { self.check(scanner, false) };
        }
        if named(&MEDIA) {
            self.next = Inside::Media;
            return self.check(scanner, named(&[SERVER]));
        }
        if named(&TEXT) {
            self.next = Inside::Text;
        } else if named(&OF_PART) && self.is_media(scanner, depth) {
            self.next = Inside::Media;
            return self.check(scanner, false);
        }
        Ok(())
    }

    /// Whether the object at this depth is a part of a media type. It is read for its type once.
    fn is_media(&mut self, scanner: &Scanner<'_>, depth: u32) -> bool {
        let open = &mut self.open[depth as usize];
        *open
            .is_media
            .get_or_insert_with(|| is_media_at(&scanner.text()[open.from as usize..]).unwrap_or(false))
    }

    /// Checks the texts at the scanner, alone or in an array.
    fn check(&mut self, scanner: &Scanner<'_>, is_server: bool) -> Result<(), JsonError> {
        let links = links_at(&mut scanner.clone(), is_server)?;
        if self.refused.is_none() {
            let may = |link: &String| match is_server {
                true => self.limits.may_call(link),
                false => self.limits.may_link(link),
            };
            self.refused = links.into_iter().find(|link| !may(link));
        }
        Ok(())
    }
}

impl Visit for Look<'_> {
    fn key(&mut self, scanner: &Scanner<'_>, key: &Str, depth: u32) -> Result<(), JsonError> {
        self.look(scanner, key, depth)?;
        if let Some(prompt) = &mut self.prompt {
            prompt.key(scanner.raw(key), key.raw.clone(), depth);
        }
        Ok(())
    }

    fn open(&mut self, depth: u32) {
        // What stands in an array that stands in an array is of the same kind.
        let around = self.open[depth as usize - 1].inside;
        let inside = if self.next == Inside::Any { around } else { self.next };
        self.open[depth as usize] = Open { inside, ..CLOSED };
        self.next = Inside::Any;
        if let Some(prompt) = &mut self.prompt {
            prompt.open(depth);
        }
    }

    fn scalar(&mut self, at: Range<usize>, depth: u32) {
        self.next = Inside::Any;
        if let Some(prompt) = &mut self.prompt {
            prompt.scalar(at, depth);
        }
    }
}

/// Whether the members that begin here have a `type` of media.
fn is_media_at(members: &[u8]) -> Result<bool, JsonError> {
    let (mut scanner, mut first) = (Scanner::new(members), true);
    while let Some(key) = scanner.next_key(&mut first)? {
        if scanner.says(&key, "type") && scanner.kind()? == Next::String {
            let name = scanner.string()?;
            return Ok(TYPES.iter().any(|known| scanner.says(&name, known)));
        }
        scanner.skip()?;
    }
    Ok(false)
}

/// The texts at the scanner, alone or in an array, that are not content of the body itself.
fn links_at(scanner: &mut Scanner<'_>, all: bool) -> Result<Vec<String>, JsonError> {
    let mut links = Vec::new();
    match scanner.kind()? {
        Next::String => links.extend(link_at(scanner, all)?),
        Next::Array => {
            let mut first = true;
            scanner.enter_array()?;
            while scanner.next_item(&mut first)? {
                match scanner.kind()? {
                    Next::String => links.extend(link_at(scanner, all)?),
                    _ => {
                        scanner.skip()?;
                    }
                }
            }
        }
        _ => {}
    }
    Ok(links)
}

fn link_at(scanner: &mut Scanner<'_>, all: bool) -> Result<Option<String>, JsonError> {
    /// Bytes from which on a text in the letters of base64 is content; a file's name is shorter.
    const CONTENT: usize = 512;
    let str = scanner.string()?;
    let raw = scanner.raw(&str);
    if raw.starts_with(b"data:") && !all {
        // Content in the body itself may be megabytes: its beginning says what it is.
        return Ok(None);
    }
    let in_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=-_".contains(byte);
    if raw.len() >= CONTENT && raw[..CONTENT].iter().all(in_base64) {
        return Ok(None);
    }
    // Paths of files are links too: some engines open them. Pictures in base64 may begin like one, with `/9j/`.
    let is_path = raw.starts_with(b"/") && !raw.starts_with(b"/9j/");
    let leads_somewhere = all || is_path || raw.iter().any(|byte| b":.\\".contains(byte));
    Ok(leads_somewhere.then(|| scanner.decode(&str)))
}
