use std::collections::BTreeMap;
use std::time::Duration;

use plimsoll_types::Instant;
use proptest::prelude::*;

use super::{Config, Flight, Micro, Next, Ticket, Why};
use crate::budget::Size;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn at(millis: u64) -> Instant {
    Instant::ORIGIN + ms(millis)
}

fn of(tokens: u32) -> Size {
    Size { items: 1, tokens, longest: tokens }
}

fn config() -> Config {
    Config { max_items: 8, max_tokens: 1_000, max_wait: ms(5), ..Config::default() }
}

fn push(micro: &mut Micro<u32>, one: u32, (tokens, now): (u32, Instant)) -> Ticket {
    assert!(micro.passes(of(tokens), now).is_none());
    micro.push(one, of(tokens), (now, Instant::NEVER)).unwrap()
}

fn leaves(micro: &mut Micro<u32>, now: Instant) -> Option<(Vec<u32>, Flight, Why)> {
    let mut out = Vec::new();
    match micro.next(now, &mut out) {
        Next::Leaves(flight, why) => Some((out, flight, why)),
        Next::Waits(_) => None,
    }
}

/// A lane whose calls take 10 ms and a little for each token, and to which a request came in each of many milliseconds.
fn busy_lane() -> Micro<u32> {
    let mut micro = Micro::new(&config());
    for call in 0..50 {
        let flight = micro.passes(of(10 + call % 5 * 40), at(u64::from(call))).unwrap();
        let took = Duration::from_micros(10_000 + u64::from(10 + call % 5 * 40));
        micro.over(flight, Some(flight.left + took));
    }
    (50..3_000).for_each(|milli| micro.learned.arrived(at(milli)));
    micro
}

#[test]
fn an_idle_backend_is_not_kept_waiting_and_a_busy_one_gathers() {
    let mut micro = Micro::new(&config());
    let flight = micro.passes(of(10), at(0)).unwrap();
    for one in 1..=3 {
        push(&mut micro, one, (10, at(1)));
    }
    assert!(leaves(&mut micro, at(100)).is_none(), "while a call is under way");
    micro.over(flight, Some(at(100)));
    let (batch, flight, why) = leaves(&mut micro, at(100)).unwrap();
    assert_eq!((batch, why, flight.fill.requests), (vec![1, 2, 3], Why::Returned, 3));
    micro.over(flight, None);
    assert!(micro.is_idle());
}

#[test]
fn nobody_waits_much_longer_for_a_call_that_is_slow_than_calls_take() {
    let mut micro = busy_lane();
    let _slow = micro.passes(of(10), at(3_000)).unwrap();
    push(&mut micro, 1, (10, at(3_001)));
    let Next::Waits(until) = micro.next(at(3_001), &mut Vec::new()) else { panic!("it gathers") };
    assert!(until > at(3_021) && until < at(3_030), "twice 10 ms, and 5: {until:?}");
    assert_eq!(leaves(&mut micro, until).map(|(_, _, why)| why), Some(Why::Waited));
}

#[test]
fn a_full_batch_does_not_wait_for_the_call_under_way_but_a_third_does() {
    let mut micro = Micro::new(&config());
    let first = micro.passes(of(10), at(0)).unwrap();
    (0..20).for_each(|one| {
        push(&mut micro, one, (10, at(0)));
    });
    let (batch, ..) = leaves(&mut micro, at(0)).unwrap();
    assert_eq!(batch, (0..8).collect::<Vec<_>>());
    assert!(leaves(&mut micro, at(0)).is_none(), "two are under way");
    micro.over(first, None);
    let (batch, _, why) = leaves(&mut micro, at(0)).unwrap();
    assert_eq!((batch.len(), why), (8, Why::Full));
}

#[test]
fn the_oldest_anchors_and_the_nearest_lengths_join() {
    let mut micro = Micro::new(&config());
    let flight = micro.passes(of(10), at(0)).unwrap();
    for (one, tokens) in [(1, 200), (2, 900), (3, 190), (4, 20), (5, 210), (6, 205)] {
        push(&mut micro, one, (tokens, at(0)));
    }
    micro.over(flight, None);
    let (batch, flight, _) = leaves(&mut micro, at(1)).unwrap();
    assert_eq!(batch, [1, 5, 6, 3], "four of 210 fit into 1,000, and the short one lies farther off");
    assert_eq!((flight.fill.padded(), flight.fill.tokens), (840, 805));
}

