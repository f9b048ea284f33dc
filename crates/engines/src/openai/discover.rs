//! Asks a backend which models it has.

use std::future::poll_fn;

use bytes::Bytes;

use super::OpenAi;
use super::answer::OpenAiAnswer;
use crate::json::{JsonError, Next, Scanner};
use crate::outgoing::{Fields, Message, Pieces};
use crate::{Answer, Failure};
use plimsoll_types::Kind;

/// What a backend said when it was asked for its models.
#[derive(Debug)]
pub struct Listing {
    /// The status, as HTTP counts them.
    pub status: u16,
    /// The models by name, where that is what it said.
    pub models: Option<Vec<String>>,
    /// The body, as it came.
    pub body: Bytes,
}

impl OpenAi {
    /// The models that the backend lists under `/v1/models`, by name.
    ///
    /// # Errors
    ///
    /// Where it cannot be reached or what it says is not such a list.
    pub async fn models(&self) -> Result<Vec<String>, Failure> {
        let listing = self.list().await?;
        listing.models.ok_or(Failure::Broken("the answer is not a list of models"))
    }

    /// What the backend says under `/v1/models`, be it a refusal.
    ///
    /// # Errors
    ///
    /// Where it cannot be reached or does not answer.
    pub async fn list(&self) -> Result<Listing, Failure> {
        let wire = self.send(Message {
            method: "GET",
            target: &self.backend.models_target,
            fields: Fields::default(),
            pieces: Pieces::new(),
            fresh: false,
        });
        let mut answer = OpenAiAnswer::new(&self.backend, wire, (Kind::Chat, false));
        let head = poll_fn(|cx| answer.poll_head(cx)).await?;
        let (status, mut listing) =
            (head.status, Listing { status: head.status, models: None, body: Bytes::new() });
        if head.stream {
            return Ok(listing);
        }
        if let Some(chunk) = poll_fn(|cx| answer.poll_chunk(cx)).await {
            listing.body = chunk?.bytes;
        }
        listing.models = if status == 200 { names(&listing.body).ok() } else { None };
        Ok(listing)
    }
}

pub(crate) fn names(list: &[u8]) -> Result<Vec<String>, JsonError> {
    let mut names = Vec::new();
    std::str::from_utf8(list).map_err(|_| JsonError { at: 0, what: "not UTF-8" })?;
    let (mut scanner, mut first) = (Scanner::new(list), true);
    scanner.enter_object()?;
    while let Some(key) = scanner.next_key(&mut first)? {
        if !scanner.says(&key, "data") || scanner.kind()? != Next::Array {
            scanner.skip()?;
            continue;
        }
        let mut first = true;
        scanner.enter_array()?;
        while scanner.next_item(&mut first)? {
            let mut first = true;
            scanner.enter_object()?;
            while let Some(key) = scanner.next_key(&mut first)? {
                if scanner.says(&key, "id") && scanner.kind()? == Next::String {
                    let id = scanner.string()?;
                    names.push(scanner.decode(&id));
                } else {
                    scanner.skip()?;
                }
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_what_llama_cpp_says() {
        let list = br#"{"models":[{"name":"tiny"}],"object":"list","data":[{"id":"tiny","object":"model","meta":{"id":"no"}},{"id":"b\u00e9"}]}"#;
        assert_eq!(names(list).unwrap(), ["tiny", "bé"]);
        assert!(names(b"[]").is_err());
    }
}
