//! Whole worlds: what comes of them can be computed by hand, or must not depend on how they are run.

#![expect(clippy::unwrap_used, reason = "what surprises a test ends it")]

use std::path::Path;

use plimsoll_workload::report::{Outcome as Ended, Report};
use plimsoll_workload::scenario::Scenario;
use plimsoll_workload::simulation::{Options, Outcome, simulate};

fn run_with(text: &str, options: &Options) -> Vec<Outcome> {
    let scenario = Scenario::read("world.yaml", text).unwrap_or_else(|problems| panic!("{}", problems[0]));
    simulate(&scenario, Path::new(""), options).unwrap().0
}

fn run(text: &str) -> Vec<Outcome> {
    run_with(text, &Options { threads: 1, every_token: true, records: true })
}

fn json(outcomes: &[Outcome]) -> String {
    outcomes.iter().map(|outcome| outcome.report.json()).collect()
}

/// A millisecond for each prompt token, ten for each step that decodes.
const QUEUE: &str = "step_time: {e1: 1.0, d0: 10.0}, prefix_cache: false, kv_tokens: 1000000";

const BUSY: &str = "
trace:
  synthetic: conversations
  arrivals: {process: gamma, rate: 40, cv: 3}
  for_s: 20
gateways: [{count: 2}]
backends:
  - {name: a, cloud: x, region: r, count: 2}
  - {name: b, cloud: x, region: s, count: 2, accelerator: H100, rtt_ms: 60}
faults:
  - {what: slow, at: x/s, share: 0.5, factor: 3, after_s: 5, for_s: 10}
policies: [power_of_two, random]
seeds: 2
";

#[test]
fn a_lone_request_takes_what_its_steps_and_the_network_take() {
    let outcomes = run(&format!(
        "
trace:
  synthetic: plain
  arrivals: {{process: constant, rate: 0.5}}
  prompt: {{law: fixed, mean: 100}}
  output: {{law: fixed, mean: 3}}
  requests: 4
reality: {{speed_sigma: 0}}
backends: [{{name: one, rtt_ms: 40, {QUEUE}}}]
"
    ));
    for record in &outcomes[0].records {
        // There, 100 ms of prefill, and back; then two steps of 10 ms.
        assert_eq!((record.first_token.unwrap() - record.due).as_millis(), 140);
        assert_eq!((record.end - record.due).as_millis(), 160);
        assert_eq!((record.outcome, record.output_tokens, record.backend), (Ended::Ok, 3, Some(0)));
    }
    let itl = outcomes[0].report.total.itl;
    assert_eq!(itl.count, 8);
    assert!((itl.mean - 0.010).abs() < 0.0002, "{itl:?}");
}

#[test]
fn the_same_seed_gives_the_same_report_to_the_byte_on_one_thread_or_many() {
    let options = |threads| Options { threads, every_token: true, records: false };
    let once = json(&run_with(BUSY, &options(1)));
    assert!(once == json(&run_with(BUSY, &options(1))), "twice on one thread");
    assert!(once == json(&run_with(BUSY, &options(4))), "on four threads");
    assert!(
        once != json(&run_with(&BUSY.replace("seeds: 2", "seeds: 2\nseed: 7"), &options(1))),
        "another seed"
    );
}

#[test]
fn tokens_that_go_together_change_no_statistic() {
    let options = |every_token| Options { threads: 2, every_token, records: false };
    let at_once = format!("{BUSY}routing: {{line_prefill_ms: 0}}\n");
    assert!(json(&run_with(&at_once, &options(true))) == json(&run_with(&at_once, &options(false))));
    // Where requests wait, who looks first of those that are woken in one instant may be another.
    let ttft = |every_token| {
        let outcomes = run_with(BUSY, &options(every_token));
        outcomes.iter().map(|outcome| outcome.report.total.ttft.mean).sum::<f64>()
    };
    let ratio = ttft(true) / ttft(false);
    assert!((0.98..1.02).contains(&ratio), "{ratio}");
}

