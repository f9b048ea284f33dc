use std::sync::Arc;
use std::task::{Context, Poll, ready};

use plimsoll_types::{Chunk, Head, Peeked, Request, Text, Usage};

use super::ask::{Ask, Wanted};
use super::mailbox::{Declined, Mailbox, Taken};
use crate::simulated::ask::{Fields, Wrong, inputs};
use crate::simulated::dialect::Origin;
use crate::simulated::known::{Known, embedding};
use crate::{Answer, Failure};

/// The vectors of an engine that computes steps, on their way. Dropping it leaves unread what has not been read.
pub(super) struct EmbeddingAnswer {
    mailbox: Arc<Mailbox>,
    origin: Origin,
    base64: bool,
    texts: usize,
    taken: Option<Taken>,
    body: Option<Chunk>,
}

impl EmbeddingAnswer {
    /// Reads a request whose answer comes into `mailbox`.
    pub(super) fn read(
        request: &Request,
        origin: Origin,
        mailbox: Arc<Mailbox>,
    ) -> Result<(Ask, Self), Wrong> {
        let fields = Fields::read(&request.body)?;
        let base64 = embedding::is_base64(&fields)?;
        let prompts: Vec<_> = inputs(&fields, "input")?.into_iter().map(Into::into).collect();
        let texts = prompts.len();
        let ask =
            Ask { param: "input", ..Ask::new(prompts, Wanted::Vectors(embedding::dimensions(&fields)?)) };
        Ok((ask, Self { mailbox, origin, base64, texts, taken: None, body: None }))
    }

    fn poll_known(&mut self, cx: &mut Context<'_>) -> Poll<Result<Known, Failure>> {
        let taken = match self.taken {
            Some(taken) => taken,
            None => match ready!(self.mailbox.poll_verdict(cx)) {
                Ok(taken) => *self.taken.insert(taken),
                Err(Declined::Failed(failure)) => return Poll::Ready(Err(failure)),
                Err(Declined::Wrong(wrong)) => return Poll::Ready(Ok(wrong.into())),
            },
        };
        let numbers = taken.vector as usize;
        let vectors = ready!(self.mailbox.poll_vectors(self.texts * numbers, cx))?;
        let usage = Usage { prompt: taken.tokens, ..Usage::default() };
        let each = vectors.chunks_exact(numbers.max(1)).map(<[f32]>::to_vec);
        Poll::Ready(Ok(embedding::answer(each, self.base64, (&self.origin, usage))))
    }
}

impl Answer for EmbeddingAnswer {
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        let Known { status, body, usage } = ready!(self.poll_known(cx))?;
        let length = Some(body.len() as u64);
        self.body = Some(Chunk { bytes: body, peeked: Peeked { usage, ..Peeked::default() } });
        let content_type = Text::from_static("application/json");
        Poll::Ready(Ok(Head { status, content_type, length, ..Head::default() }))
    }

    fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Chunk, Failure>>> {
        Poll::Ready(self.body.take().map(Ok))
    }
}

impl Drop for EmbeddingAnswer {
    fn drop(&mut self) {
        self.mailbox.leave();
    }
}
