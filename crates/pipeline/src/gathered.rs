//! Answers that are of use only as a whole.

use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use plimsoll_engines::{Answer, Failure};
use plimsoll_types::{Chunk, Head, Kind, Peeked};

/// The longest answer that is gathered: 4,096 vectors of 4,096 numbers fit, were they written out in full.
const MAX_ANSWER: usize = 256 << 20;
const TOO_LONG: Failure = Failure::Broken("its answer to several texts is too long");
const NO_ANSWER: Failure = Failure::Broken("its answer to several texts is not one to each");

/// An answer on its way.
pub(crate) struct Gathering {
    answer: Box<dyn Answer>,
    head: Option<Head>,
    body: BytesMut,
    peeked: Peeked,
}

impl Gathering {
    pub(crate) fn new(answer: Box<dyn Answer>) -> Self {
        Self { answer, head: None, body: BytesMut::new(), peeked: Peeked::default() }
    }

    /// Gives all of it, once; of one that is not a success its beginning.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Head, Chunk), Failure>> {
        if self.head.is_none() {
            let head = match ready!(self.answer.poll_head(cx)) {
                Ok(head) if head.stream => return Poll::Ready(Err(NO_ANSWER)),
                Ok(head) => head,
                Err(failure) => return Poll::Ready(Err(failure)),
            };
            if !(200..=299).contains(&head.status) {
                return Poll::Ready(Ok((head, Chunk::default())));
            }
            self.head = Some(head);
        }
        loop {
            let chunk = ready!(self.answer.poll_chunk(cx)).transpose()?;
            let ends = chunk.is_none();
            let Chunk { bytes, peeked } = chunk.unwrap_or_default();
            self.peeked.add(peeked);
            if self.body.len() + bytes.len() > MAX_ANSWER {
                return Poll::Ready(Err(TOO_LONG));
            }
            if ends || peeked.done {
                let head = self.head.take().unwrap_or_default();
                let peeked = Peeked { done: true, ..self.peeked };
                return Poll::Ready(Ok((head, Chunk { bytes: self.all(bytes), peeked })));
            }
            self.body.extend_from_slice(&bytes);
        }
    }

    /// What came before, and this.
    fn all(&mut self, last: Bytes) -> Bytes {
        // The usual case: all of it in one piece, which is not copied.
        if self.body.is_empty() {
            return last;
        }
        self.body.extend_from_slice(&last);
        self.body.split().freeze()
    }
}

/// An answer to so many texts that begins when it is there as a whole, and is one to each of them: until then another
/// backend may be asked.
pub(crate) struct Gathered {
    gathering: Gathering,
    whole: Option<Chunk>,
    of: (Kind, u32),
}

impl Gathered {
    pub(crate) fn new(answer: Box<dyn Answer>, of: (Kind, u32)) -> Self {
        Self { gathering: Gathering::new(answer), whole: None, of }
    }
}

impl Answer for Gathered {
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        let (head, whole) = ready!(self.gathering.poll(cx))?;
        if (200..=299).contains(&head.status) {
            if !plimsoll_engines::batch::is_answer(self.of.0, self.of.1, &whole.bytes) {
                return Poll::Ready(Err(NO_ANSWER));
            }
            self.whole = Some(whole);
        }
        Poll::Ready(Ok(head))
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Failure>>> {
        match self.whole.take() {
            Some(whole) => Poll::Ready(Some(Ok(whole))),
            // Why it was refused.
            None => self.gathering.answer.poll_chunk(cx),
        }
    }

    fn is_accounted_for(&self) -> bool {
        self.gathering.answer.is_accounted_for()
    }
}
