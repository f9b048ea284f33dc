//! How a simulated gateway talks to a simulated backend.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use plimsoll_engines::{Answer, Call, Engine, Failure};
use plimsoll_types::{Chunk, Clock, Finish, Head, Peeked, Sleep, Text, Usage};

use super::clock::Face;
use super::requests::Requests;
use super::seat::Seat;
use super::station::{Prompt, Station};

/// The bytes of an event, of which only the number counts.
const EVENT: Bytes = Bytes::from_static(b"data: {}\n\n");
const EVENT_STREAM: Text = Text::from_static("text/event-stream");
/// A whole answer, or an embedding.
const WHOLE: Bytes = Bytes::from_static(b"{}");
const JSON: Text = Text::from_static("application/json");
const TOO_LONG: Bytes =
    Bytes::from_static(br#"{"error":{"message":"prompt and answer are longer than the memory for them"}}"#);

/// One backend as one gateway sees it.
pub(super) struct StationEngine {
    pub(super) station: Rc<Station>,
    pub(super) gateway: usize,
    pub(super) requests: Rc<Requests>,
    pub(super) clock: Face,
}

impl Engine for StationEngine {
    fn start(&self, call: &Call<'_>) -> Box<dyn Answer> {
        let now = self.clock.now();
        Box::new(StationAnswer {
            station: Rc::clone(&self.station),
            requests: Rc::clone(&self.requests),
            gateway: self.gateway,
            request: Requests::index_in(&call.request.body),
            way: Way::There(self.clock.sleep_until(now + self.station.way(self.gateway))),
            clock: self.clock.clone(),
        })
    }
}

struct StationAnswer {
    station: Rc<Station>,
    requests: Rc<Requests>,
    gateway: usize,
    request: usize,
    way: Way,
    clock: Face,
}

/// How far it is.
enum Way {
    /// The request is on its way to the backend.
    There(Sleep),
    /// It is there.
    At(Rc<Seat>),
    /// A refusal, or the news that nobody is there, is on its way back.
    Back(Sleep, Option<Bytes>),
    /// All has been told.
    Over(Option<Bytes>),
}

impl StationAnswer {
    /// The request arrives at the backend.
    fn arrive(&self) -> Way {
        let back = |body| {
            let at = self.clock.now() + self.station.way(self.gateway);
            Way::Back(self.clock.sleep_until(at), body)
        };
        if !self.station.is_reachable() {
            return back(None);
        }
        let arrival = self.requests.arrival(self.request);
        let prompt = Prompt {
            tokens: arrival.prompt_tokens,
            output: arrival.written_tokens(),
            streams: arrival.streams(),
            blocks: self.requests.trace().blocks_of(arrival),
            block_tokens: self.requests.trace().block_tokens,
        };
        match self.station.enter(prompt, self.gateway) {
            Ok(seat) => {
                self.station.remember(self.request, self.gateway);
                Way::At(seat)
            }
            Err(_) => back(Some(TOO_LONG)),
        }
    }
}

impl Answer for StationAnswer {
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        loop {
            match &mut self.way {
                Way::There(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    self.way = self.arrive();
                }
                // The head comes with the first token, or with all of a whole answer: nobody measures it by itself.
                Way::At(seat) => {
                    if !seat.has_news() {
                        ready!(seat.poll(cx)).map(|_| ())?;
                    }
                    let stream = seat.streams;
                    let content_type = if stream { EVENT_STREAM } else { JSON };
                    return Poll::Ready(Ok(Head { status: 200, stream, content_type, ..Head::default() }));
                }
                Way::Back(sleep, body) => {
                    ready!(sleep.as_mut().poll(cx));
                    let body = body.take();
                    let refused = body.is_some();
                    self.way = Way::Over(body);
                    return Poll::Ready(if refused {
                        Ok(Head { status: 400, ..Head::default() })
                    } else {
                        Err(Failure::Unreachable("the backend cannot be reached"))
                    });
                }
                Way::Over(_) => return Poll::Ready(Err(Failure::Broken("the head was given already"))),
            }
        }
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Failure>>> {
        match &mut self.way {
            Way::Over(body) => {
                Poll::Ready(body.take().map(|bytes| Ok(Chunk { bytes, peeked: Peeked::default() })))
            }
            Way::At(seat) => {
                let news = match ready!(seat.poll(cx)) {
                    Ok(news) => news,
                    Err(failure) => return Poll::Ready(Some(Err(failure))),
                };
                let streams = seat.streams;
                let token_events = if streams { news.tokens } else { 0 };
                let mut peeked = Peeked { token_events, ..Peeked::default() };
                if let Some(cached) = news.last {
                    let arrival = self.requests.arrival(self.request);
                    let (prompt, completion) = (arrival.prompt_tokens, arrival.written_tokens());
                    peeked.usage = Some(Usage { prompt, cached, completion });
                    (peeked.finish, peeked.done) = (Some(Finish::Natural), true);
                    self.way = Way::Over(None);
                }
                let bytes = if streams { EVENT } else { WHOLE };
                Poll::Ready(Some(Ok(Chunk { bytes, peeked })))
            }
            Way::There(_) | Way::Back(..) => Poll::Ready(None),
        }
    }
}

impl Drop for StationAnswer {
    fn drop(&mut self) {
        if let Way::At(seat) = &self.way {
            self.station.leave(seat);
        }
    }
}