#[test]
fn nothing_is_lost_between_the_trace_and_the_report() {
    for outcome in run(BUSY) {
        let report = &outcome.report;
        assert_eq!(report.total.ended(Ended::Ok), report.total.requests);
        let fleet = report.fleet.as_ref().unwrap();
        assert_eq!(fleet.total.output_tokens, report.total.output_tokens);
        assert_eq!(fleet.total.cached_tokens, report.total.cached_tokens);
        let answered: u64 = report.by_backend.iter().map(|group| group.figures.requests).sum();
        assert_eq!(answered, report.total.requests);
    }
}

const DYING: &str = "
trace:
  synthetic: plain
  arrivals: {process: poisson, rate: 30}
  for_s: 60
backends:
  - {name: mortal, count: 1}
  - {name: well, count: 3}
faults:
  - {what: WHAT, at: mortal, after_s: 20, for_s: 15}
";

#[test]
fn a_backend_that_dies_breaks_what_it_was_writing_and_nothing_else() {
    let report: Report = run(&DYING.replace("WHAT", "dead")).remove(0).report;
    let broken = report.total.ended(Ended::Broken);
    assert!(broken > 0, "streams were under way there");
    let whole = report.total.ended(Ended::Ok);
    assert_eq!(whole + broken, report.total.requests, "before the first token nobody noticed");
    let mortal = report.load.iter().find(|load| load.name == "mortal").unwrap();
    // 40 slices of 1.5 seconds: dead from the 14th to the 23rd.
    assert_eq!(mortal.requests[15..22].iter().sum::<u64>(), 0);
    assert!(mortal.requests[30..].iter().sum::<u64>() > 0, "it came back");
}

#[test]
fn a_backend_that_hangs_costs_callers_time_and_no_answer_that_had_not_begun() {
    let report: Report = run(&DYING.replace("WHAT", "hung")).remove(0).report;
    let (ok, broken) = (report.total.ended(Ended::Ok), report.total.ended(Ended::Broken));
    assert_eq!(ok + broken, report.total.requests);
    assert!(report.total.ttft.max > 5.0, "who waited there was sent on after the first-token limit");
    let mortal = report.load.iter().find(|load| load.name == "mortal").unwrap();
    assert!(mortal.requests[30..].iter().sum::<u64>() > 20, "it was restarted and came back");
}

#[test]
fn a_committed_backend_costs_all_the_time_and_another_only_while_it_has_requests() {
    let outcomes = run(&format!(
        "
trace:
  synthetic: plain
  arrivals: {{process: constant, rate: 0.1}}
  prompt: {{law: fixed, mean: 1000}}
  output: {{law: fixed, mean: 1}}
  requests: 10
reality: {{speed_sigma: 0}}
backends:
  - {{name: g, count: 1, committed: 1, committed_dollars: 2, on_demand_dollars: 5, rtt_ms: 0, {QUEUE}}}
variants: [{{name: committed}}, {{name: on demand, commitments: false}}]
"
    ));
    let dollars = |index: usize| outcomes[index].report.fleet.as_ref().unwrap().total.dollars;
    let elapsed = outcomes[0].report.elapsed_seconds;
    assert!((dollars(0) - 2.0 * elapsed / 3_600.0).abs() < 1e-9, "{}", dollars(0));
    // Ten requests of a second each.
    assert!((dollars(1) - 5.0 * 10.0 / 3_600.0).abs() < 1e-9, "{}", dollars(1));
}

#[test]
fn callers_take_the_gateway_of_their_region_and_wait_for_the_way_to_another() {
    let outcomes = run(&format!(
        "
trace:
  synthetic: plain
  arrivals: {{process: constant, rate: 1, regions: [{{name: here}}, {{name: far}}]}}
  prompt: {{law: fixed, mean: 100}}
  output: {{law: fixed, mean: 1}}
  requests: 20
reality: {{speed_sigma: 0}}
gateways: [{{region: here}}]
round_trips: [{{from: far, to: here, ms: 300}}]
backends: [{{name: one, rtt_ms: 0, {QUEUE}}}]
"
    ));
    for record in &outcomes[0].records {
        let expected = if record.region == 0 { 100 } else { 400 };
        assert_eq!((record.end - record.due).as_millis(), expected);
    }
}

