//! Asks a backend for something beside its models: whether it is well, what its metrics are.

use std::future::poll_fn;

use bytes::BytesMut;
use plimsoll_types::Kind;

use super::answer::Wire;
use super::{Connections, OpenAi};
use crate::io::Connected;
use crate::outgoing::{Fields, Message, Pieces};
use crate::{Failure, http1};

/// What a backend answered, be it a refusal.
#[derive(Debug)]
pub struct Document {
    /// The status, as HTTP counts them.
    pub status: u16,
    /// The body.
    pub body: BytesMut,
}

impl OpenAi {
    /// Connects, TLS included, for as long as the caller waits; counted nowhere.
    ///
    /// # Errors
    ///
    /// Where there is no connection; [`Failure::REFUSED`] where nobody listens.
    pub async fn connect(&self) -> Result<Connected, Failure> {
        Ok(Connected::new(self.backend.endpoint.dial(&*self.clock).await?))
    }

    /// The status of what stands under `path`, asked over `connected` and nothing else; over HTTP/2, over the connection
    /// that all share. The rest of the answer is not waited for.
    ///
    /// # Errors
    ///
    /// Where it does not answer, or with something that is not HTTP.
    pub async fn status_over(&self, connected: Connected, path: &str) -> Result<u16, Failure> {
        let target = self.backend.target_of(path);
        let mut message = get(&target);
        let mut wire = match &self.connections {
            Connections::Http1(pool) => {
                message.fields.add("connection", "close");
                self.authorize(&mut message);
                let head = self.backend.http1_head(&message);
                Wire::Http1(http1::Exchange::over(pool, connected.io, head))
            }
            Connections::Http2(_) => self.send(message),
        };
        Ok(poll_fn(|cx| wire.poll_head(cx)).await?.status)
    }

    /// What stands under `path`.
    ///
    /// # Errors
    ///
    /// Where it cannot be reached, does not answer, or answers with more than `limit` bytes.
    pub async fn ask(&self, path: &str, limit: usize) -> Result<Document, Failure> {
        let target = self.backend.target_of(path);
        read(self.send(get(&target)), limit).await
    }

    /// What the backend says to `method` of what stands `below` the path of responses, with this query.
    ///
    /// # Errors
    ///
    /// Where it cannot be reached, does not answer, or answers with more than 32 MiB.
    pub async fn ask_of_response(
        &self,
        method: &'static str,
        below: &str,
        query: Option<&str>,
    ) -> Result<Document, Failure> {
        const LIMIT: usize = 32 << 20;
        let path = format!("{}{below}", Kind::Response.path());
        let mut target = self.backend.target_of(&path);
        if let Some(query) = query {
            target.push(if target.contains('?') { '&' } else { '?' });
            target.push_str(query);
        }
        read(self.send(Message { method, ..get(&target) }), LIMIT).await
    }
}

fn get(target: &str) -> Message<'_> {
    Message { method: "GET", target, fields: Fields::default(), pieces: Pieces::new(), fresh: false }
}

async fn read(mut wire: Wire, limit: usize) -> Result<Document, Failure> {
    let head = poll_fn(|cx| wire.poll_head(cx)).await?;
    let mut document = Document { status: head.status, body: BytesMut::new() };
    while let Some(bytes) = poll_fn(|cx| wire.poll_data(cx)).await {
        document.body.extend_from_slice(&bytes?);
        if document.body.len() > limit {
            return Err(Failure::Broken("the answer is too long"));
        }
    }
    Ok(document)
}
