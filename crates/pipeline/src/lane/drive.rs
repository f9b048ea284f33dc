//! Makes the one call of a batch, and tells each of its members what became of it.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use plimsoll_engines::batch::{Joinable, Share, join, split};
use plimsoll_engines::{Call, Engine};
use plimsoll_types::{Clock, Head, Request};

use super::group::Batch;
use super::member::Told;
use crate::gathered::Gathering;

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
    let mut answer = Gathering::new(answer);
    let came = poll_fn(|cx| match answer.poll(cx) {
        Poll::Pending if batch.wanted.by_nobody(cx.waker()) => Poll::Ready(None),
        poll => poll.map(Some),
    })
    .await;
    // Nobody is there to be told.
    let Some(came) = came else { return };
    let outcome = came.map(|(head, body)| match head.status {
        200..=299 => match split(&body.bytes, &parts) {
            Ok(shares) => Outcome::Shares(head, shares),
            Err(error) => {
                tracing::warn!(backend_error = %error, "the answer to a joined call cannot be divided");
                // It would be the same with the next call.
                if let Some(under_way) = &under_way {
                    under_way.keep_apart(clock.now());
                }
                Outcome::Alone
            }
        },
        status if is_about_a_part(status) => Outcome::Alone,
        _ => Outcome::Status(head),
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
    Shares(Head, Vec<Share>),
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
