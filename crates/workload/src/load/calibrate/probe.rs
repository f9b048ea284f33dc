//! Asks a backend questions whose answers tell how long its steps take.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_engines::openai::OpenAi;
use plimsoll_engines::{Call, Engine};
use plimsoll_types::{Clock, Instant, Request, Usage};
use tokio::task::spawn_local;

use super::fit::Sample;
use crate::load::ask::{Asking, Requests};
use crate::load::keys::TenantKeys;
use crate::load::target::said;
use crate::trace::{Answer, Arrival, Trace};

/// Tokens that each stream decodes.
const TOKENS: u32 = 96;
/// How long a probe may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often the smallest answer is asked for.
const ROUND_TRIPS: usize = 7;

/// Asks, and counts what it has asked.
pub(super) struct Probe {
    engine: Rc<dyn Engine>,
    clock: Arc<dyn Clock>,
    requests: Requests,
    asked: u32,
    fault: String,
}

/// A stream that was followed to its end.
struct Stream {
    sent: Instant,
    /// When tokens came, and how many at once.
    tokens: Vec<(Instant, u32)>,
    usage: Option<Usage>,
}

impl Probe {
    pub(super) fn new(engine: Rc<dyn Engine>, clock: Arc<dyn Clock>, asking: &Asking) -> Self {
        let trace = Trace {
            models: vec![String::new()],
            tenants: vec![String::new()],
            regions: vec![String::new()],
            ..Trace::default()
        };
        // The engine has the key already.
        let requests = Requests::new(asking, &Arc::new(trace), &TenantKeys::default());
        Self { engine, clock, requests, asked: 0, fault: "none".to_owned() }
    }

    pub(super) fn requests(&self) -> u32 {
        self.asked
    }

    /// What the last probe that failed says.
    pub(super) fn fault(&self) -> String {
        self.fault.clone()
    }

    /// The time to the first token of a prompt of about `tokens`.
    pub(super) async fn prefill(&mut self, tokens: u32) -> Option<Sample> {
        let request = self.request(tokens, 1);
        let stream = self.noted(follow(&*self.engine, &*self.clock, &request).await)?;
        let (first, _) = stream.tokens.first()?;
        // Tokenizers differ: how long the prompt really was, the backend says.
        let prefill = stream.usage.map_or(tokens, |usage| usage.prompt.saturating_sub(usage.cached));
        Some(Sample { prefill, sequences: 0, context: 0, millis: (*first - stream.sent).as_secs_f64() * 1e3 })
    }

    /// The time per token while `streams` decode over about `context` tokens each.
    pub(super) async fn decode(&mut self, streams: u32, context: u32) -> Option<Sample> {
        let tasks: Vec<_> = (0..streams)
            .map(|_| {
                let request = self.request(context, TOKENS);
                let (engine, clock) = (Rc::clone(&self.engine), Arc::clone(&self.clock));
                spawn_local(async move { follow(&*engine, &*clock, &request).await })
            })
            .collect();
        let mut followed = Vec::new();
        for task in tasks {
            let stream = task.await.unwrap_or_else(|panic| Err(panic.to_string()));
            followed.push(self.noted(stream)?);
        }
        let prompt = |stream: &Stream| stream.usage.map_or(context, |usage| usage.prompt);
        let prompts = followed.iter().map(|stream| u64::from(prompt(stream))).sum::<u64>();
        Some(Sample {
            prefill: 0,
            sequences: streams,
            // In the mean half of the answer is behind each stream.
            context: prompts + u64::from(streams * TOKENS / 2),
            millis: per_token(&followed)?,
        })
    }

    fn request(&mut self, prompt_tokens: u32, output_tokens: u32) -> Request {
        self.asked += 1;
        let arrival = Arrival {
            at: Duration::ZERO,
            prompt_tokens,
            output_tokens,
            first_block: 0,
            block_count: 0,
            model: 0,
            tenant: 0,
            region: 0,
            answer: Answer::Stream,
        };
        self.requests.request(self.asked, &arrival)
    }

