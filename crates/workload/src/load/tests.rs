//! The generator before an endpoint that does what a script says, on a clock that stands still until somebody waits.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use plimsoll_engines::{Answer, Call, Engine, Failure};
use plimsoll_types::{Chunk, Clock, Head, Instant, Peeked, Sleep, TokioClock, Usage};
use tokio::task::LocalSet;

use super::ask::{Asking, Requests};
use super::flight::Core;
use super::generator::Generator;
use super::keys::TenantKeys;
use super::log::{Kept, Log};
use super::tally::{Tally, progress};
use super::{Progress, Timeline};
use crate::prompts::{Form, Length};
use crate::report::{Outcome, Record};
use crate::trace::{Arrival, Trace};

/// What an answer does, and when, on the clock of the run.
#[derive(Debug, Clone)]
enum Step {
    Head(u16),
    Tokens(u32),
    Usage(Usage),
    Body(&'static str),
    Error,
    Done,
    Fail(Failure),
}

/// Says for a request that comes at a moment what is answered, and when.
type Script = dyn Fn(Duration) -> Vec<(Duration, Step)>;

/// What an endpoint was asked: with which key, and the body.
type Asked = Vec<(Option<String>, Bytes)>;

struct Scripted {
    clock: Arc<dyn Clock>,
    script: Rc<Script>,
    asked: Rc<RefCell<Asked>>,
}

struct ScriptedAnswer {
    clock: Arc<dyn Clock>,
    steps: VecDeque<(Duration, Step)>,
    sleep: Option<Sleep>,
}

impl Engine for Scripted {
    fn start(&self, call: &Call<'_>) -> Box<dyn Answer> {
        let key = call.request.envelope.forward.first().map(|(_, value)| value.to_string());
        self.asked.borrow_mut().push((key, call.request.body.clone()));
        let steps = (self.script)(self.clock.now() - Instant::ORIGIN).into();
        Box::new(ScriptedAnswer { clock: Arc::clone(&self.clock), steps, sleep: None })
    }
}

impl ScriptedAnswer {
    fn step(&mut self, cx: &mut Context<'_>) -> Poll<Option<Step>> {
        let Some((at, _)) = self.steps.front() else { return Poll::Ready(None) };
        let sleep = self.sleep.get_or_insert_with(|| self.clock.sleep_until(Instant::ORIGIN + *at));
        ready!(sleep.as_mut().poll(cx));
        self.sleep = None;
        Poll::Ready(self.steps.pop_front().map(|(_, step)| step))
    }
}

impl Answer for ScriptedAnswer {
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        self.step(cx).map(|step| match step {
            Some(Step::Head(status)) => Ok(Head { status, stream: status == 200, ..Head::default() }),
            Some(Step::Fail(failure)) => Err(failure),
            other => panic!("an answer begins with a head, not {other:?}"),
        })
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Failure>>> {
        let said = |peeked| Some(Ok(Chunk { bytes: Bytes::new(), peeked }));
        self.step(cx).map(|step| match step {
            Some(Step::Tokens(token_events)) => said(Peeked { token_events, ..Peeked::default() }),
            Some(Step::Usage(usage)) => said(Peeked { usage: Some(usage), ..Peeked::default() }),
            Some(Step::Body(text)) => {
                Some(Ok(Chunk { bytes: text.into(), peeked: Peeked { done: true, ..Peeked::default() } }))
            }
            Some(Step::Error) => said(Peeked { error: true, ..Peeked::default() }),
            Some(Step::Done) => said(Peeked { done: true, ..Peeked::default() }),
            Some(Step::Fail(failure)) => Some(Err(failure)),
            None => None,
            Some(Step::Head(_)) => panic!("a head comes first"),
        })
    }
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A stream of two tokens, the first `ttft` after the request came at `at`, and 10 ms between them.
fn answered(at: Duration, ttft: Duration) -> Vec<(Duration, Step)> {
    let (first, second) = (at + ttft, at + ttft + ms(10));
    vec![(first, Step::Head(200)), (first, Step::Tokens(1)), (second, Step::Tokens(1)), (second, Step::Done)]
}

/// A trial of the generator: so many requests, so far apart.
struct Trial {
    requests: u64,
    every: Duration,
    max_in_flight: usize,
    timeout: Duration,
    line: Timeline,
    /// The run is stopped then.
    stop: Option<Duration>,
}

/// What came of a trial.
struct Came {
    kept: Kept,
    progress: Progress,
    asked: Asked,
}

impl Came {
    fn records(&self) -> Vec<Record> {
        let mut records = self.kept.recorder.records().to_vec();
        records.sort_by_key(|record| record.request);
        records
    }

    fn latencies(&self) -> Vec<u128> {
        let latency = |record: &Record| (record.first_token.unwrap() - record.due).as_millis();
        self.records().iter().map(latency).collect()
    }