#[test]
fn lingering_ends_when_enough_have_come_or_the_oldest_has_waited_long_enough() {
    let mut micro = busy_lane();
    let flight = micro.passes(of(10), at(3_000)).unwrap();
    push(&mut micro, 1, (10, at(3_001)));
    micro.over(flight, Some(at(3_002)));
    let mut out = Vec::new();
    assert!(
        matches!(micro.next(at(3_002), &mut out), Next::Waits(until) if until == at(3_006)),
        "some ten would come in the time that a call costs anyway"
    );
    let (batch, flight, why) = leaves(&mut micro, at(3_006)).unwrap();
    assert_eq!((batch, why), (vec![1], Why::Waited));
    (2..10).for_each(|one| {
        push(&mut micro, one, (10, at(3_006)));
    });
    micro.over(flight, None);
    assert!(leaves(&mut micro, at(3_006)).is_some(), "eight are a full batch");
}

#[test]
fn lingering_stops_before_a_deadline_by_as_much_as_a_call_takes() {
    let mut micro = busy_lane();
    let flight = micro.passes(of(10), at(3_000)).unwrap();
    micro.passes(of(10), at(3_001));
    micro.push(1, of(10), (at(3_001), at(3_016))).unwrap();
    micro.over(flight, Some(at(3_002)));
    let Next::Waits(until) = micro.next(at(3_002), &mut Vec::new()) else { panic!("it lingers") };
    assert!(until < at(3_004) && until > at(3_002), "{until:?}");
    assert_eq!(leaves(&mut micro, until).map(|(_, _, why)| why), Some(Why::Deadline));
}

#[test]
fn what_is_too_large_to_be_joined_is_given_back() {
    let mut micro = Micro::new(&config());
    let _flight = micro.passes(of(10), at(0)).unwrap();
    assert_eq!(micro.push(7, of(1_001), (at(0), Instant::NEVER)), Err(7));
}

#[derive(Debug, Clone)]
enum Move {
    Come { items: u32, longest: u32, patience: Option<u64> },
    Leave(prop::sample::Index),
    Return(prop::sample::Index),
    Pass(u64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        5 => (1..4_u32, 1..600_u32, prop::option::of(0..80_u64))
            .prop_map(|(items, longest, patience)| Move::Come { items, longest, patience }),
        1 => any::<prop::sample::Index>().prop_map(Move::Leave),
        3 => any::<prop::sample::Index>().prop_map(Move::Return),
        3 => (0..4_000_u64).prop_map(Move::Pass),
    ];
    prop::collection::vec(one, 1..200)
}

/// A driver as the pipeline is one: asks again whenever something happened and when it was told to.
struct Driver {
    micro: Micro<u32>,
    now: Instant,
    wake: Instant,
    flights: Vec<Flight>,
    /// Those who wait, by number: their tickets, sizes and deadlines.
    waiting: BTreeMap<u32, (Ticket, Size, Instant)>,
    gone: Vec<u32>,
}

impl Driver {
    fn look(&mut self) {
        loop {
            let mut out = Vec::new();
            let oldest = self.micro.oldest().copied();
            match self.micro.next(self.now, &mut out) {
                Next::Waits(until) => {
                    assert!(until > self.now, "it would be asked without end");
                    self.wake = until;
                    break;
                }
                Next::Leaves(flight, _) => {
                    assert_eq!(out.first().copied(), oldest, "the oldest is always among those who leave");
                    let sizes: Vec<Size> = out.iter().map(|one| self.waiting[one].1).collect();
                    let items: u32 = sizes.iter().map(|size| size.items).sum();
                    let longest = sizes.iter().map(|size| size.longest).max().unwrap();
                    assert!(items <= 8 && u64::from(items * longest) <= 1_000, "{sizes:?}");
                    assert_eq!((flight.fill.items, flight.fill.longest), (items, longest));
                    for one in out {
                        self.waiting.remove(&one).expect("nobody leaves twice");
                        self.gone.push(one);
                    }
                    self.flights.push(flight);
                }
            }
        }
        if self.flights.is_empty() {
            for (.., deadline) in self.waiting.values() {
                assert!(self.wake <= *deadline, "lingering would pass a deadline");
            }
            assert!(self.waiting.is_empty() || self.wake <= self.now + ms(5), "nobody lingers for longer");
        }
    }

    fn pass_to(&mut self, then: Instant) {
        while self.wake <= then {
            self.now = self.wake;
            self.look();
        }
        self.now = then;
    }
}

