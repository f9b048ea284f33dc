//! Asks a backend which models it has.

use std::future::poll_fn;

use super::OpenAi;
use super::answer::OpenAiAnswer;
use crate::json::{JsonError, Next, Scanner};
use crate::outgoing::{Fields, Message, Pieces};
use crate::{Answer, Failure};
use plimsoll_types::Kind;

impl OpenAi {
    /// The models that the backend lists under `/v1/models`, by name.
    ///
    /// # Errors
    ///
    /// Where it cannot be reached or what it says is not such a list.
    pub async fn models(&self) -> Result<Vec<String>, Failure> {
        const NO_LIST: Failure = Failure::Broken("the answer is not a list of models");
        let wire = self.send(Message {
            method: "GET",
            target: &self.backend.models_target,
            fields: Fields::default(),
            pieces: Pieces::new(),
            fresh: false,
        });
        let mut answer = OpenAiAnswer::new(wire, Kind::Chat, false);
        let head = poll_fn(|cx| answer.poll_head(cx)).await?;
        if head.status != 200 || head.stream {
            return Err(NO_LIST);
        }
        let chunk = poll_fn(|cx| answer.poll_chunk(cx)).await.ok_or(NO_LIST)??;
        names(&chunk.bytes).map_err(|_| NO_LIST)
    }
}

fn names(list: &[u8]) -> Result<Vec<String>, JsonError> {
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
