//! What gateways before the same backends tell each other: which prompts they have sent where, and what is still to be read
//! there.
//!
//! ```text
//!   requests ──▶ routing::Journal ──▶ GET /sent on the operators' port ──▶ another gateway: what backends hold and have to read
//! ```
//!
//! Nobody is told anything that he does not ask for, nobody waits for anybody, and a gateway that cannot be reached is one
//! of which nothing is known.

mod ask;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use plimsoll_proto::plimsoll::v1 as wire;
use plimsoll_routing::{Backend, Fleet};
use plimsoll_types::Instant;
use prost::Message;

use crate::house::House;

pub(crate) use ask::start;

/// What is said to whoever asks with `query`, which is `gateway=…&since=…` or nothing.
pub(crate) fn say(house: &House, query: &str) -> Bytes {
    let snapshot = house.shared.snapshot();
    let fleet = &snapshot.fleet;
    let number = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).and_then(|(_, value)| value.parse::<u64>().ok())
    };
    // A place in the journal of another run says nothing here.
    let since = number("since").filter(|_| number("gateway") == Some(house.id));
    let now = house.clock.now();
    let sent = fleet.journal.read(since, now);
    let names: HashMap<usize, &str> =
        fleet.backends.iter().map(|backend| (backend.slot, backend.spec.name.as_str())).collect();
    let prompts = sent.prompts.into_iter().filter_map(|(slot, blocks)| {
        names.get(&slot).map(|name| wire::SentPrompt { backend: (*name).to_owned(), blocks })
    });
    let loads = fleet.backends.iter().map(|backend| wire::SentLoad {
        backend: backend.spec.name.clone(),
        unread_tokens: backend.unread_tokens(now),
    });
    let sent = wire::Sent {
        gateway: house.id,
        next: sent.next,
        prompts: prompts.collect(),
        loads: loads.filter(|load| load.unread_tokens > 0).collect(),
    };
    sent.encode_to_vec().into()
}

/// What other gateways have said last.
#[derive(Debug, Default)]
struct Ledger {
    unread: HashMap<String, (Instant, HashMap<String, u64>)>,
}

/// After so long without a word nothing is known of what a gateway has sent.
const STALE: Duration = Duration::from_secs(5);

impl Ledger {
    /// Takes in what `peer` said.
    fn heard(&mut self, peer: &str, sent: &wire::Sent, (fleet, now): (&Fleet, Instant)) {
        let by_name: HashMap<&str, &Arc<Backend>> =
            fleet.backends.iter().map(|backend| (backend.spec.name.as_str(), backend)).collect();
        for prompt in &sent.prompts {
            if let Some(backend) = by_name.get(prompt.backend.as_str()) {
                backend.holds(&prompt.blocks, now);
            }
        }
        let loads = sent.loads.iter().map(|load| (load.backend.clone(), load.unread_tokens));
        self.unread.insert(peer.to_owned(), (now, loads.collect()));
        self.unread.retain(|_, (at, _)| now - *at < STALE);
        for backend in &fleet.backends {
            let of = |(_, loads): &(_, HashMap<_, _>)| loads.get(&backend.spec.name).copied();
            let tokens = self.unread.values().filter_map(of).fold(0, u64::saturating_add);
            backend.is_to_read(tokens, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_routing::{Config, RequestShape};
    use plimsoll_types::{BackendSpec, ServedModel};

    fn fleet() -> Fleet {
        let spec = |name: &str| BackendSpec {
            name: name.into(),
            models: vec![ServedModel::plain("m")],
            max_in_flight: 10,
            ..BackendSpec::default()
        };
        Fleet::new(vec![spec("a"), spec("b")], Config::default(), None)
    }

    fn at(seconds: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(seconds)
    }

    fn said(unread: u64) -> wire::Sent {
        let load = wire::SentLoad { backend: "b".into(), unread_tokens: unread };
        let prompts = ["b", "gone"].map(|name| wire::SentPrompt { backend: name.into(), blocks: vec![7, 8] });
        wire::Sent { gateway: 1, next: 0, prompts: prompts.into(), loads: vec![load] }
    }

    #[test]
    fn what_others_sent_counts_as_cached_and_as_to_be_read() {
        let (fleet, mut ledger) = (fleet(), Ledger::default());
        let pool = fleet.pool("m").unwrap();
        let conditions = pool.conditions(at(1), &fleet.config);
        let request = RequestShape::typical(at(1));
        let ttft = |index: usize| fleet.backends[index].expected_ttft(&request, &conditions);
        assert_eq!(ttft(0), ttft(1));
        ledger.heard("one", &said(40_000), (&fleet, at(1)));
        let one = ttft(1);
        ledger.heard("two", &said(40_000), (&fleet, at(1)));
        assert!(ttft(0) < one && one < ttft(1), "{} {one} {}", ttft(0), ttft(1));
        let held = |index: usize| fleet.backends[index].cache().unwrap().held().0;
        assert_eq!((held(0), held(1)), (0, 2));
    }

    #[test]
    fn a_gateway_that_says_nothing_any_more_has_nothing_on_its_way() {
        let (fleet, mut ledger) = (fleet(), Ledger::default());
        let ttft = |now: Instant| {
            let request = RequestShape::typical(now);
            fleet.backends[1].expected_ttft(&request, &plimsoll_routing::Conditions::UNKNOWN)
        };
        let idle = ttft(at(1));
        ledger.heard("one", &said(400_000), (&fleet, at(1)));
        ledger.heard("two", &said(0), (&fleet, at(2)));
        assert!(ttft(at(2)) > idle);
        ledger.heard("two", &said(0), (&fleet, at(7)));
        assert_eq!(ttft(at(7)), idle);
    }
}
