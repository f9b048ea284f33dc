//! What is measured: each subject is made once and run many times.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_batching::queue::{Entry, Limits as QueueLimits, Queue};
use plimsoll_batching::step::{Admission, Limits, Next, Scheduler, Sequence};
use plimsoll_engines::event;
use plimsoll_engines::json::Scanner;
use plimsoll_routing::affinity::{Cache, Index};
use plimsoll_routing::{Config, Fleet, Report, RequestShape, Router};
use plimsoll_types::blocks::{self, Chain};
use plimsoll_types::{BackendSpec, Blocks, Instant, Kind, Prices, Priority, ServedModel};

/// An event of a chat, as vLLM writes it.
pub const CHAT_EVENT: &[u8] = br#"{"id":"chatcmpl-9f0c1b2a3d4e5f60","object":"chat.completion.chunk","created":1750000000,"model":"llama-3.1-70b","choices":[{"index":0,"delta":{"content":" token"},"logprobs":null,"finish_reason":null}]}"#;

/// Tokens of a prompt in [`Batch`], a quarter of which others begin with too.
const PROMPT: u32 = 512;
/// Tokens of an answer in [`Batch`], on the average.
const OUTPUT: u32 = 200;

/// A pick by `policy` among so many backends, of a request that is too short to be cached.
pub fn pick(policy: &'static str, backends: usize) -> impl FnMut() {
    pick_for(policy, backends, || Blocks::none().clone())
}

/// A pick by `policy` among so many backends, of a prompt of 500 tokens of which nobody has more than the first block.
pub fn pick_with_prompt(policy: &'static str, backends: usize) -> impl FnMut() {
    let mut number = 0_u64;
    let prompts: Vec<Blocks> = (0..1_024)
        .map(|_| {
            let mut hash = || {
                number += 1;
                number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
            };
            Blocks::new(&[7, hash(), hash()], 2_000)
        })
        .collect();
    let mut next = prompts.into_iter().cycle();
    pick_for(policy, backends, move || next.next().expect("it goes round"))
}

/// The fleet is one at work: every backend has a price and a memory, writes an answer, has been measured and has reported.
fn pick_for(policy: &'static str, backends: usize, mut blocks: impl FnMut() -> Blocks) -> impl FnMut() {
    let spec = |index: usize| BackendSpec {
        name: format!("b{index}"),
        models: vec![ServedModel::plain("m")],
        max_in_flight: u32::MAX,
        kv_tokens: Some(1_000_000),
        prices: Prices { hour: 4.0, committed: index.is_multiple_of(2), ..Prices::default() },
        ..BackendSpec::default()
    };
    let config = Config { policy, ..Config::default() };
    let fleet = Fleet::new((0..backends).map(spec).collect(), config, None);
    let pool = Arc::clone(fleet.pool("m").expect("a bench needs a pool"));
    let mut router = Router::new(1);
    let at = |millis: u64| Instant::ORIGIN + Duration::from_millis(millis);
    let mut at_work = Vec::new();
    for backend in &pool.members {
        let report = Report { waiting: Some(1), running: Some(8), kv_used: Some(0.3), unread_tokens: None };
        backend.reported(at(1_000), &report);
        let mut sent = router.pick(&pool, &RequestShape::typical(at(1_000)), &[], &fleet.config);
        sent.iter_mut().for_each(|sent| sent.first_token(at(1_030)));
        at_work.push(sent);
    }
    move || {
        let (blocks, _) = (blocks(), &at_work);
        let request =
            RequestShape { prompt_tokens: 500, blocks: &blocks, ..RequestShape::typical(at(1_500)) };
        black_box(router.pick(&pool, black_box(&request), &[], &fleet.config).is_ok());
    }
}

/// What a chat event says.
pub fn chat_event() -> impl FnMut() {
    || {
        black_box(event::read(Kind::Chat, black_box(CHAT_EVENT)));
    }
}

/// A chat request with a prompt of so many bytes.
#[must_use]
pub fn body(prompt: usize) -> Vec<u8> {
    let line = "the router keeps each GPU busy by packing requests into one batch\\n";
    let text: String = line.chars().cycle().take(prompt).collect();
    let text = text.trim_end_matches('\\');
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{text}"}}],"max_tokens":64}}"#)
        .into_bytes()
}

/// A look at all of a body.
pub fn json_skip(body: Vec<u8>) -> impl FnMut() {
    move || {
        black_box(Scanner::new(black_box(&body)).skip().is_ok());
    }
}

/// A prompt hashed, and looked up in the index of a busy fleet.
pub fn prefix_hash(prompt: usize) -> impl FnMut() {
    let mut prefixes = Prefixes::new(prompt, 1 << 16);
    move || {
        black_box(prefixes.hash() + prefixes.look_up());
    }
}

/// An index of a busy fleet, and a prompt of which three backends have some: all of it, half, and the first block. The
/// first quarter is everywhere.
pub struct Prefixes {
    /// What is where.
    pub index: Arc<Index>,
    /// Of each backend.
    pub caches: Vec<Cache>,
    prompt: Vec<u8>,
    hashes: Vec<u64>,
}

