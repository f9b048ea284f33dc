//! Whole answers, as a gateway would poll them, on a paused clock.

mod shapes;

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use plimsoll_types::{
    Blocks, Chunk, Clock, Envelope, Finish, Head, Instant, Kind, Peeked, Request, Splice, Text, TokioClock,
    Usage,
};
use serde_json::{Value, json};

use super::backend::Skill;
use super::{CHAT_MODEL, EMBEDDING_MODEL, GpuModel, Simulated, embedded, gpu_model};
use crate::{Answer, Call, Engine};

const EPOCH: Duration = Duration::from_secs(1_800_000_000);

/// A backend and a core that talks to it.
struct Core {
    backend: Simulated,
    engine: Rc<dyn Engine>,
    clock: Arc<dyn Clock>,
}

/// All of an answer, and when each chunk came.
#[derive(Debug, Clone, PartialEq)]
struct Whole {
    head: Head,
    chunks: Vec<Chunk>,
    came: Vec<Duration>,
}

fn core(name: &str) -> Core {
    core_of(embedded(1, EPOCH, 1).into_iter().find(|backend| backend.spec().name == name).unwrap())
}

fn core_of(backend: Simulated) -> Core {
    let clock: Arc<dyn Clock> = Arc::new(TokioClock::start());
    Core { engine: backend.engine(Arc::clone(&clock)), backend, clock }
}

/// A backend that writes, with so little memory.
fn cramped(kv_tokens: u32) -> Core {
    let gpu = GpuModel { kv_tokens, ..*gpu_model("H100", "70B", 4, "bf16").unwrap() };
    let spec = embedded(1, EPOCH, 1)[0].spec().clone();
    core_of(Simulated::new(spec, Skill::Write, &gpu, Duration::ZERO, (1, EPOCH.as_secs())))
}

fn chatting() -> Core {
    core("aws-us-east-1-chat-1")
}

fn request(kind: Kind, body: &Value) -> Request {
    let model = if kind == Kind::Embedding { EMBEDDING_MODEL } else { CHAT_MODEL };
    let envelope = Envelope {
        id: Text::from_static("test"),
        protocol: plimsoll_types::Protocol::Http,
        kind,
        model: Text::from_static(model),
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
        priority: plimsoll_types::Priority::Normal,
        residency: None,
        deadline: None,
        patience: None,
        forward: Vec::new(),
        explain: false,
        cache_salt: None,
        received: Instant::ORIGIN,
    };
    Request { envelope, body: Bytes::from(body.to_string()) }
}

