//! Traffic that changes its kind: what is learned from one kind must not hold or refuse the next at engines that are idle.

#![expect(clippy::unwrap_used, reason = "what surprises a test ends it")]

use std::path::Path;

use plimsoll_routing::policy::NAMES;
use plimsoll_workload::report::Outcome as Ended;
use plimsoll_workload::scenario::{Scenario, Shipped};
use plimsoll_workload::simulation::{Options, Outcome, simulate};

fn run(text: &str) -> Vec<Outcome> {
    let scenario = Scenario::read("swing.yaml", text).unwrap_or_else(|problems| panic!("{}", problems[0]));
    let options = Options { threads: 2, every_token: false, records: false };
    simulate(&scenario, Path::new(""), &options).unwrap().0
}

/// Every policy answers every request of a shipped scenario, and 99 of 100 of their first tokens come within `seconds`.
fn serves_all_within(name: &str, seconds: f64) {
    let outcomes = run(Shipped::named(name).unwrap().text);
    let policies: Vec<&str> = outcomes.iter().map(|outcome| outcome.policy).collect();
    assert_eq!(policies, NAMES);
    for outcome in &outcomes {
        let total = &outcome.report.total;
        let (failures, p99) = (total.failures(), total.ttft.p99);
        println!("{name} {}: {failures} of {} failed, TTFT p99 {p99:.3} s", outcome.policy, total.requests);
    }
    for outcome in &outcomes {
        let total = &outcome.report.total;
        assert_eq!(total.ended(Ended::Ok), total.requests, "{name} {}: {:?}", outcome.policy, total.outcomes);
        assert!(total.ttft.p99 < seconds, "{name} {}: {:?}", outcome.policy, total.ttft);
    }
}

#[test]
fn whole_answers_that_are_in_flight_hold_nothing_at_idle_engines() {
    // The first token of a whole answer is its end.
    serves_all_within("swing-plain", 8.0);
}

#[test]
fn engines_that_became_slower_still_get_all_that_they_can_serve() {
    serves_all_within("swing-slow", 4.0);
}

#[test]
fn prompts_that_nobody_has_read_are_served_after_prompts_that_were_cached() {
    serves_all_within("swing-cold", 4.0);
}

#[test]
fn embeddings_beside_chats_hold_neither() {
    serves_all_within("swing-mixed", 1.0);
}

#[test]
fn an_address_before_eight_ranks_is_not_taken_for_one_gpu() {
    serves_all_within("swing-ranks", 1.0);
    let eight = Shipped::named("swing-ranks").unwrap().text;
    let first = |text: &str| run(&text.replace("policies: [expected_cost,", "policies: [expected_cost] # ["));
    let tokens = |text: &str| first(text)[0].report.total.tokens_per_second;
    let (eight, one) = (tokens(eight), tokens(&eight.replace("ranks: 8", "ranks: 1")));
    assert!(eight > 3.0 * one, "{eight} tokens a second of eight ranks, {one} of one");
}
