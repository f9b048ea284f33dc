//! Makes the one call of a batch, and tells each of its members what became of it.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use plimsoll_engines::batch::{Joinable, join, split};
use plimsoll_engines::{Answer, Call, Engine, Failure};
use plimsoll_types::{Clock, Head, Request};

use super::group::Batch;
use super::member::Told;

/// The longest answer to a joined call: 4,096 vectors of 4,096 numbers fit, were they written out in full.
const MAX_ANSWER: usize = 256 << 20;
const TOO_LONG: Failure = Failure::Broken("its answer to a joined call is too long");
const NO_ANSWER: Failure = Failure::Broken("its answer to a joined call is not one for each caller");

/// Makes the call of `batch`.
pub(super) async fn drive(mut batch: Batch, engine: Rc<dyn Engine>, clock: Arc<dyn Clock>) {
    let mut under_way = batch.under_way.take();
    if let [only] = &batch.members[..] {
        // Its own bytes, and nothing to be undone.
        return only.tell(Told::Alone(under_way));
    }
    let parts: Vec<(&Request, &Joinable)> =
        batch.members.iter().map(|member| (&member.request, &member.read)).collect();
    let Some(first) = batch.members.first() else { return };
    let joined = join(&parts);
    let answer = engine.start(&Call { request: &joined, alias: first.alias.as_deref(), again: false });
    let mut exchange = Exchange { answer, head: None, body: BytesMut::new() };
    let came = poll_fn(|cx| match exchange.poll(cx) {
        Poll::Pending if batch.wanted.by_nobody(cx.waker()) => Poll::Ready(None),
        poll => poll.map(Some),
    })
    .await;
    // Nobody is there to be told.
    let Some(came) = came else { return };
    let reads: Vec<&Joinable> = parts.iter().map(|(_, read)| *read).collect();
    let outcome = came.and_then(|(head, body)| match head.status {
        200..=299 => match split(&body, &reads) {
            Ok(shares) => Ok(Outcome::Shares(head, shares)),
            Err(error) => {
                tracing::warn!(backend_error = %error, "a joined call was not answered for each of its parts");
                Err(NO_ANSWER)
            }
        },
        status if is_about_a_part(status) => Ok(Outcome::Alone),
        _ => Ok(Outcome::Status(head)),
    });
    let members = std::mem::take(&mut batch.members);
    match outcome {
        Ok(Outcome::Shares(head, shares)) => {
            // Before anybody hears: who asks again at once finds the lane free.
            if let Some(under_way) = under_way.take() {
                under_way.came_back(clock.now());
            }
            for (member, share) in members.iter().zip(shares) {
                let head = Head { length: Some(share.body.len() as u64), ..head.clone() };
                member.tell(Told::Answered(head, share));
            }
        }
        Ok(Outcome::Alone) => {
            if let Some(under_way) = &under_way {
                under_way.metrics().undone.increment(1);
            }
            members.iter().for_each(|member| member.tell(Told::Alone(None)));
        }
        Ok(Outcome::Status(head)) => {
            members.iter().for_each(|member| member.tell(Told::Status(head.clone())));
        }
        Err(failure) => members.iter().for_each(|member| member.tell(Told::Failed(failure))),
    }
}

enum Outcome {
    Shares(Head, Vec<plimsoll_engines::batch::Share>),
    Alone,
    Status(Head),
}

/// Whether a status may be the fault of one of those who were joined: each then asks by himself, so that nobody pays for
/// another. Not where it is about who calls or how often. 500 is what llama.cpp says to a text that is too long.
fn is_about_a_part(status: u16) -> bool {
    match status {
        401 | 403 | 407 | 408 | 429 => false,
        status => (400..=499).contains(&status) || matches!(status, 500 | 501),
    }
}

/// An answer, gathered to its end.
struct Exchange {
    answer: Box<dyn Answer>,
    head: Option<Head>,
    body: BytesMut,
}

impl Exchange {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Head, Bytes), Failure>> {
        if self.head.is_none() {
            let head = match ready!(self.answer.poll_head(cx)) {
                Ok(head) if head.stream => return Poll::Ready(Err(NO_ANSWER)),
                Ok(head) => head,
                Err(failure) => return Poll::Ready(Err(failure)),
            };
            if !(200..=299).contains(&head.status) {
                return Poll::Ready(Ok((head, Bytes::new())));
            }
            self.head = Some(head);
        }
        loop {
            let chunk = ready!(self.answer.poll_chunk(cx)).transpose()?;
            let done = chunk.as_ref().is_none_or(|chunk| chunk.peeked.done);
            let bytes = chunk.map(|chunk| chunk.bytes).unwrap_or_default();
            if self.body.len() + bytes.len() > MAX_ANSWER {
                return Poll::Ready(Err(TOO_LONG));
            }
            if done {
                let head = self.head.take().unwrap_or_default();
                // The usual case: all of it in one piece, which is not copied.
                if self.body.is_empty() {
                    return Poll::Ready(Ok((head, bytes)));
                }
                self.body.extend_from_slice(&bytes);
                return Poll::Ready(Ok((head, self.body.split().freeze())));
            }
            self.body.extend_from_slice(&bytes);
        }
    }
}