impl Prefixes {
    /// With a prompt of so many bytes, among so many blocks of others.
    ///
    /// # Panics
    /// If there is no room in the index.
    #[must_use]
    pub fn new(prompt: usize, others: usize) -> Self {
        let index = Index::new(2 * others);
        let join = |slot| index.join(slot, others / 16).expect("there is a seat");
        let caches: Vec<Cache> = (0..16).map(join).collect();
        let mut number = 0_u64;
        for cache in &caches {
            let other = std::iter::repeat_with(|| {
                number += 1;
                number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
            });
            let other: Vec<u64> = other.take(others / 16 - 64).collect();
            other.chunks(64).for_each(|blocks| {
                cache.insert(blocks, Instant::ORIGIN);
            });
        }
        let prompt: Vec<u8> = (0..prompt).map(|at| (at * 31 % 251) as u8).collect();
        let mut prefixes = Self { index, caches, prompt, hashes: Vec::new() };
        prefixes.hash();
        let all = prefixes.hashes.len();
        for (cache, depth) in prefixes.caches.iter().zip([all, all / 2, 1].into_iter().chain([all / 4; 13])) {
            cache.insert(&prefixes.hashes[..depth], Instant::ORIGIN);
        }
        prefixes
    }

    /// Hashes the prompt; gives the number of its blocks.
    pub fn hash(&mut self) -> usize {
        let mut chain = Chain::new(blocks::seed(&[b"model"]), &mut self.hashes);
        chain.add(black_box(&self.prompt));
        self.hashes.len()
    }

    /// Looks up who has how much of it; gives the sum.
    pub fn look_up(&mut self) -> usize {
        let mut sum = 0;
        let everywhere =
            self.index.matched(black_box(&self.hashes), Instant::ORIGIN, |_, depth| sum += depth);
        sum + everywhere
    }

    /// Notes that it was sent to the backend that has it.
    pub fn insert(&mut self) -> usize {
        self.caches[0].insert(black_box(&self.hashes), Instant::ORIGIN)
    }
}

/// A GPU whose memory is so small that those who wait are looked at in every step.
pub struct Batch {
    /// Who plans.
    pub scheduler: Scheduler,
    added: u64,
}

impl Batch {
    /// About so many run, and the others wait because there is no memory for them.
    #[must_use]
    pub fn new(running: u32, admission: Admission) -> Self {
        let limits = Limits {
            sequences: 2 * running,
            // What one holds that is its own, on the average and with what the future peak keeps free.
            kv_blocks: running * 33,
            admission,
            ..Limits::default()
        };
        let mut batch = Self { scheduler: Scheduler::new(limits), added: 0 };
        (0..running + 64).for_each(|_| batch.add());
        // Until the first have been replaced by others, and all are at different places of their answers.
        (0..4 * OUTPUT).for_each(|_| batch.step());
        batch
    }

    fn add(&mut self) {
        let family = self.added % 16;
        let own = |block: u64| if block < 8 { family } else { 16 + self.added };
        let mut hashes = [0; PROMPT as usize / 16];
        (0..).zip(&mut hashes).for_each(|(block, hash)| *hash = own(block) << 8 | block);
        let sequence = Sequence {
            prompt_tokens: PROMPT,
            hashes: &hashes,
            max_output: OUTPUT / 2 + (self.added * 37 % u64::from(OUTPUT)) as u32,
            expected_output: None,
            priority: 0,
        };
        self.added += 1;
        self.scheduler.add(&sequence).expect("there is room for one");
    }

    /// Plans, notes what was written, and adds a sequence for each that ended: the whole of what an executor pays.
    pub fn step(&mut self) {
        black_box(self.scheduler.plan());
        let mut ended = 0;
        self.scheduler.done(|wrote| {
            ended += u32::from(wrote.last);
            Next::Continue
        });
        (0..ended).for_each(|_| self.add());
    }
}

/// A queue in which so many wait, of a thousand tenants and three priorities.
pub struct Waiting {
    queue: Queue,
    came: u64,
}

impl Waiting {
    /// A queue of `len`.
    #[must_use]
    pub fn new(len: usize) -> Self {
        let mut waiting =
            Self { queue: Queue::new(QueueLimits { requests: u64::MAX, ..QueueLimits::default() }), came: 0 };
        (0..len).for_each(|_| waiting.enter());
        waiting
    }

    /// One comes.
    ///
    /// # Panics
    /// If it may not.
    pub fn enter(&mut self) {
        self.came += 1;
        let mixed = self.came.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let entry = Entry {
            tenant: mixed % 1_000,
            weight: 1,
            priority: Priority::ALL[(mixed / 1_000 % 3) as usize],
            reach: 0,
            tokens: 50 + (mixed / 3_000 % 4_000) as u32,
            bytes: 1_000,
            again: false,
            latest: if mixed.is_multiple_of(8) {
                self.now() + Duration::from_secs(60)
            } else {
                Instant::NEVER
            },
        };
        black_box(self.queue.enter(&entry, self.now()).expect("there is room for all"));
    }

    /// The first one leaves. Gives how many are left.
    ///
    /// # Panics
    /// If nobody waits.
    pub fn leave(&mut self) -> usize {
        let now = self.now();
        let first = self.queue.first(now).expect("somebody waits");
        self.queue.serve(first, now);
        self.queue.len()
    }

    /// A hundred thousand come each second.
    fn now(&self) -> Instant {
        Instant::from_nanos(self.came * 10_000)
    }
}
