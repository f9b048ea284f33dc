//! What is looked at inside the values of a body: links that an engine would follow, and the prompt. Hot path: no
//! allocation but for links and for keys with escapes.

use std::ops::Range;

use plimsoll_engines::json::{JsonError, Next, Scanner, Str, Visit};

use crate::config::Requests;
use crate::openai::prompt::Prompt;

/// Looks for links that may not be followed, and gathers the prompt.
pub(super) struct Look<'a> {
    pub(super) limits: &'a Requests,
    /// The first link that may not.
    pub(super) refused: Option<String>,
    pub(super) prompt: Option<&'a mut Prompt>,
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