    fn outcomes(&self) -> Vec<Outcome> {
        self.records().iter().map(|record| record.outcome).collect()
    }
}

impl Trial {
    fn of(requests: u64, every: Duration) -> Self {
        let line = Timeline { start: Instant::ORIGIN, slow_down: 1.0, warm_up: Duration::ZERO };
        Self { requests, every, max_in_flight: 100, timeout: ms(60_000), line, stop: None }
    }

    fn trace(&self) -> Arc<Trace> {
        let arrival = |number| Arrival {
            at: self.every * number,
            prompt_tokens: 7,
            output_tokens: 2,
            first_block: 0,
            block_count: 0,
            model: 0,
            tenant: (number % 2) as u16,
            region: 0,
            answer: crate::trace::Answer::Stream,
        };
        Arc::new(Trace {
            models: vec!["m".into()],
            tenants: vec!["a".into(), "b".into()],
            regions: vec![String::new()],
            arrivals: (0..self.requests as u32).map(arrival).collect(),
            ..Trace::default()
        })
    }

    async fn open(self, script: impl Fn(Duration) -> Vec<(Duration, Step)> + 'static) -> Came {
        let max = self.max_in_flight;
        self.run(script, async move |generator, trace| {
            let arrivals = (0..).zip(trace.arrivals.clone());
            generator.open(arrivals, max, || ()).await;
        })
        .await
    }

    async fn closed(
        self,
        clients: usize,
        script: impl Fn(Duration) -> Vec<(Duration, Step)> + 'static,
    ) -> Came {
        self.run(script, async move |generator, trace| {
            let arrivals = (0..).zip(trace.arrivals.clone());
            generator.closed(arrivals, clients, None).await;
        })
        .await
    }