#[test]
fn behind_closed_borders_a_region_has_only_itself() {
    let outcomes = run(&format!(
        "
trace:
  synthetic: plain
  arrivals: {{process: constant, rate: 1.5, regions: [{{name: x/here}}, {{name: x/far, share: 0.000001}}]}}
  prompt: {{law: fixed, mean: 1000}}
  output: {{law: fixed, mean: 1}}
  for_s: 20
gateways: [{{region: x/here}}, {{region: x/far}}]
round_trips: [{{from: x/here, to: x/far, ms: 50}}]
backends:
  - {{name: far, cloud: x, region: far, rtt_ms: 0, {QUEUE}}}
  - {{name: here, cloud: x, region: here, rtt_ms: 0, {QUEUE}}}
variants: [{{name: open}}, {{name: closed, borders: closed}}]
"
    ));
    let far = |index: usize| {
        let records = outcomes[index].records.iter();
        records.filter(|record| record.region == 0 && record.backend == Some(0)).count()
    };
    assert!(far(0) > 5 && far(1) == 0, "{} {}", far(0), far(1));
    assert!(outcomes[1].records.iter().any(|record| record.backend == Some(1)));
}

#[test]
fn what_a_prompt_shares_with_an_earlier_one_is_not_computed_again() {
    let world = |cache: &str| {
        format!(
            "
trace:
  synthetic: shared_prefix
  groups: 2
  arrivals: {{process: constant, rate: 1}}
  for_s: 60
backends: [{{name: one, count: 1, prefix_cache: {cache}}}]
"
        )
    };
    let (with, without) = (run(&world("true")), run(&world("false")));
    let hit = |outcomes: &[Outcome]| outcomes[0].report.fleet.as_ref().unwrap().total.cache_hit;
    assert!(hit(&with) > 0.8, "{}", hit(&with));
    assert_eq!(hit(&without), 0.0);
    assert!(with[0].report.total.ttft.mean < 0.6 * without[0].report.total.ttft.mean);
}

const SESSIONS: &str = "
trace:
  synthetic: conversations
  arrivals: {process: poisson, rate: 12}
  for_s: 120
backends: [{name: h100, count: 4, accelerator: H100, shape: 8B}]
policies: [power_of_two, expected_cost]
seeds: 2
";

#[test]
fn sessions_go_where_their_beginning_is_cached_and_no_backend_gets_all_of_them() {
    let outcomes = run_with(SESSIONS, &Options { threads: 2, every_token: false, records: false });
    let of = |policy: &'static str| outcomes.iter().filter(move |outcome| outcome.policy == policy);
    let hit = |policy: &'static str| -> f64 {
        of(policy).map(|outcome| outcome.report.fleet.as_ref().unwrap().total.cache_hit).sum::<f64>() / 2.0
    };
    assert!(
        hit("expected_cost") > 1.3 * hit("power_of_two"),
        "{} {}",
        hit("expected_cost"),
        hit("power_of_two")
    );
    for outcome in of("expected_cost") {
        let most = outcome.report.by_backend.iter().map(|group| group.figures.requests).max().unwrap();
        assert!(most < outcome.report.total.requests / 2, "{most} of {}", outcome.report.total.requests);
    }
}

const CROWDED: &str = "
trace:
  synthetic: plain
  arrivals: {process: poisson, rate: 45}
  for_s: 60
gateways: [{count: 6}]
reports_ms: 500
backends: [{name: h100, count: 2, accelerator: H100}, {name: a100, count: 2, accelerator: A100}]
policies: [expected_cost]
seeds: 3
";

#[test]
fn reports_of_what_others_sent_do_no_harm_and_start_no_herd() {
    let options = Options { threads: 2, every_token: false, records: false };
    let mean = |text: &str| -> f64 {
        run_with(text, &options).iter().map(|outcome| outcome.report.total.e2e.mean).sum::<f64>() / 3.0
    };
    let (told, alone) = (mean(CROWDED), mean(&CROWDED.replace("reports_ms: 500", "reports_ms: 0")));
    assert!(told < 1.05 * alone, "{told} {alone}");
}

