//! The requests of a run, as the shipped code carries them: a body that is nothing but a number.

use std::sync::Arc;

use bytes::Bytes;
use plimsoll_types::{BLOCK_TOKENS, Blocks, Envelope, Instant, Kind, Priority, Request, Tenant, Text};

use crate::random::mix;
use crate::scenario;
use crate::trace::{Answer, Arrival, Trace};

/// The trace of a run, with what gateways are told of each request.
pub(super) struct Requests {
    trace: Arc<Trace>,
    /// All numbers, one after the other: a body is a slice of it, so that none is allocated.
    numbers: Bytes,
    models: Vec<Text>,
    tenants: Vec<(Arc<Tenant>, Priority)>,
    /// Prompt tokens as a gateway estimates them, who has no tokenizer.
    estimates: Vec<u32>,
}

/// Bytes that a gateway takes a token to have.
const BYTES_PER_TOKEN: u32 = 4;
const ID: Text = Text::from_static("simulated");

impl Requests {
    /// The requests of `trace`, whose prompts gateways take to have `estimates` tokens, and whose tenants they know as
    /// `known`.
    pub(super) fn new(trace: Arc<Trace>, estimates: Vec<u32>, known: &[scenario::Tenant]) -> Self {
        let numbers: Vec<u8> = (0..trace.arrivals.len() as u64).flat_map(u64::to_le_bytes).collect();
        let models = trace.models.iter().map(|model| Text::from(model.clone())).collect();
        let tenants = trace.tenants.iter().map(|name| {
            let plain = scenario::Tenant::default();
            let known = known.iter().find(|known| known.name == *name).unwrap_or(&plain);
            let most_urgent = known.priority();
            let (name, weight) = (name.clone(), known.weight as u32);
            (Arc::new(Tenant { name, weight, most_urgent, ..Tenant::default() }), most_urgent)
        });
        let tenants = tenants.collect();
        Self { trace, numbers: numbers.into(), models, tenants, estimates }
    }

    /// The trace.
    pub(super) fn trace(&self) -> &Trace {
        &self.trace
    }

    /// A request of the trace.
    pub(super) fn arrival(&self, index: usize) -> &Arrival {
        &self.trace.arrivals[index]
    }

    /// A request as a gateway has it at `now`.
    pub(super) fn request(&self, index: usize, now: Instant) -> Request {
        let arrival = self.arrival(index);
        let envelope = Envelope {
            id: ID,
            protocol: plimsoll_types::Protocol::Http,
            kind: if arrival.answer == Answer::Embedding { Kind::Embedding } else { Kind::Chat },
            model: self.models[usize::from(arrival.model)].clone(),
            model_at: 0..0,
            stream: arrival.streams(),
            ask_usage: None,
            tools: false,
            query: None,
            home: None,
            prompt_tokens: self.estimates[index],
            blocks: self.blocks(arrival),
            max_tokens: None,
            priority: self.tenants[usize::from(arrival.tenant)].1,
            tenant: Some(Arc::clone(&self.tenants[usize::from(arrival.tenant)].0)),
            residency: None,
            deadline: None,
            patience: None,
            forward: Vec::new(),
            explain: false,
            cache_salt: None,
            received: now,
        };
        Request { envelope, body: self.numbers.slice(index * 8..index * 8 + 8) }
    }

    /// What its prompt begins with, in blocks as large as those that gateways hash.
    pub(super) fn blocks(&self, arrival: &Arrival) -> Blocks {
        let (size, gateway) = (u64::from(self.trace.block_tokens).max(1), BLOCK_TOKENS);
        let ids = self.trace.blocks_of(arrival);
        let bytes = arrival.prompt_tokens.saturating_mul(BYTES_PER_TOKEN);
        let hashes: Vec<u64> = if size >= gateway {
            let parts = size / gateway;
            ids.iter().flat_map(|id| (0..parts).map(move |part| mix(*id, part))).collect()
        } else {
            // An id stands for all before it: the last of each group does for the group.
            let group = (gateway / size) as usize;
            ids.chunks_exact(group).filter_map(|group| group.last().copied()).collect()
        };
        Blocks::new(&hashes, bytes)
    }

    /// Which request has this body.
    pub(super) fn index_in(body: &Bytes) -> usize {
        let number = body.first_chunk().expect("every body of a simulated request is a number");
        u64::from_le_bytes(*number) as usize
    }
}
