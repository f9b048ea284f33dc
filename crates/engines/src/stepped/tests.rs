//! Whole answers over an executor that keeps what it was given, driven a step at a time.

mod told;
mod vectors;

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use plimsoll_batching::step::{Admission, Limits};
use plimsoll_types::{Blocks, Clock, Envelope, Instant, Kind, Request, Sleep, Text, Usage};
use serde_json::{Value, json};

use super::*;
use crate::executor::{Failed, Model, Number, Output, Piece, Prompt, Unread};

/// No time passes.
struct Still;

impl Clock for Still {
    fn now(&self) -> Instant {
        Instant::ORIGIN
    }

    fn sleep_until(&self, _: Instant) -> Sleep {
        Box::pin(std::future::pending())
    }
}

/// What an executor was told and is to do.
#[derive(Default)]
struct Told {
    loads: u32,
    /// Tokens of each step.
    steps: Vec<usize>,
    forgotten: Vec<Number>,
    /// It fails at its next step, or when it is loaded or read with.
    fails_to_step: bool,
    fails_to_read: bool,
    fails_to_load: bool,
    paged: bool,
    /// Tokens of the first piece of a sequence that it says were there.
    knows: u32,
}

/// Bytes are tokens, and the next one is decided by all before it: as they stand in blocks, if there are any.
struct Toy {
    told: Arc<Mutex<Told>>,
    limits: Limits,
    /// By block and place in it, or by sequence and position.
    memory: HashMap<(u64, u32), u32>,
}

fn next(context: impl Iterator<Item = u32>) -> u32 {
    let sum =
        context.enumerate().fold(0_u32, |sum, (at, token)| sum.wrapping_add(token * (at as u32 % 7 + 1)));
    b'a' as u32 + sum % 26
}

impl Executor for Toy {
    fn load(&mut self) -> Result<Model, Failed> {
        let mut told = self.told.lock().unwrap();
        if told.fails_to_load {
            return Err(Failed("nobody there"));
        }
        told.loads += 1;
        self.memory.clear();
        Ok(Model {
            name: "toy".into(),
            context: 64,
            limits: self.limits,
            paged: told.paged,
            writes: true,
            vector: 2,
        })
    }

    fn read(&mut self, prompt: &Prompt) -> Result<Vec<u32>, Unread> {
        if std::mem::take(&mut self.told.lock().unwrap().fails_to_read) {
            return Err(Failed("lost").into());
        }
        match prompt {
            Prompt::Tokens(tokens) => Ok(tokens.clone()),
            Prompt::Text(text) if text.contains('?') => Err(Unread::Refused("no questions".into())),
            Prompt::Text(text) => Ok(text.bytes().map(u32::from).collect()),
            Prompt::Chat(_) => Ok(vec![1, 2, 3]),
        }
    }

    fn step(&mut self, pieces: &[Piece<'_>], output: &mut Output) -> Result<(), Failed> {
        let mut told = self.told.lock().unwrap();
        if told.fails_to_step {
            return Err(Failed("lost in the middle"));
        }
        told.steps.push(pieces.iter().map(|piece| piece.tokens.len()).sum());
        let place = |piece: &Piece<'_>, position: u32| {
            if !told.paged {
                return (piece.number, position);
            }
            let block = piece.blocks[(position / self.limits.block_tokens) as usize];
            (block.into(), position % self.limits.block_tokens)
        };
        for piece in pieces {
            for (position, token) in (piece.position..).zip(piece.tokens) {
                self.memory.insert(place(piece, position), *token);
            }
        }
        for (index, piece) in
            pieces.iter().enumerate().filter(|(_, piece)| told.knows > 0 && piece.tokens.len() > 1)
        {
            output.know(index, told.knows.min(piece.tokens.len() as u32));
        }
        for piece in pieces.iter().filter(|piece| piece.writes) {
            let length = piece.position + piece.tokens.len() as u32;
            let token = next((0..length).map(|position| self.memory[&place(piece, position)]));
            output.write(token, &[token as u8], token == u32::from(b'z'));
            if let Some(count) = piece.sampling.likely {
                output.tell(&[token as u8], -0.25);
                (0..count).for_each(|other| output.tell(&[b'0' + other], -1.0 - f32::from(other)));
            }
        }
        Ok(())
    }

