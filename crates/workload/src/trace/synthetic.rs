//! Workloads that nobody recorded: sessions of one or more turns, with lengths, pauses and shared beginnings of choice.
//!
//! A session is what one caller says and hears. Its prompt at each turn is everything before, answers included, and
//! something new:
//!
//! ```text
//!   │ prefix of the group │ prompt 1 │            ──▶ answer 1
//!   │ prefix of the group │ prompt 1 │ answer 1 │ prompt 2 │            ──▶ answer 2
//!   block ids: a b c d e f g h i j k l m n o p ...       the same ids at every turn, more of them
//! ```
//!
//! The four workloads are one machine with different defaults: `plain` has sessions of one turn, `conversations` of
//! several at the pace of people, `shared_prefix` groups that begin with the same long prompt and ask a few questions
//! again and again, `agents` many short turns behind one of a few prompts.

mod session;

use std::time::Duration;

use plimsoll_types::{Key, Keys, Section};

use super::arrivals::Arrivals;
use super::builder::MOST_BLOCKS;
use super::lengths::Law;
use super::servegen::MOST_REQUESTS;
use super::{Answer, Arrival, Error, Trace};
use session::Session;

/// The names of the workloads.
pub const WORKLOADS: &[&str] = &["plain", "conversations", "shared_prefix", "agents"];

/// A workload, and how much of everything it has.
#[derive(Debug, Clone, PartialEq)]
pub struct Synthetic {
    /// One of [`WORKLOADS`].
    pub workload: &'static str,
    /// What comes back: one of [`Answer::NAMES`].
    pub answer: &'static str,
    /// When requests arrive; a session's later turns follow its first by their pauses.
    pub arrivals: Arrivals,
    /// Tokens that each turn adds to the prompt.
    pub prompt: Law,
    /// Tokens of each answer.
    pub output: Law,
    /// Turns of a session.
    pub turns: Law,
    /// Seconds from the arrival of a turn to that of the next, answer included.
    pub think_s: Law,
    /// Groups of sessions that begin with the same prefix; 0 means that every session is alone.
    pub groups: u64,
    /// Tokens of the prefix that a group shares.
    pub prefix_tokens: u64,
    /// Different sessions of a group, which come again and again word by word; 0 means that each is new.
    pub questions: u64,
    /// Tokens of a session at which it ends.
    pub max_context: u64,
    /// Tokens of a block.
    pub block_tokens: u64,
}

impl Default for Synthetic {
    fn default() -> Self {
        Self::of("plain")
    }
}

impl Synthetic {
    /// The workload of this name with its defaults; `plain` if there is none.
    #[must_use]
    pub fn of(workload: &'static str) -> Self {
        let plain = Self {
            workload,
            answer: Answer::NAMES[0],
            arrivals: Arrivals::default(),
            prompt: Law::lognormal(1_000.0, 1.2, 16_384.0),
            output: Law::lognormal(200.0, 1.0, 2_048.0),
            turns: Law::fixed(1.0),
            think_s: Law::exponential(30.0),
            groups: 0,
            prefix_tokens: 0,
            questions: 0,
            max_context: 131_072,
            block_tokens: 16,
        };
        match workload {
            "conversations" => Self {
                prompt: Law::lognormal(150.0, 1.5, 8_192.0),
                output: Law::lognormal(250.0, 0.8, 2_048.0),
                turns: Law::lognormal(4.0, 0.8, 30.0),
                groups: 1,
                prefix_tokens: 256,
                ..plain
            },
            // The figures of llm-d's benchmark of the same name.
            "shared_prefix" => Self {
                prompt: Law::fixed(1_200.0),
                output: Law::fixed(1_000.0),
                groups: 150,
                prefix_tokens: 6_000,
                questions: 5,
                ..plain
            },
            "agents" => Self {
                prompt: Law::lognormal(400.0, 1.5, 16_384.0),
                output: Law::lognormal(120.0, 0.8, 2_048.0),
                turns: Law::lognormal(20.0, 1.0, 100.0),
                think_s: Law::exponential(4.0),
                groups: 10,
                prefix_tokens: 4_000,
                ..plain
            },
            _ => Self { workload: "plain", ..plain },
        }
    }