    fn noted(&mut self, stream: Result<Stream, String>) -> Option<Stream> {
        stream.map_err(|fault| self.fault = fault).ok()
    }
}

/// Milliseconds per token while all of `streams` decode: from the last first token to the first end. The median over
/// the streams.
fn per_token(streams: &[Stream]) -> Option<f64> {
    let from = streams.iter().map(|stream| stream.tokens.first().map(|one| one.0)).max()??;
    let to = streams.iter().map(|stream| stream.tokens.last().map(|one| one.0)).min()??;
    let mut times: Vec<f64> =
        streams.iter().filter_map(|stream| mean_gap(&stream.tokens, from, to)).collect();
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied()
}

/// The mean gap between the `tokens` that came in `from..=to`.
fn mean_gap(tokens: &[(Instant, u32)], from: Instant, to: Instant) -> Option<f64> {
    let mut within = tokens.iter().filter(|(at, _)| (from..=to).contains(at));
    let (first, _) = within.next()?;
    let (last, count) = within.fold((*first, 0), |(_, count), (at, more)| (*at, count + more));
    (count > 0).then(|| (last - *first).as_secs_f64() * 1e3 / f64::from(count))
}

/// Sends `request` and follows its stream to the end.
async fn follow(engine: &dyn Engine, clock: &dyn Clock, request: &Request) -> Result<Stream, String> {
    let sent = clock.now();
    tokio::select! {
        stream = read(engine, clock, request, sent) => stream,
        () = clock.sleep_until(sent + PATIENCE) => Err(format!("no end within {} s", PATIENCE.as_secs())),
    }
}

async fn read(
    engine: &dyn Engine,
    clock: &dyn Clock,
    request: &Request,
    sent: Instant,
) -> Result<Stream, String> {
    let mut answer = engine.start(&Call { request, alias: None, again: false });
    let mut stream = Stream { sent, tokens: Vec::new(), usage: None };
    let head = poll_fn(|cx| answer.poll_head(cx)).await.map_err(|failure| failure.to_string())?;
    while let Some(chunk) = poll_fn(|cx| answer.poll_chunk(cx)).await {
        let chunk = chunk.map_err(|failure| failure.to_string())?;
        if head.status != 200 {
            return Err(format!("{}: {}", head.status, said(head.status, &chunk.bytes)));
        }
        if chunk.peeked.token_events > 0 {
            stream.tokens.push((clock.now(), chunk.peeked.token_events));
        }
        stream.usage = chunk.peeked.usage.or(stream.usage);
    }
    if stream.tokens.is_empty() { Err("the answer had no token".to_owned()) } else { Ok(stream) }
}

/// The median time of the smallest answer, over a connection that is open; zero where there is none.
pub(super) async fn round_trip(engine: &OpenAi, clock: &dyn Clock) -> Duration {
    let mut times = Vec::new();
    for _ in 0..ROUND_TRIPS {
        let sent = clock.now();
        if engine.list().await.is_ok() {
            times.push(clock.now() - sent);
        }
    }
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(tokens: &[(u64, u32)]) -> Stream {
        let at = |(millis, count): &(u64, u32)| (Instant::ORIGIN + Duration::from_millis(*millis), *count);
        Stream { sent: Instant::ORIGIN, tokens: tokens.iter().map(at).collect(), usage: None }
    }

    #[test]
    fn only_the_time_in_which_all_streams_decode_counts() {
        // The second begins at 30, when the first slows down, and is the last to end.
        let first = stream(&[(0, 1), (10, 1), (30, 1), (50, 1), (70, 1)]);
        let second = stream(&[(30, 1), (50, 1), (70, 1), (80, 1), (90, 1)]);
        assert_eq!(per_token(&[first, second]), Some(20.0));
    }

    #[test]
    fn tokens_that_came_together_count_each() {
        assert_eq!(per_token(&[stream(&[(0, 1), (40, 4), (60, 2)])]), Some(10.0));
        assert_eq!(per_token(&[stream(&[(5, 1)])]), None);
        assert_eq!(per_token(&[]), None);
    }
}