const APART: &str = "
trace:
  synthetic: conversations
  arrivals: {process: poisson, rate: 24}
  for_s: 150
reports_ms: 1000
backends: [{name: h100, count: 6, accelerator: H100, shape: 70B, tensor_parallel: 4}]
policies: [expected_cost]
seeds: 3
";

#[test]
fn gateways_that_do_not_talk_send_a_conversation_to_one_home() {
    let options = Options { threads: 2, every_token: false, records: false };
    let hit = |text: &str| -> f64 {
        let outcomes = run_with(text, &options);
        outcomes.iter().map(|outcome| outcome.report.fleet.as_ref().unwrap().total.cache_hit).sum::<f64>()
            / 3.0
    };
    let (one, four) = (hit(APART), hit(&format!("{APART}gateways: [{{count: 4}}]\n")));
    assert!(four > 0.75 * one, "{four} of {one}");
}

#[test]
fn a_region_that_dies_costs_no_new_request_fills_nobody_and_is_not_run_over_when_it_returns() {
    let scenario = plimsoll_workload::scenario::Shipped::named("region-outage").unwrap();
    let policies = "expected_cost, power_of_two, least_in_flight, round_robin";
    let text = scenario.text.replace(policies, "expected_cost").replace("seeds: 3", "seeds: 1");
    let options = Options { threads: 2, every_token: false, records: true };
    let outcomes = run_with(&text, &options);
    let (calm, outage): (Vec<&Outcome>, Vec<&Outcome>) =
        outcomes.iter().partition(|outcome| outcome.label == "calm");
    assert_eq!((calm.len(), outage.len()), (1, 1));
    for (calm, outage) in calm.iter().zip(outage) {
        let new = || outage.records.iter().filter(|record| (120..180).contains(&record.due.as_secs()));
        let (all, lost) = (new().count(), new().filter(|record| record.outcome != Ended::Ok).count());
        assert!(lost as f64 <= 0.001 * all as f64, "{lost} of {all}");
        let fleet = outage.report.fleet.as_ref().unwrap();
        for backend in &fleet.backends {
            assert!(
                backend.preemptions == 0 && backend.peak_kv < 0.97,
                "{}: {}",
                backend.name,
                backend.peak_kv
            );
        }
        // Those that are back get no more in any five seconds than they got before.
        let most = |seconds: std::ops::Range<u64>| -> u32 {
            let mut sent = std::collections::BTreeMap::new();
            for record in outage.records.iter().filter(|record| seconds.contains(&record.sent.as_secs())) {
                *sent.entry((record.sent.as_secs() / 5, record.backend)).or_insert(0) += 1;
            }
            sent.into_values().max().unwrap()
        };
        let (before, returned) = (most(60..120), most(180..240));
        assert!(f64::from(returned) < 1.3 * f64::from(before), "{returned} requests to one, {before} before");
        let after = |outcome: &Outcome| -> f64 {
            let late = outcome.records.iter().filter(|record| (180..240).contains(&record.due.as_secs()));
            let mut ttft: Vec<f64> =
                late.filter_map(|record| Some((record.first_token? - record.due).as_secs_f64())).collect();
            ttft.sort_by(f64::total_cmp);
            ttft[ttft.len() * 99 / 100]
        };
        assert!(after(outage) < 2.0 * after(calm), "{} {}", after(outage), after(calm));
    }
}

/// Requests of two tenants at a backend that has memory for a few at a time, and far more of them than it can serve.
const TOO_MANY: &str = "
trace:
  synthetic: plain
  arrivals: {process: poisson, rate: 24}
  for_s: 30
  prompt: {law: fixed, mean: 400}
  output: {law: fixed, mean: 20}
  tenants: [{name: busy, share: 10}, {name: quiet, share: 1}]