    fn embed(&mut self, texts: &[&[u32]], vectors: &mut Vec<f32>) -> Result<(), Failed> {
        let mut told = self.told.lock().unwrap();
        if told.fails_to_step {
            return Err(Failed("lost in the middle"));
        }
        assert!(texts.len() <= self.limits.sequences as usize);
        told.steps.push(texts.iter().map(|text| text.len()).sum());
        vectors.extend(texts.iter().flat_map(|text| [text.len() as f32, text[0] as f32]));
        Ok(())
    }

    fn forget(&mut self, number: Number) {
        self.told.lock().unwrap().forgotten.push(number);
        self.memory.retain(|(of, _), _| self.told.lock().unwrap().paged || *of != number);
    }
}

/// What the toy writes after `prompt`, computed without an engine.
fn expected(prompt: &str, tokens: usize) -> String {
    let mut all: Vec<u32> = prompt.bytes().map(u32::from).collect();
    for _ in 0..tokens {
        all.push(next(all.iter().copied()));
    }
    all[prompt.len()..].iter().map(|token| char::from(*token as u8)).collect()
}

/// An engine whose thread is the test.
struct Bench {
    engine: SteppedEngine,
    driver: Driver,
    commands: Receiver<Command>,
    told: Arc<Mutex<Told>>,
}

fn bench(limits: Limits, told: Told) -> Bench {
    let (inbox, commands) = channel();
    let told = Arc::new(Mutex::new(told));
    let toy = Toy { told: Arc::clone(&told), limits, memory: HashMap::new() };
    let setup = Setup { name: "toy".into(), clock: Arc::new(Still), epoch: 1_800_000_000, time: None };
    let load = Arc::new(Load::default());
    let driver = Driver::new(Box::new(toy), &setup, Arc::clone(&load));
    let shared = Arc::new(Shared { setup, inbox, load, serial: AtomicU64::new(1) });
    Bench { engine: SteppedEngine { shared }, driver, commands, told }
}

fn limits() -> Limits {
    Limits {
        step_tokens: 16,
        chunk_tokens: 8,
        sequences: 8,
        kv_blocks: 64,
        block_tokens: 4,
        ..Limits::default()
    }
}

fn request(kind: Kind, body: &Value) -> Request {
    let envelope = Envelope {
        id: Text::from_static("test"),
        protocol: plimsoll_types::Protocol::Http,
        kind,
        model: Text::from_static("toy"),
        model_at: 0..0,
        stream: body["stream"] == true,
        ask_usage: None,
        prompt_tokens: 0,
        blocks: Blocks::default(),
        max_tokens: None,
        tenant: None,
        tools: false,
        query: None,
        home: None,
        residency: None,
        priority: plimsoll_types::Priority::Normal,
        explain: false,
        cache_salt: None,
        deadline: None,
        patience: None,
        forward: Vec::new(),
        received: Instant::ORIGIN,
    };
    Request { envelope, body: Bytes::from(body.to_string()) }
}

impl Bench {
    fn ask(&self, kind: Kind, body: &Value) -> Box<dyn Answer> {
        let request = request(kind, body);
        self.engine.start(&Call { request: &request, alias: None, again: false })
    }

    fn complete(&self, prompt: &str, max_tokens: u32) -> Box<dyn Answer> {
        self.ask(Kind::Completion, &json!({"prompt": prompt, "max_tokens": max_tokens, "ignore_eos": true}))
    }

    fn turn(&mut self) {
        self.driver.take(self.commands.try_iter());
        self.driver.step();
    }

    fn run(&mut self) {
        self.turn();
        while !self.driver.is_idle() {
            self.turn();
        }
    }
}

