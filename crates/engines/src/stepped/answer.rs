use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use plimsoll_types::{Chunk, Finish, Head, Peeked, Text, Usage};

use super::mailbox::{Declined, Mail, Mailbox};
use crate::simulated::ask::Wrong;
use crate::simulated::dialect::{Dialect, Likelihoods, Written};
use crate::simulated::known::Known;
use crate::simulated::text::End;
use crate::{Answer, Failure};

/// An answer of an engine that computes steps. Dropping it ends its sequences before the next step.
pub(super) struct SteppedAnswer {
    state: State,
    /// A plain answer, or a refusal, when its head has been given.
    body: Option<Chunk>,
}

enum State {
    Known(Known),
    Written(Box<Writing>),
}

struct Writing {
    mailbox: Arc<Mailbox>,
    dialect: Box<dyn Dialect>,
    choices: Vec<Choice>,
    stream: bool,
    created: u64,
    accepted: bool,
    begun: bool,
    /// Choices that have not ended.
    left: usize,
    usage: Usage,
    /// Taken from the mailbox and given back to it.
    mail: Mail,
    out: BytesMut,
}

#[derive(Default)]
struct Choice {
    /// What was written, for an answer that is not a stream.
    text: String,
    likely: Likelihoods,
    end: Option<End>,
}

impl SteppedAnswer {
    /// What is wrong with the request.
    pub(super) fn known(wrong: Wrong) -> Self {
        Self { state: State::Known(wrong.into()), body: None }
    }

    /// So many choices in this dialect, whose tokens come into `mailbox`.
    pub(super) fn new(
        mailbox: Arc<Mailbox>,
        (dialect, choices): (Box<dyn Dialect>, usize),
        stream: bool,
        created: u64,
    ) -> Self {
        let writing = Writing {
            mailbox,
            dialect,
            choices: (0..choices).map(|_| Choice::default()).collect(),
            stream,
            created,
            accepted: false,
            begun: false,
            left: choices,
            usage: Usage::default(),
            mail: Mail::default(),
            out: BytesMut::new(),
        };
        Self { state: State::Written(Box::new(writing)), body: None }
    }

    fn refused(&mut self, wrong: Wrong) -> Head {
        let known = Known::from(wrong);
        let status = known.status;
        let chunk = Chunk { bytes: known.body.clone(), peeked: Peeked::default() };
        self.state = State::Known(known);
        self.plain(status, chunk)
    }

    fn plain(&mut self, status: u16, body: Chunk) -> Head {
        let length = Some(body.bytes.len() as u64);
        self.body = Some(body);
        Head { status, content_type: Text::from_static("application/json"), length, ..Head::default() }
    }
}

impl Answer for SteppedAnswer {
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        let writing = match &mut self.state {
            State::Known(known) => {
                let (status, bytes) = (known.status, known.body.clone());
                return Poll::Ready(Ok(self.plain(status, Chunk { bytes, peeked: Peeked::default() })));
            }
            State::Written(writing) => writing,
        };
        match ready!(writing.poll_accepted(cx)) {
            Ok(()) => {}
            Err(Declined::Failed(failure)) => return Poll::Ready(Err(failure)),
            Err(Declined::Wrong(wrong)) => return Poll::Ready(Ok(self.refused(wrong))),
        }
        if writing.stream {
            let content_type = Text::from_static("text/event-stream; charset=utf-8");
            return Poll::Ready(Ok(Head { status: 200, stream: true, content_type, ..Head::default() }));
        }
        let mut peeked = Peeked::default();
        while let Some(step) = ready!(writing.poll_tokens(cx))? {
            peeked.add(step);
        }
        let bytes = writing.out.split().freeze();
        Poll::Ready(Ok(self.plain(200, Chunk { bytes, peeked })))
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Failure>>> {
        let State::Written(writing) = &mut self.state else { return Poll::Ready(self.body.take().map(Ok)) };
        if !writing.stream {
            return Poll::Ready(self.body.take().map(Ok));
        }
        loop {
            let peeked = match ready!(writing.poll_tokens(cx)) {
                Ok(Some(peeked)) => peeked,
                Ok(None) => return Poll::Ready(None),
                Err(failure) => return Poll::Ready(Some(Err(failure))),
            };
            // Text that is held back makes no event.
            if !writing.out.is_empty() {
                return Poll::Ready(Some(Ok(Chunk { bytes: writing.out.split().freeze(), peeked })));
            }
        }
    }
}

impl Writing {
    fn poll_accepted(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Declined>> {
        if !self.accepted {
            self.usage.prompt = ready!(self.mailbox.poll_verdict(cx))?.tokens;
            self.accepted = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for the next tokens and writes them down; `None` after the last.
    fn poll_tokens(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Peeked>, Failure>> {
        if self.left == 0 {
            return Poll::Ready(Ok(None));
        }
        let mut mail = std::mem::take(&mut self.mail);
        let polled = self.mailbox.poll_mail(&mut mail, cx);
        let peeked = polled.map_ok(|()| Some(self.write(&mail)));
        self.mail = mail;
        peeked
    }

    fn write(&mut self, mail: &Mail) -> Peeked {
        let (mut peeked, mut from) = (Peeked::default(), 0);
        self.usage.cached = mail.cached;
        if self.stream && !std::mem::replace(&mut self.begun, true) {
            self.dialect.begin(&mut self.out, self.choices.len() as u32, self.usage);
        }
        let mut likely = mail.likely.tokens();
        for event in &mail.events {
            let text = &mail.text[from..event.text_end];
            let likely = likely.next().filter(|likely| !likely.is_empty());
            from = event.text_end;
            self.usage.completion += 1;
            let choice = &mut self.choices[event.choice as usize];
            if !self.stream {
                choice.text.push_str(text);
                if let Some(likely) = likely {
                    likely.add_to(&mut choice.likely);
                }
            } else if let Some(likely) = likely {
                self.dialect.rated(&mut self.out, event.choice, (text, likely));
                peeked.token_events += 1;
            } else if !text.is_empty() {
                self.dialect.token(&mut self.out, event.choice, text);
                peeked.token_events += 1;
            }
            let Some(end) = event.end else { continue };
            choice.end = Some(end);
            self.left -= 1;
            peeked.finish = Some(if end == End::Length { Finish::Length } else { Finish::Natural });
            if self.stream {
                self.dialect.finish(&mut self.out, event.choice, end);
            }
        }
        if self.left == 0 {
            peeked.usage = Some(self.usage);
            peeked.done = self.stream;
            self.finish();
        }
        peeked
    }

    fn finish(&mut self) {
        if self.stream {
            return self.dialect.end(&mut self.out, self.usage, self.created);
        }
        let written = |choice: &mut Choice| Written {
            text: std::mem::take(&mut choice.text),
            likely: std::mem::take(&mut choice.likely),
            end: choice.end.unwrap_or(End::Natural),
        };
        let choices: Vec<Written> = self.choices.iter_mut().map(written).collect();
        self.dialect.plain(&mut self.out, &choices, self.usage, self.created);
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.mailbox.leave();
    }
}