    async fn run(
        self,
        script: impl Fn(Duration) -> Vec<(Duration, Step)> + 'static,
        send: impl AsyncFnOnce(Rc<Generator>, Arc<Trace>),
    ) -> Came {
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::start());
        let asked = Rc::new(RefCell::default());
        let engine =
            Scripted { clock: Arc::clone(&clock), script: Rc::new(script), asked: Rc::clone(&asked) };
        let keys =
            TenantKeys { default: Some("s3cret".into()), own: [("b".to_owned(), "t0p".to_owned())].into() };
        let (log, tally) = (Arc::new(Log::new(self.line, ms(1_000))), Tally::new());
        let core = Core {
            engine: Rc::new(engine),
            clock: Arc::clone(&clock),
            keys: keys.clone(),
            timeout: self.timeout,
            log: Arc::clone(&log),
            tally: Arc::clone(&tally),
        };
        let trace = self.trace();
        let asking = Asking { form: Form::Chat, stream: true, length: Length::Exactly, model: None, seed: 1 };
        let requests = Requests::new(&asking, &trace, &keys);
        let ask = Box::new(move |number, arrival: &Arrival| requests.request(number, arrival));
        let generator = Rc::new(Generator::new(core, self.line, ask));
        let stop = self.stop.map_or(Instant::NEVER, |stop| Instant::ORIGIN + stop);
        let local = LocalSet::new();
        local
            .run_until(async {
                tokio::select! {
                    () = clock.sleep_until(stop), if self.stop.is_some() => {}
                    () = send(generator, trace) => {}
                }
            })
            .await;
        drop(local);
        let progress = progress(&[tally]);
        let kept = Arc::into_inner(log).expect("nobody writes any more").into_kept();
        Came { kept, progress, asked: asked.take() }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stall_of_a_second_is_seen_in_full_by_every_request_that_it_kept_waiting() {
    // 40 requests, one each 50 ms; from 0.5 to 1.5 s nothing is answered.
    let script = |at: Duration| {
        let stalled = at >= ms(500) && at < ms(1_500);
        answered(at, if stalled { ms(1_500) - at + ms(5) } else { ms(5) })
    };
    let came = Trial::of(40, ms(50)).open(script).await;
    let latencies = came.latencies();
    for (number, latency) in latencies.iter().enumerate() {
        let expected = if (10..30).contains(&number) { 1_505 - 50 * number as u128 } else { 5 };
        assert!(latency.abs_diff(expected) <= 2, "{number}: {latency}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_without_room_leaves_late_and_its_latency_counts_from_when_it_was_due() {
    let trial = Trial { max_in_flight: 1, ..Trial::of(4, ms(10)) };
    let came = trial.open(|at| answered(at, ms(90))).await;
    let late: Vec<_> = came.records().iter().map(|one| (one.sent - one.due).as_millis()).collect();
    for (number, (late, latency)) in late.iter().zip(came.latencies()).enumerate() {
        // Each waits for those before it, 100 ms each, and was due 10 ms after the one before.
        let expected = 90 * number as u128;
        assert!(late.abs_diff(expected) <= 6 && latency.abs_diff(expected + 90) <= 8, "{late} {latency}");
    }
}

#[tokio::test(start_paused = true)]
async fn clients_of_a_closed_loop_ask_again_when_they_have_been_answered() {
    let came = Trial::of(6, Duration::ZERO).closed(2, |at| answered(at, ms(90))).await;
    let sent: Vec<_> = came.records().iter().map(|one| one.sent.as_millis()).collect();
    for (pair, sent) in sent.chunks(2).enumerate() {
        assert!(sent.iter().all(|sent| sent.abs_diff(100 * pair as u128) <= 6), "{sent:?}");
    }
    assert!(came.records().iter().all(|one| one.sent == one.due));
}

#[tokio::test(start_paused = true)]
async fn every_ending_is_told_apart_and_said_in_words() {
    let script = |at: Duration| {
        let number = at.as_millis() / 100;
        let head = |status| (at, Step::Head(status));
        match number {
            0 => answered(at, ms(5)),
            1 => vec![head(404), (at, Step::Body(r#"{"error":{"message":"no model x"}}"#))],
            2 => vec![head(429), (at, Step::Body("{}"))],
            3 => vec![head(500), (at, Step::Body("{}"))],
            4 => vec![head(200), (at, Step::Tokens(1)), (at, Step::Fail(Failure::Broken("cut off")))],
            5 => vec![(at, Step::Fail(Failure::Unreachable("the connection was refused")))],
            6 => vec![head(200), (at + ms(2_000), Step::Done)],
            7 => vec![head(200), (at, Step::Tokens(1)), (at, Step::Error), (at, Step::Done)],
            8 => vec![head(200), (at, Step::Tokens(1))],
            _ => vec![head(401), (at, Step::Body(r#"{"error":"bad key s3cret"}"#))],
        }
    };
    let came = Trial { timeout: ms(1_000), ..Trial::of(10, ms(100)) }.open(script).await;
    use Outcome::{Broken, Failed, Ok, Overloaded, Refused, Timeout, Unreachable};
    let all = [Ok, Refused, Overloaded, Failed, Broken, Unreachable, Timeout, Broken, Broken, Refused];
    assert_eq!(came.outcomes(), all);
    let faults = came.kept.faults.lines().join("\n");
    for said in ["404: no model x", "the connection was refused", "cut off", "401: bad key [key]"] {
        assert!(faults.contains(said), "{faults}");
    }
    assert_eq!((came.progress.sent, came.progress.ok, came.progress.errors), (10, 1, 9));
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_when_the_run_is_stopped_is_unfinished() {
    let trial = Trial { stop: Some(ms(250)), ..Trial::of(10, ms(100)) };
    let came = trial.open(|at| answered(at, if at < ms(150) { ms(5) } else { ms(5_000) })).await;
    assert_eq!(came.outcomes(), [Outcome::Ok, Outcome::Ok, Outcome::Unfinished]);
    let end = came.records()[2].end.as_millis();
    assert!(end.abs_diff(250) <= 2, "{end}");
}

#[tokio::test(start_paused = true)]
async fn the_endpoints_own_count_of_tokens_is_believed() {
    let usage = Usage { prompt: 11, cached: 4, completion: 5 };
    let script = move |at: Duration| {
        vec![(at, Step::Head(200)), (at, Step::Tokens(3)), (at, Step::Usage(usage)), (at, Step::Done)]
    };
    let came = Trial::of(1, ms(1)).open(script).await;
    let record = came.records()[0];
    assert_eq!((record.prompt_tokens, record.cached_tokens, record.output_tokens), (11, 4, 5));
    assert_eq!(came.progress.tokens, 5);
}

#[tokio::test(start_paused = true)]
async fn the_warm_up_is_sent_and_not_reported_and_a_slow_down_is_taken_out_again() {
    let mut trial = Trial::of(10, ms(100));
    trial.line = Timeline { slow_down: 5.0, warm_up: ms(500), ..trial.line };
    let came = trial.open(|at| answered(at, ms(100))).await;
    let records = came.records();
    assert_eq!((records.len(), came.kept.warm_up, came.asked.len()), (5, 5, 10));
    assert_eq!(records[0].due, Duration::ZERO);
    assert!(came.latencies().iter().all(|latency| latency.abs_diff(20) <= 1), "{:?}", came.latencies());
}

#[tokio::test(start_paused = true)]
async fn tenants_call_with_their_own_keys() {
    let came = Trial::of(2, ms(1)).open(|at| answered(at, ms(5))).await;
    let keys: Vec<_> = came.asked.iter().map(|(key, _)| key.as_deref()).collect();
    assert_eq!(keys, [Some("Bearer s3cret"), Some("Bearer t0p")]);
}