fn chat(extra: &Value) -> Value {
    let mut body =
        json!({"messages": [{"role": "user", "content": "Say something about harbours."}], "temperature": 0});
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

impl Core {
    fn start(&self, request: &Request) -> Box<dyn Answer> {
        self.engine.start(&Call { request, alias: None, again: false })
    }

    async fn ask(&self, kind: Kind, body: &Value) -> Whole {
        self.finish(self.start(&request(kind, body))).await
    }

    async fn finish(&self, mut answer: Box<dyn Answer>) -> Whole {
        let start = self.clock.now();
        let head = poll_fn(|cx| answer.poll_head(cx)).await.unwrap();
        let (mut chunks, mut came) = (Vec::new(), Vec::new());
        while let Some(chunk) = poll_fn(|cx| answer.poll_chunk(cx)).await {
            chunks.push(chunk.unwrap());
            came.push(self.clock.now() - start);
        }
        Whole { head, chunks, came }
    }
}

impl Whole {
    fn bytes(&self) -> String {
        let all: Vec<u8> = self.chunks.iter().flat_map(|chunk| chunk.bytes.to_vec()).collect();
        String::from_utf8(all).unwrap()
    }

    fn json(&self) -> Value {
        assert_eq!(self.head.length, Some(self.bytes().len() as u64));
        serde_json::from_str(&self.bytes()).unwrap()
    }

    /// The data of all events, which must be JSON but for `[DONE]`.
    fn events(&self) -> Vec<Value> {
        let bytes = self.bytes();
        let data = bytes.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
    }

    fn peeked(&self) -> Peeked {
        self.chunks.iter().fold(Peeked::default(), |mut all, chunk| {
            all.add(chunk.peeked);
            all
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_chat_stream_is_written_byte_for_byte_as_openai_writes_it() {
    let body = chat(&json!({"stream": true, "max_tokens": 2, "stream_options": {"include_usage": true}}));
    let whole = chatting().ask(Kind::Chat, &body).await;
    assert_eq!((whole.head.status, whole.head.stream, whole.head.length), (200, true, None));
    assert_eq!(&*whole.head.content_type, "text/event-stream; charset=utf-8");
    let event = |choices: &str, usage: &str| {
        format!(
            r#"data: {{"id":"chatcmpl-ID","object":"chat.completion.chunk","created":1800000000,"model":"sim-chat","system_fingerprint":"plimsoll-simulated","choices":[{choices}],"usage":{usage}}}"#
        ) + "\n\n"
    };
    let delta = |delta: &str, finish: &str| {
        event(&format!(r#"{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}"#), "null")
    };
    let usage = r#"{"prompt_tokens":17,"completion_tokens":2,"total_tokens":19,"prompt_tokens_details":{"cached_tokens":0}}"#;
    let expected = [
        delta(r#"{"role":"assistant","content":""}"#, "null"),
        delta(r#"{"content":"This"}"#, "null"),
        delta(r#"{"content":" answer"}"#, "null"),
        delta("{}", r#""length""#),
        event("", usage),
        "data: [DONE]\n\n".to_owned(),
    ];
    let bytes = whole.bytes();
    let id = &bytes["data: {\"id\":\"chatcmpl-".len()..][..16];
    assert_eq!(bytes, expected.concat().replace("ID", id));
    let tokens: Vec<u32> = whole.chunks.iter().map(|chunk| chunk.peeked.token_events).collect();
    assert_eq!(tokens, [1, 1]);
    let usage = Some(Usage { prompt: 17, cached: 0, completion: 2 });
    assert_eq!(
        whole.chunks[1].peeked,
        Peeked { token_events: 1, usage, finish: Some(Finish::Length), error: false, done: true },
    );
}

#[tokio::test(start_paused = true)]
async fn usage_that_only_the_gateway_asked_for_is_told_but_not_written() {
    let mut request = request(Kind::Chat, &chat(&json!({"stream": true})));
    request.envelope.ask_usage = Some(Splice { at: 0..0, text: Text::default() });
    let core = chatting();
    let whole = core.finish(core.start(&request)).await;
    assert!(!whole.bytes().contains("usage"));
    let peeked = whole.peeked();
    assert_eq!(peeked.usage.map(|usage| usage.completion), Some(peeked.token_events));
    assert_eq!(peeked.finish, Some(Finish::Natural));
    assert_eq!(whole.events().last().unwrap()["choices"][0]["finish_reason"], "stop");
}

#[tokio::test(start_paused = true)]
async fn the_same_prompt_at_temperature_zero_gives_the_same_text_on_every_gpu() {
    let text = |whole: &Whole| whole.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    let (here, there) = (chatting(), core("coreweave-us-west-04-chat-2"));
    let asked = chat(&json!({}));
    let first = text(&here.ask(Kind::Chat, &asked).await);
    assert!(first.starts_with("This answer is simulated"), "{first}");
    assert_eq!(first, text(&there.ask(Kind::Chat, &asked).await));
    let seeded = chat(&json!({"temperature": 1, "seed": 7}));
    let second = text(&here.ask(Kind::Chat, &seeded).await);
    assert_eq!(second, text(&there.ask(Kind::Chat, &seeded).await));
    let free = chat(&json!({"temperature": 1}));
    let (third, fourth) =
        (text(&here.ask(Kind::Chat, &free).await), text(&here.ask(Kind::Chat, &free).await));
    assert!(first != second && second != third && third != fourth);
}

#[tokio::test(start_paused = true)]
async fn a_stream_and_a_plain_answer_say_the_same() {
    let core = chatting();
    let plain = core.ask(Kind::Chat, &chat(&json!({"n": 3}))).await;
    let stream = core.ask(Kind::Chat, &chat(&json!({"n": 3, "stream": true}))).await;
    let mut texts = vec![String::new(); 3];
    for event in stream.events() {
        for choice in event["choices"].as_array().unwrap() {
            texts[choice["index"].as_u64().unwrap() as usize] +=
                choice["delta"]["content"].as_str().unwrap_or("");
        }
    }
    let answer = plain.json();
    for (index, text) in texts.iter().enumerate() {
        assert_eq!(answer["choices"][index]["message"]["content"], **text);
    }
    assert!(texts[0] != texts[1] && texts[1] != texts[2]);
    assert_eq!(answer["usage"]["completion_tokens"], stream.peeked().token_events);
    assert_eq!(answer["system_fingerprint"], "plimsoll-simulated");
}

#[tokio::test(start_paused = true)]
async fn a_prompt_asked_again_is_cached_and_its_first_token_comes_sooner() {
    let core = chatting();
    let mut body = chat(&json!({"max_tokens": 3}));
    body["messages"][0]["content"] = json!("tell me about the sea ".repeat(2_000));
    let (first, second) = (core.ask(Kind::Chat, &body).await, core.ask(Kind::Chat, &body).await);
    let usage = |whole: &Whole| whole.json()["usage"].clone();
    let (prompt, cached) =
        (usage(&first)["prompt_tokens"].as_u64().unwrap(), &usage(&second)["prompt_tokens_details"]);
    assert_eq!(usage(&first)["prompt_tokens_details"]["cached_tokens"], 0);
    assert!(prompt > 8_000 && cached["cached_tokens"].as_u64().unwrap() > prompt - 16, "{prompt} {cached}");
    assert!(second.came[0] * 4 < first.came[0], "{:?} {:?}", first.came, second.came);
    assert_eq!(second.peeked().usage.map(|usage| u64::from(usage.cached)), cached["cached_tokens"].as_u64());
}

#[tokio::test(start_paused = true)]
async fn the_round_trip_is_paid_once_and_tokens_come_at_the_pace_of_the_gpu() {
    let body = chat(&json!({"stream": true, "max_tokens": 50, "ignore_eos": true}));
    let (near, far) = (
        chatting().ask(Kind::Chat, &body).await,
        core("azure-westeurope-chat-1").ask(Kind::Chat, &body).await,
    );
    let ms = Duration::from_millis;
    assert!(near.came[0] > ms(14) && near.came[0] < ms(25), "{:?}", near.came[0]);
    assert!(far.came[0] > ms(89 + 11) && far.came[0] < ms(89 + 22), "{:?}", far.came[0]);
    let pace = |whole: &Whole| (whole.came[49] - whole.came[0]) / 49;
    assert!(pace(&near) > ms(15) && pace(&near) < ms(18), "{:?}", pace(&near));
    assert!(pace(&far) > ms(12) && pace(&far) < ms(15), "{:?}", pace(&far));
}

#[tokio::test(start_paused = true)]
async fn on_another_time_scale_everything_takes_as_many_times_as_long() {
    let body = chat(&json!({"stream": true, "max_tokens": 50, "ignore_eos": true}));
    let real = core("azure-westeurope-chat-1").ask(Kind::Chat, &body).await;
    let slow =
        embedded(1, EPOCH, 20).into_iter().find(|b| b.spec().name == "azure-westeurope-chat-1").unwrap();
    let slow = core_of(slow).ask(Kind::Chat, &body).await;
    assert_eq!(real.events().len(), slow.events().len());
    for (real, slow) in real.came.iter().zip(&slow.came) {
        // Timers tick in milliseconds.
        assert!(slow.abs_diff(*real * 20) < Duration::from_millis(25), "{real:?} {slow:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_frees_the_gpu_at_once() {
    let core = chatting();
    let greedy = request(Kind::Chat, &chat(&json!({"stream": true, "n": 128, "ignore_eos": true})));
    let (mut one, mut two) = (core.start(&greedy), core.start(&greedy));
    for answer in [&mut one, &mut two] {
        poll_fn(|cx| answer.poll_chunk(cx)).await.unwrap().unwrap();
    }
    // Another core, the same GPU: all places are taken.
    let other = core.backend.engine(Arc::clone(&core.clock));
    let last = request(Kind::Chat, &chat(&json!({"max_tokens": 1})));
    let mut waits = other.start(&Call { request: &last, alias: None, again: false });
    let second = Duration::from_secs(1);
    let limit = core.clock.sleep_until(core.clock.now() + second);
    tokio::select! {
        biased;
        _ = poll_fn(|cx| waits.poll_head(cx)) => panic!("there was no place"),
        () = limit => {}
    }
    let left = core.clock.now();
    let (head, ()) = tokio::join!(poll_fn(|cx| waits.poll_head(cx)), async { drop(one) });
    assert_eq!(head.unwrap().status, 200);
    // The rest of the step under way, and one in which 128 others decode.
    assert!(core.clock.now() - left < Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn whoever_is_preempted_goes_on_with_the_same_text() {
    let body = chat(&json!({"n": 4, "temperature": 1, "seed": 7, "ignore_eos": true, "max_tokens": 200}));
    let (roomy, cramped) = (cramped(100_000), cramped(500));
    let (all, few) = (roomy.ask(Kind::Chat, &body).await, cramped.ask(Kind::Chat, &body).await);
    assert_eq!(all.json()["choices"], few.json()["choices"]);
    assert_eq!(all.json()["usage"], few.json()["usage"]);
    assert!(few.came[0] > all.came[0] * 4 / 3, "{:?} {:?}", few.came, all.came);
}

#[tokio::test(start_paused = true)]
async fn a_request_for_more_than_the_memory_holds_is_refused() {
    let core = cramped(160);
    let refused = core.ask(Kind::Chat, &chat(&json!({"ignore_eos": true, "max_tokens": 161}))).await;
    assert_eq!(refused.head.status, 400);
    let error = &refused.json()["error"];
    assert_eq!(error["code"], "context_length_exceeded");
    let message = "prompt and answer may need memory for 177 tokens, and there is room for 160";
    assert_eq!(error["message"], message);
    let served = core.ask(Kind::Chat, &chat(&json!({"ignore_eos": true, "max_tokens": 140}))).await;
    assert_eq!(served.head.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_long_prompt_slows_the_streams_beside_it() {
    let core = chatting();
    let body = chat(&json!({"stream": true, "max_tokens": 40, "ignore_eos": true}));
    let long = json!({"prompt": "tell me about the sea ".repeat(2_000), "max_tokens": 1});
    let alone = core.ask(Kind::Chat, &body).await;
    let (beside, _) = tokio::join!(core.ask(Kind::Chat, &body), core.ask(Kind::Completion, &long));
    let slowest = |whole: &Whole| whole.came.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    let ms = Duration::from_millis;
    assert!(slowest(&alone) < ms(20) && slowest(&beside) > ms(400), "{:?}", slowest(&beside));
}

#[tokio::test(start_paused = true)]
async fn an_embedding_takes_the_time_of_its_prefill() {
    let core = core("azure-westus3-embed-1");
    let short = core.ask(Kind::Embedding, &json!({"input": "a harbour"})).await;
    let long = core.ask(Kind::Embedding, &json!({"input": vec!["a harbour ".repeat(500); 20]})).await;
    assert_eq!(short.json()["data"][0]["embedding"].as_array().unwrap().len(), 1_024);
    let ms = Duration::from_millis;
    assert!(short.came[0] >= ms(75) && short.came[0] < ms(80), "{:?}", short.came);
    assert!(long.came[0] > ms(300) && long.came[0] < ms(3_000), "{:?}", long.came);
}