    /// The requests of `model` from the beginning to `until`, sent by tenants of these weights; without any, by one.
    ///
    /// The trace begins in the middle of things: sessions that began before it are under way, so that the rate is that
    /// of the process from the first second.
    ///
    /// # Errors
    ///
    /// That the trace would have more requests or block ids than fit.
    pub fn generate(
        &self,
        model: &str,
        tenants: &[(String, f64)],
        until: Duration,
        seed: u64,
    ) -> Result<Trace, Error> {
        let until = until.as_secs_f64();
        if self.arrivals.mean_rate() * until > MOST_REQUESTS as f64 {
            return Err(Error::TooLarge { what: "requests", most: MOST_REQUESTS });
        }
        let (mut trace, answer) = (self.empty(model, tenants), Answer::named(self.answer));
        let (turns, length) = self.typical_session(seed);
        // Three typical lengths before the beginning nearly all that would still be under way has begun.
        let times = self.arrivals.times(-3.0 * length, 1.0 / turns, seed);
        for (number, (begin, region)) in (0..).zip(times.take_while(|(at, _)| *at < until)) {
            let mut session = Session::new(self, seed, number);
            let tenant = session.tenant(tenants);
            let blocks = (trace.blocks.len() as u64, self.block_tokens);
            let requests = session.turns(self).filter_map(|turn| {
                let at = begin + turn.after;
                let arrival = turn.arrival(blocks, tenant, region);
                (0.0..until).contains(&at).then(|| Arrival {
                    at: Duration::from_secs_f64(at),
                    answer,
                    ..arrival
                })
            });
            let first = trace.arrivals.len();
            trace.arrivals.extend(requests);
            self.add_blocks(&session, first, &mut trace)?;
        }
        trace.arrivals.sort_by_key(|arrival| arrival.at);
        Ok(trace)
    }

    /// Adds the block ids of a session, whose requests are those from `first` on: the ids of a turn are the first ones
    /// of those of the turn after it, and stand in the trace once.
    fn add_blocks(&self, session: &Session, first: usize, trace: &mut Trace) -> Result<(), Error> {
        let ids = trace.arrivals[first..].last().map_or(0, |last| last.block_count);
        if trace.blocks.len() + ids as usize > MOST_BLOCKS {
            return Err(Error::TooLarge { what: "block ids", most: MOST_BLOCKS });
        }
        trace.blocks.extend((0..u64::from(ids)).map(|index| session.block(self, index)));
        Ok(())
    }

    fn empty(&self, model: &str, tenants: &[(String, f64)]) -> Trace {
        let tenants = tenants.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        Trace {
            name: self.workload.into(),
            block_tokens: self.block_tokens as u32,
            models: vec![model.into()],
            tenants: if tenants.is_empty() { vec!["default".into()] } else { tenants },
            regions: self.arrivals.region_names(),
            ..Trace::default()
        }
    }

    /// Turns of a session and seconds that it lasts, in the mean of a few thousand.
    fn typical_session(&self, seed: u64) -> (f64, f64) {
        const SESSIONS: u32 = 4_000;
        let (mut turns, mut length) = (0.0, 0.0);
        for number in 0..u64::from(SESSIONS) {
            let mut last = 0.0;
            for turn in Session::new(self, seed, number).turns(self) {
                turns += 1.0;
                last = turn.after;
            }
            length += last;
        }
        (turns / f64::from(SESSIONS), length / f64::from(SESSIONS))
    }
}

impl Section for Synthetic {
    fn keys(&mut self, keys: &mut dyn Keys) {
        let mut workload = self.workload;
        keys.choice(Key::new("synthetic", "What kind of requests to make up."), WORKLOADS, &mut workload);
        if workload != self.workload {
            *self = Self::of(workload);
        }
        let key = Key::new(
            "answer",
            "What comes back in a simulation: a `stream`, a text as a `whole`, or an `embedding`, for which nothing is \
             written; `plimsoll load` asks for what its flags say.",
        );
        keys.choice(key, Answer::NAMES, &mut self.answer);
        keys.section(Key::new("arrivals", "When they arrive."), &mut self.arrivals);
        keys.section(Key::new("prompt", "Tokens that each turn adds to the prompt."), &mut self.prompt);
        keys.section(Key::new("output", "Tokens of each answer."), &mut self.output);
        keys.section(Key::new("turns", "Turns of a conversation."), &mut self.turns);
        let key = Key::new("think_s", "Seconds from the arrival of a turn to that of the next.");
        keys.section(key, &mut self.think_s);
        let key = Key::new("groups", "Groups that begin with the same prefix; 0 means none.");
        keys.number(key, 0..=1_000_000, &mut self.groups);
        let key = Key::new("prefix_tokens", "Tokens of the prefix that a group shares.");
        keys.number(key, 0..=1_048_576, &mut self.prefix_tokens);
        let key = Key::new("questions", "Different sessions of a group, which come again; 0: each is new.");
        keys.number(key, 0..=1_000_000, &mut self.questions);
        let key = Key::new("max_context", "Tokens of prompt and answer at which a conversation ends.");
        keys.number(key, 1..=16_777_216, &mut self.max_context);
        let key = Key::new("block_tokens", "Tokens of the blocks by which prefixes are compared.");
        keys.number(key, 1..=1_048_576, &mut self.block_tokens);
    }
}

#[cfg(test)]
mod tests;
