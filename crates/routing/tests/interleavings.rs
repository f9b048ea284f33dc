//! Whatever cores do at the same time, what was counted in is given back, and a healthy backend that may be used is.
//!
//! Threads are played against each other by a scheduler that chooses at every atomic operation who goes on: some thousand
//! orders of each story, the same ones each time.

#![expect(clippy::unwrap_used, reason = "what surprises a test ends it")]

use std::sync::Arc;
use std::time::Duration;

use plimsoll_routing::{
    Config, Dispatched, DomainConfig, Fleet, PickError, RequestShape, Router, Verdict, Writing,
};
use plimsoll_types::{BackendSpec, Instant, Locality, ServedModel, Usage};
use shuttle::scheduler::RandomScheduler;
use shuttle::{Config as Shuttle, Runner, thread};

/// Orders of each story.
const ORDERS: usize = 1_000;

fn in_every_order(story: impl Fn() + Send + Sync + 'static) {
    let scheduler = RandomScheduler::new_from_seed(0x5ea, ORDERS);
    Runner::new(scheduler, Shuttle::default()).run(story);
}

/// Two backends, each in a region of its own.
fn fleet() -> Arc<Fleet> {
    let spec = |name: &str| BackendSpec {
        name: name.into(),
        locality: Locality { cloud: "aws".into(), region: name.into(), ..Locality::default() },
        models: vec![ServedModel::plain("m")],
        max_in_flight: 1_000,
        ..BackendSpec::default()
    };
    let limit = DomainConfig { at: "aws".into(), max_in_flight: 100, ..DomainConfig::default() };
    let config = Config { consecutive_failures: 2, domains: vec![limit], ..Config::default() };
    Arc::new(Fleet::new(vec![spec("a"), spec("b")], config, None))
}

fn at(millis: u64) -> RequestShape<'static> {
    RequestShape::typical(Instant::ORIGIN + Duration::from_millis(1 + millis))
}

fn pick(fleet: &Fleet, seed: u64, millis: u64, tried: &[usize]) -> Result<Dispatched, PickError> {
    Router::new(seed).pick(fleet.pool("m").unwrap(), &at(millis), tried, &fleet.config)
}

/// Everything that may become of a request, by turns.
fn live(fleet: &Fleet, fate: u64) {
    let now = at(fate).now;
    let Ok(mut sent) = pick(fleet, fate, fate, &[]) else { return };
    match fate % 6 {
        0 => {
            sent.first_token(now);
            sent.judge(Verdict::Ok, now, &fleet.config);
            sent.used(now, Usage { prompt: 1_000, cached: 500, completion: 20 }, Writing::default());
        }
        1 => sent.judge(Verdict::Pushback(Duration::from_secs(1)), now, &fleet.config),
        2 => sent.first_token(now),
        3 => sent.start(),
        4 => {
            sent.judge(Verdict::Failed, now, &fleet.config);
            let tried = [sent.backend.slot];
            drop(sent);
            if let Ok(mut again) = pick(fleet, fate, fate, &tried) {
                again.judge(Verdict::Ok, now, &fleet.config);
            }
        }
        // Its caller leaves.
        _ => {}
    }
}

fn is_at_rest(fleet: &Fleet) {
    for backend in &fleet.backends {
        let load = &backend.load;
        assert_eq!((load.in_flight(), load.decoding()), (0, 0));
        assert_eq!((load.queued_tokens(), load.context()), (0, 0));
        assert!(load.queued_seconds(at(0).now) == 0.0);
        assert!(backend.domains.iter().all(|domain| domain.in_flight() == 0));
    }
}

#[test]
fn what_is_counted_in_is_given_back_whatever_becomes_of_it() {
    in_every_order(|| {
        let fleet = fleet();
        let call = |caller: u64| {
            let fleet = Arc::clone(&fleet);
            thread::spawn(move || (0..4).for_each(|turn| live(&fleet, caller * 5 + turn * 7)))
        };
        let callers = [call(0), call(1), call(2)];
        let operator = {
            let fleet = Arc::clone(&fleet);
            thread::spawn(move || {
                assert!(fleet.take_out_domain("aws/a", true));
                assert!(fleet.take_out_domain("aws/a", false));
            })
        };
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        operator.join().unwrap();
        is_at_rest(&fleet);
    });
}

#[test]
fn while_one_backend_fails_everybody_is_given_one() {
    in_every_order(|| {
        let fleet = fleet();
        let failing = {
            let fleet = Arc::clone(&fleet);
            thread::spawn(move || {
                for turn in 0..3 {
                    let mut sent = pick(&fleet, turn, turn, &[1]).unwrap();
                    sent.judge(Verdict::Failed, at(turn).now, &fleet.config);
                }
            })
        };
        let caller = {
            let fleet = Arc::clone(&fleet);
            thread::spawn(move || {
                for turn in 0..3 {
                    let mut sent = pick(&fleet, turn, turn, &[]).unwrap();
                    sent.judge(Verdict::Ok, at(turn).now, &fleet.config);
                }
            })
        };
        failing.join().unwrap();
        caller.join().unwrap();
        is_at_rest(&fleet);
    });
}

#[test]
fn the_one_place_of_a_backend_in_probation_is_given_to_one() {
    in_every_order(|| {
        let fleet = fleet();
        for turn in 0..2 {
            let mut sent = pick(&fleet, turn, 0, &[1]).unwrap();
            sent.judge(Verdict::Failed, at(0).now, &fleet.config);
        }
        // Its time is over: two come at once, and one of them is sent there to see.
        let come = |seed| {
            let fleet = Arc::clone(&fleet);
            thread::spawn(move || pick(&fleet, seed, 1_500, &[]).unwrap())
        };
        let sent = [come(1), come(2)].map(|caller| caller.join().unwrap());
        assert_eq!(sent.iter().filter(|sent| sent.backend.slot == 0).count(), 1);
    });
}
