use std::collections::{HashMap, HashSet};

use super::*;

fn generate(workload: &Synthetic, seconds: u64) -> Trace {
    workload.generate("m", &[], Duration::from_secs(seconds), 1).unwrap()
}

fn rate(trace: &Trace, from: u64, until: u64) -> f64 {
    let count = trace.arrivals.iter().filter(|a| (from..until).contains(&a.at.as_secs())).count();
    count as f64 / (until - from) as f64
}

#[test]
fn the_rate_is_that_of_the_process_from_the_first_minutes_to_the_last() {
    for name in WORKLOADS {
        let trace = generate(&Synthetic::of(name), 1_800);
        for (from, until) in [(0, 600), (1_200, 1_800)] {
            let rate = rate(&trace, from, until);
            assert!((rate - 10.0).abs() < 1.5, "{name}: {rate} from {from} s");
        }
        assert!(trace.arrivals.is_sorted_by_key(|arrival| arrival.at));
    }
}

#[test]
fn a_turn_begins_with_all_that_was_said_before() {
    let workload = Synthetic { groups: 0, ..Synthetic::of("conversations") };
    let trace = generate(&workload, 600);
    let mut sessions: HashMap<u64, Vec<&Arrival>> = HashMap::new();
    for arrival in trace.arrivals.iter().filter(|arrival| arrival.block_count > 0) {
        sessions.entry(trace.blocks_of(arrival)[0]).or_default().push(arrival);
    }
    let mut followed = 0;
    for turns in sessions.values() {
        for pair in turns.windows(2) {
            let (before, after) = (trace.blocks_of(pair[0]), trace.blocks_of(pair[1]));
            assert!(after.starts_with(before));
            assert!(pair[1].prompt_tokens > pair[0].prompt_tokens + pair[0].output_tokens);
            followed += 1;
        }
    }
    assert!(followed > 1_000, "{followed}");
}

#[test]
fn a_group_shares_its_prefix_and_asks_a_few_questions_again() {
    let trace = generate(&Synthetic::of("shared_prefix"), 600);
    let at = |index: usize| -> HashSet<u64> {
        trace.arrivals.iter().map(|arrival| trace.blocks_of(arrival)[index]).collect()
    };
    // 6,000 tokens are 375 blocks, and the question ends with block 449.
    assert_eq!((at(0).len(), at(374).len()), (150, 150));
    assert!((700..=750).contains(&at(375).len()) && at(375).len() == at(449).len());
    assert!(trace.arrivals.iter().all(|a| (a.prompt_tokens, a.output_tokens) == (7_200, 1_000)));
}

#[test]
fn a_block_that_the_prefix_ends_in_is_not_shared() {
    let workload = Synthetic { prefix_tokens: 6_008, questions: 0, ..Synthetic::of("shared_prefix") };
    let trace = generate(&workload, 60);
    let straddling: HashSet<u64> = trace.arrivals.iter().map(|a| trace.blocks_of(a)[375]).collect();
    assert_eq!(straddling.len(), trace.arrivals.len());
}

#[test]
fn a_session_ends_before_the_context_is_full() {
    let workload = Synthetic { max_context: 8_000, ..Synthetic::of("agents") };
    let trace = generate(&workload, 120);
    let longest = trace.arrivals.iter().filter(|a| a.prompt_tokens + a.output_tokens > 8_000).count();
    // Only a first turn may be longer, and those that are stand alone.
    assert!(longest * 50 < trace.arrivals.len(), "{longest} of {}", trace.arrivals.len());
}

#[test]
fn a_seed_decides_and_a_longer_trace_begins_the_same() {
    let workload = Synthetic::of("agents");
    let (short, long) = (generate(&workload, 60), generate(&workload, 120));
    assert_eq!(short, generate(&workload, 60));
    for (a, b) in short.arrivals.iter().zip(&long.arrivals) {
        assert_eq!((a.at, a.prompt_tokens, short.blocks_of(a)), (b.at, b.prompt_tokens, long.blocks_of(b)));
    }
    let other = workload.generate("m", &[], Duration::from_secs(60), 2).unwrap();
    assert_ne!(other.arrivals[0], short.arrivals[0]);
}

#[test]
fn a_session_belongs_to_one_tenant() {
    let tenants = [("a".to_owned(), 1.0), ("b".to_owned(), 1.0)];
    let workload = Synthetic { groups: 0, ..Synthetic::of("agents") };
    let trace = workload.generate("m", &tenants, Duration::from_secs(300), 1).unwrap();
    let mut owners: HashMap<u64, u16> = HashMap::new();
    for arrival in &trace.arrivals {
        assert_eq!(*owners.entry(trace.blocks_of(arrival)[0]).or_insert(arrival.tenant), arrival.tenant);
    }
    assert_eq!(owners.values().collect::<HashSet<_>>().len(), 2);
}

#[test]
fn what_would_not_fit_is_refused() {
    let mut workload = Synthetic::of("plain");
    workload.arrivals.rate = 1e6;
    let error = workload.generate("m", &[], Duration::from_secs(1_000), 1).unwrap_err();
    assert_eq!(error.to_string(), "requests of a trace would be more than 67108864");
}