fn now<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Option<T> {
    match poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

fn plain(answer: &mut dyn Answer) -> (u16, Value) {
    let head = now(|cx| answer.poll_head(cx)).expect("it has been answered").unwrap();
    let chunk = now(|cx| answer.poll_chunk(cx)).unwrap().unwrap().unwrap();
    assert_eq!(head.length, Some(chunk.bytes.len() as u64));
    (head.status, serde_json::from_slice(&chunk.bytes).unwrap())
}

fn text(answer: &mut dyn Answer) -> String {
    plain(answer).1["choices"][0]["text"].as_str().unwrap().to_owned()
}

#[test]
fn many_are_computed_together_and_each_gets_what_it_would_get_alone() {
    for paged in [false, true] {
        let mut bench = bench(limits(), Told { paged, ..Told::default() });
        let prompts: Vec<String> = (0..20).map(|index| format!("the same beginning {index}")).collect();
        let mut answers: Vec<_> = prompts.iter().map(|prompt| bench.complete(prompt, 9)).collect();
        bench.run();
        for (prompt, answer) in prompts.iter().zip(&mut answers) {
            assert_eq!(text(&mut **answer), expected(prompt, 9), "paged: {paged}");
        }
        let told = bench.told.lock().unwrap();
        assert!(told.steps.iter().all(|tokens| *tokens <= 16));
        // Twenty alone would take more than nine steps each.
        assert!(told.steps.len() < 90, "{}", told.steps.len());
        assert_eq!(told.forgotten.len(), 20);
    }
}

#[test]
fn prompts_that_begin_alike_are_computed_once_where_blocks_are_shared() {
    let mut bench = bench(limits(), Told { paged: true, ..Told::default() });
    for cached in [0, 16] {
        let mut answer = bench.complete("seventeen letters", 1);
        bench.run();
        let (_, body) = plain(&mut *answer);
        assert_eq!(body["usage"]["prompt_tokens"], 17);
        assert_eq!(body["usage"]["prompt_tokens_details"]["cached_tokens"], cached);
    }
    assert_eq!(bench.told.lock().unwrap().steps.iter().sum::<usize>(), 17 + 1);
}

#[test]
fn who_loses_his_memory_is_computed_anew_and_says_the_same() {
    let cramped = Limits { kv_blocks: 12, admission: Admission::WhileItFits, ..limits() };
    let mut bench = bench(cramped, Told::default());
    let prompts = ["first in", "second in", "third in"];
    let mut answers: Vec<_> = prompts.iter().map(|prompt| bench.complete(prompt, 20)).collect();
    bench.run();
    for (prompt, answer) in prompts.iter().zip(&mut answers) {
        assert_eq!(text(&mut **answer), expected(prompt, 20));
    }
    assert!(bench.told.lock().unwrap().forgotten.len() > 3, "nobody was preempted");
}

#[test]
fn a_stream_has_an_event_for_each_token_then_usage_and_the_end() {
    let mut bench = bench(limits(), Told::default());
    let body = json!({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, "ignore_eos": true,
        "stream": true, "stream_options": {"include_usage": true}});
    let mut answer = bench.ask(Kind::Chat, &body);
    assert!(now(|cx| answer.poll_head(cx)).is_none(), "nobody has read it yet");
    bench.turn();
    assert!(now(|cx| answer.poll_head(cx)).unwrap().unwrap().stream);
    let first = now(|cx| answer.poll_chunk(cx)).unwrap().unwrap().unwrap();
    assert_eq!((first.peeked.token_events, first.peeked.done), (1, false));
    bench.run();
    let last = now(|cx| answer.poll_chunk(cx)).unwrap().unwrap().unwrap();
    assert_eq!((last.peeked.token_events, last.peeked.done), (3, true));
    assert_eq!(last.peeked.usage, Some(Usage { prompt: 3, cached: 0, completion: 4 }));
    assert!(last.bytes.ends_with(b"data: [DONE]\n\n"));
    assert_eq!(now(|cx| answer.poll_chunk(cx)), Some(None));
}

#[test]
fn a_stop_string_ends_an_answer_at_once() {
    let mut bench = bench(limits(), Told::default());
    let says = expected("go", 12);
    let body = json!({"prompt": "go", "max_tokens": 12, "ignore_eos": true, "stop": &says[4..6]});
    let mut answer = bench.ask(Kind::Completion, &body);
    bench.run();
    let (_, body) = plain(&mut *answer);
    let choice = &body["choices"][0];
    let before = says.find(&says[4..6]).unwrap();
    assert_eq!(
        (choice["text"].as_str(), choice["finish_reason"].as_str()),
        (Some(&says[..before]), Some("stop"))
    );
    assert_eq!(body["usage"]["completion_tokens"], before + 2);
}

#[test]
fn who_leaves_is_computed_no_longer() {
    let mut bench = bench(limits(), Told::default());
    let answer = bench.complete("to be left", 50);
    bench.turn();
    assert_eq!(bench.engine.shared.load.running(), 1);
    drop(answer);
    bench.turn();
    assert!(bench.driver.is_idle());
    assert_eq!(bench.told.lock().unwrap().forgotten, [1]);
    assert_eq!((bench.engine.shared.load.running(), bench.engine.shared.load.kv_use()), (0, 0.0));
}

#[test]
fn an_executor_that_fails_ends_its_requests_with_an_error_and_is_loaded_for_the_next() {
    let mut bench = bench(limits(), Told::default());
    let mut answers = [bench.complete("one", 9), bench.complete("two", 9)];
    bench.turn();
    bench.told.lock().unwrap().fails_to_step = true;
    bench.turn();
    for answer in &mut answers {
        let head = now(|cx| answer.poll_head(cx)).unwrap();
        assert_eq!(head, Err(Failure::Broken("lost in the middle")));
    }
    *bench.told.lock().unwrap() = Told { loads: 1, fails_to_load: true, ..Told::default() };
    let mut refused = bench.complete("three", 2);
    bench.turn();
    assert_eq!(now(|cx| refused.poll_head(cx)), Some(Err(Failure::Unreachable("nobody there"))));
    bench.told.lock().unwrap().fails_to_load = false;
    let mut answer = bench.complete("three", 2);
    bench.run();
    assert_eq!(text(&mut *answer), expected("three", 2));
    assert_eq!(bench.told.lock().unwrap().loads, 2);
}

#[test]
fn an_executor_that_was_replaced_while_idle_costs_nobody_his_request() {
    let mut bench = bench(limits(), Told::default());
    let mut answer = bench.complete("one", 2);
    bench.run();
    assert_eq!(text(&mut *answer), expected("one", 2));
    bench.told.lock().unwrap().fails_to_read = true;
    let mut answer = bench.complete("two", 2);
    bench.run();
    assert_eq!(text(&mut *answer), expected("two", 2));
    assert_eq!(bench.told.lock().unwrap().loads, 2);
}

#[test]
fn what_is_wrong_with_a_request_is_the_callers_to_mend() {
    let mut bench = bench(limits(), Told::default());
    let asked = [
        (Kind::Completion, json!({"prompt": "x".repeat(64)}), Some("context_length_exceeded")),
        (Kind::Completion, json!({"prompt": "why?"}), None),
        (Kind::Completion, json!({"prompt": "x", "top_p": 2}), None),
        (Kind::Chat, json!({"messages": []}), None),
        (Kind::Completion, json!({"prompt": "x", "logprobs": 21}), None),
        (Kind::Chat, json!({"messages": [{"role": "user", "content": "x"}], "top_logprobs": 2}), None),
        (Kind::Embedding, json!({"input": "x", "dimensions": 3}), None),
        (Kind::Embedding, json!({"input": "seventeen letters"}), Some("context_length_exceeded")),
        (Kind::Rerank, json!({"query": "x", "documents": ["x"]}), Some("model_not_supported")),
    ];
    for (kind, body, code) in asked {
        let mut answer = bench.ask(kind, &body);
        bench.turn();
        let (status, said) = plain(&mut *answer);
        assert_eq!((status, said["error"]["code"].as_str()), (400, code), "{body} {said}");
    }
    assert!(bench.driver.is_idle());
}

#[test]
fn what_stops_in_the_middle_says_so() {
    let mut bench = bench(limits(), Told::default());
    let mut answer = bench.complete("one", 9);
    bench.turn();
    drop(bench);
    assert_eq!(now(|cx| answer.poll_head(cx)), Some(Err(Failure::Broken("the engine stopped"))));
}