proptest! {
    #[test]
    fn nothing_is_lost_or_doubled_and_no_bound_is_broken(moves in moves()) {
        let mut driver = Driver {
            micro: Micro::new(&config()),
            now: Instant::ORIGIN,
            wake: Instant::NEVER,
            flights: Vec::new(),
            waiting: BTreeMap::new(),
            gone: Vec::new(),
        };
        let mut came = 0;
        for one in moves {
            match one {
                Move::Come { items, longest, patience } => {
                    let size = Size { items, tokens: items * longest, longest };
                    let deadline = patience.map_or(Instant::NEVER, |patience| driver.now + ms(patience));
                    came += 1;
                    if let Some(flight) = driver.micro.passes(size, driver.now) {
                        prop_assert!(driver.flights.is_empty() && driver.waiting.is_empty());
                        driver.gone.push(came);
                        driver.flights.push(flight);
                    } else {
                        match driver.micro.push(came, size, (driver.now, deadline)) {
                            Ok(ticket) => drop(driver.waiting.insert(came, (ticket, size, deadline))),
                            Err(one) => {
                                prop_assert!(items * longest > 1_000);
                                driver.gone.push(one);
                            }
                        }
                    }
                }
                Move::Leave(which) if !driver.waiting.is_empty() => {
                    let one = *which.get(&driver.waiting.keys().copied().collect::<Vec<_>>());
                    let (ticket, ..) = driver.waiting.remove(&one).unwrap();
                    prop_assert_eq!(driver.micro.cancel(ticket), Some(one));
                    prop_assert_eq!(driver.micro.cancel(ticket), None);
                    driver.gone.push(one);
                }
                Move::Return(which) if !driver.flights.is_empty() => {
                    let flight = driver.flights.swap_remove(which.index(driver.flights.len()));
                    driver.micro.over(flight, Some(driver.now));
                }
                Move::Pass(micros) => driver.pass_to(driver.now + Duration::from_micros(micros)),
                Move::Leave(_) | Move::Return(_) => {}
            }
            driver.look();
            prop_assert_eq!(driver.micro.waiting() as usize, driver.waiting.len());
        }
        while !driver.waiting.is_empty() || !driver.flights.is_empty() {
            while let Some(flight) = driver.flights.pop() {
                driver.micro.over(flight, None);
            }
            driver.look();
            driver.pass_to(driver.now + ms(6));
        }
        driver.gone.sort_unstable();
        prop_assert_eq!(driver.gone, (1..=came).collect::<Vec<_>>());
        prop_assert!(driver.micro.is_idle());
    }
}

/// Callers who ask again as soon as they have their answer, before an engine that computes one call after the other, each
/// in so many microseconds for so many texts. Gives the sizes of the last calls.
fn sizes(callers: u32, micros: impl Fn(u64) -> u64) -> Vec<u32> {
    let mut micro = Micro::new(&Config { max_items: 64, max_tokens: 1 << 20, ..Config::default() });
    let (mut now, mut free, mut sizes) = (at(0), at(0), Vec::new());
    let mut under_way: Vec<(Instant, Flight)> = Vec::new();
    let mut ask = |micro: &mut Micro<u32>, now: Instant, free: &mut Instant, under_way: &mut Vec<_>| {
        let takes = |fill: u32| Duration::from_micros(micros(u64::from(fill)));
        if let Some(flight) = micro.passes(of(20), now) {
            *free = (*free).max(now) + takes(1);
            under_way.push((*free, flight));
        } else {
            micro.push(0, of(20), (now, Instant::NEVER)).unwrap();
        }
        while let Some((_, flight, _)) = leaves(micro, now) {
            sizes.push(flight.fill.items);
            *free = (*free).max(now) + takes(flight.fill.items);
            under_way.push((*free, flight));
        }
    };
    (0..callers).for_each(|_| ask(&mut micro, now, &mut free, &mut under_way));
    for _ in 0..3_000 {
        let (back, flight) = under_way.remove(0);
        now = back;
        micro.over(flight, Some(now));
        for _ in 0..flight.fill.items {
            now += Duration::from_micros(5);
            ask(&mut micro, now, &mut free, &mut under_way);
        }
        if under_way.is_empty() {
            // All have asked: who waits to see whether more come has seen it.
            now += ms(10);
            let (_, flight, _) = leaves(&mut micro, now).unwrap();
            free = now + Duration::from_micros(micros(u64::from(flight.fill.items)));
            under_way.push((free, flight));
        }
    }
    sizes.split_off(sizes.len() - 480)
}

#[test]
fn calls_are_as_large_as_is_cheap_for_the_engine() {
    let mean = |sizes: &[u32]| f64::from(sizes.iter().sum::<u32>()) / sizes.len() as f64;
    // A hundred microseconds for a text and ten for each pair: 8 and 16 are about as cheap.
    let pairs = sizes(128, |texts| 1_000 + 100 * texts + 10 * texts * texts);
    let usual = pairs.iter().filter(|size| (8..=16).contains(*size)).count();
    assert!(usual * 10 > pairs.len() * 7, "{pairs:?}");
    assert!((6.0..20.0).contains(&mean(&pairs)), "{}", mean(&pairs));
    let by_text = sizes(128, |texts| 3_000 + 100 * texts);
    assert!(mean(&by_text) > 50.0, "{by_text:?}");
}