backends: [{name: one, kv_tokens: 4000, step_time: {e1: 0.1, d0: 10.0}, prefix_cache: false}]
pipeline: {ttft_limit_ms: 600000, ttft_floor_ms: 600000, hold_headers_ms: 600000}
";

/// How many of a tenant's requests were served, as a share, and the mean time to their first token in seconds.
fn served(outcome: &Outcome, tenant: &str) -> (f64, f64) {
    let index = outcome.about.tenants.iter().position(|name| name == tenant).unwrap();
    let own: Vec<_> = outcome.records.iter().filter(|record| usize::from(record.tenant) == index).collect();
    let waits: Vec<f64> =
        own.iter().filter_map(|record| Some((record.first_token? - record.due).as_secs_f64())).collect();
    (waits.len() as f64 / own.len() as f64, waits.iter().sum::<f64>() / waits.len() as f64)
}

#[test]
fn a_quiet_tenant_does_not_notice_that_another_sends_more_than_can_be_served() {
    let outcomes =
        run(&format!("{TOO_MANY}variants: [{{name: in order, queue_order: arrival}}, {{name: fair}}]"));
    let (share, _) = served(&outcomes[0], "quiet");
    assert!(share < 0.9, "in the order of arrival both suffer: {share}");
    let ((quiet, ttft), (busy, _)) = (served(&outcomes[1], "quiet"), served(&outcomes[1], "busy"));
    assert!(quiet == 1.0 && ttft < 1.0, "{quiet} of the quiet one are served, after {ttft} s");
    assert!(busy > 0.3 && busy < 0.9, "{busy} of the busy one");
}

#[test]
fn who_may_be_urgent_is_served_and_the_others_get_their_reserve() {
    let world = TOO_MANY.replace("share: 10", "share: 2");
    let outcomes = run(&format!(
        "{world}tenants: [{{name: busy, priority: high}}, {{name: quiet, priority: low}}]\nvariants: [{{name: a, queue_order: arrival}}, {{name: b}}]"
    ));
    let (in_order, by_priority) = (served(&outcomes[0], "busy").0, served(&outcomes[1], "busy").0);
    assert!(by_priority > in_order + 0.1, "{in_order} {by_priority}");
    assert!(served(&outcomes[1], "quiet").0 > 0.02, "{:?}", served(&outcomes[1], "quiet"));
}

#[test]
fn without_a_line_nobody_waits_and_nobody_is_refused() {
    let outcomes = run(&format!("{TOO_MANY}variants: [{{name: at once, line: false}}]"));
    assert_eq!((served(&outcomes[0], "busy").0, served(&outcomes[0], "quiet").0), (1.0, 1.0));
}

#[test]
fn a_backend_that_crawls_is_taken_out_until_it_is_well_and_a_policy_that_sees_nothing_gains_most() {
    let outcomes = run("
trace:
  synthetic: plain
  arrivals: {process: poisson, rate: 40}
  for_s: 120
reality: {speed_sigma: 0}
backends:
  - {name: well, count: 3}
  - {name: sick, count: 1}
faults:
  - {what: slow, at: sick, factor: 10, after_s: 20, for_s: 50}
routing: {line_prefill_ms: 0}
variants:
  - {name: taken_out}
  - {name: left, eject_slow: false}
policies: [round_robin]
");
    let late = |outcome: &Outcome| {
        let slow = outcome.records.iter().filter(|record| record.backend == Some(3));
        slow.filter(|record| record.due.as_secs_f64() > 90.0).count()
    };
    let [taken_out, left] = &outcomes[..] else { panic!("{} outcomes", outcomes.len()) };
    let ttft = |outcome: &Outcome| outcome.report.total.ttft;
    let (out, left_in) = (ttft(taken_out), ttft(left));
    assert!(out.mean < left_in.mean / 3.0 && out.p90 < left_in.p90 / 10.0, "{out:?} {left_in:?}");
    let back = late(taken_out) as f64 / late(left) as f64;
    assert!(back > 0.8, "it gets its share again once it is well: {back}");
}
