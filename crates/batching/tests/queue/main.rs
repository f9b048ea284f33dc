//! Who goes first, in cases that a reader can follow, and in all that a generator finds.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly, its helpers too")]

mod properties;

use std::time::Duration;

use plimsoll_batching::queue::{Entry, Full, Limits, Order, Queue, Ticket};
use plimsoll_types::{Instant, Priority};

pub(crate) fn entry(tenant: u64, tokens: u32) -> Entry {
    Entry {
        tenant,
        weight: 1,
        priority: Priority::Normal,
        reach: 0,
        tokens,
        bytes: 1,
        latest: Instant::NEVER,
        again: false,
    }
}

pub(crate) fn at(millis: u64) -> Instant {
    Instant::ORIGIN + Duration::from_millis(millis)
}

fn enter(queue: &mut Queue, entry: Entry) -> Ticket {
    queue.enter(&entry, at(0)).unwrap()
}

/// All that wait, in the order in which they leave at `now`.
fn order(queue: &mut Queue, now: Instant) -> Vec<Ticket> {
    let next = |queue: &mut Queue| {
        let first = queue.first(now)?;
        queue.serve(first, now);
        Some(first)
    };
    std::iter::from_fn(|| next(queue)).collect()
}

#[test]
fn the_short_go_first_and_equals_in_the_order_of_arrival() {
    let mut queue = Queue::default();
    let tickets: Vec<Ticket> = [500, 100, 300, 100].map(|tokens| enter(&mut queue, entry(1, tokens))).into();
    assert_eq!(order(&mut queue, at(1)), [1, 3, 2, 0].map(|index| tickets[index]));
    assert!(queue.is_empty());
}

#[test]
fn in_the_order_of_arrival_nobody_overtakes_whoever_he_is() {
    let mut queue = Queue::new(Limits { order: Order::Arrival, ..Limits::default() });
    let urgent = Entry { priority: Priority::High, ..entry(2, 1) };
    let tickets = [entry(1, 500), entry(1, 100), urgent].map(|entry| enter(&mut queue, entry));
    assert_eq!(order(&mut queue, at(1)), tickets);
}

#[test]
fn a_long_one_that_has_been_overtaken_for_long_enough_is_overtaken_no_more() {
    let mut queue = Queue::default();
    let long = enter(&mut queue, entry(1, 1_000));
    for millis in 0..10 {
        let short = queue.enter(&entry(1, 100), at(millis)).unwrap();
        assert_eq!(queue.first(at(millis)), Some(short));
        queue.serve(short, at(millis));
    }
    // As many tokens as it has have left, at 9 ms; from then on it is late.
    let short = queue.enter(&entry(1, 100), at(1_000)).unwrap();
    assert_eq!(queue.first(at(2_008)), Some(short));
    assert_eq!(queue.first(at(2_009)), Some(long));
    assert_eq!(queue.serve(long, at(2_010)), Some(Duration::from_millis(2_001)));
    assert_eq!(queue.serve(short, at(2_010)), Some(Duration::ZERO));
}

#[test]
fn a_deadline_hurries_when_it_is_near_and_not_when_it_has_passed() {
    let mut queue = Queue::default();
    let due = enter(&mut queue, Entry { latest: at(3_000), ..entry(1, 1_000) });
    let short = enter(&mut queue, entry(1, 10));
    assert_eq!(queue.first(at(1_900)), Some(short));
    assert_eq!(queue.first(at(2_000)), Some(due));
    assert_eq!(queue.first(at(3_001)), Some(short));
    queue.cancel(due);
    assert_eq!(order(&mut queue, at(3_002)), [short]);
}

#[test]
fn the_urgent_go_first_and_the_others_have_a_twentieth() {
    let mut queue = Queue::default();
    let low: Vec<Ticket> =
        (0..20).map(|_| enter(&mut queue, Entry { priority: Priority::Low, ..entry(1, 500) })).collect();
    let mut turns = Vec::new();
    for turn in 0..1_000 {
        let high = enter(&mut queue, Entry { priority: Priority::High, ..entry(1, 500) });
        let first = queue.first(at(1)).unwrap();
        queue.serve(first, at(1));
        if low.contains(&first) {
            turns.push(turn);
            queue.cancel(high);
        }
    }
    // A twentieth of a thousand is more than wait; the first of them waits until two are owed.
    assert_eq!((turns.len(), turns[0], turns[1]), (20, 40, 61));
}

#[test]
fn a_tenant_with_twice_the_weight_gets_twice_as_much() {
    let mut queue = Queue::default();
    let tickets: Vec<(u64, Ticket)> = (0..300)
        .flat_map(|_| [1, 2].map(|tenant| Entry { weight: tenant as u32, ..entry(tenant, 50) }))
        .map(|entry| (entry.tenant, enter(&mut queue, entry)))
        .collect();
    let served = order(&mut queue, at(1));
    let of_the_first = served[..300].iter().filter(|ticket| tickets.contains(&(1, **ticket))).count();
    assert!((99..=101).contains(&of_the_first), "{of_the_first}");
}

fn reaching(reach: u8, tenant: u64, tokens: u32) -> Entry {
    Entry { reach, ..entry(tenant, tokens) }
}

#[test]
fn those_who_may_not_go_where_there_is_room_are_passed_over_and_keep_their_turn() {
    let mut queue = Queue::default();
    let first = enter(&mut queue, reaching(0, 1, 10));
    let second = enter(&mut queue, reaching(1, 1, 20));
    let urgent = enter(&mut queue, Entry { priority: Priority::High, ..reaching(2, 1, 30) });
    assert_eq!(queue.first(at(1)), Some(urgent));
    assert_eq!(queue.first_of(0b011, at(1)), Some(first));
    assert_eq!(queue.first_of(0b010, at(1)), Some(second));
    assert_eq!(queue.first_of(0b1000, at(1)), None);
    queue.serve(second, at(1));
    assert_eq!(order(&mut queue, at(1)), [urgent, first]);
}

#[test]
fn what_a_tenant_gets_in_one_place_counts_in_another() {
    let mut queue = Queue::default();
    let own = [(0, 100), (1, 200), (0, 100), (1, 100)];
    let own = own.map(|(reach, tokens)| enter(&mut queue, reaching(reach, 1, tokens)));
    let other = [100, 100].map(|tokens| enter(&mut queue, reaching(0, 2, tokens)));
    queue.serve(own[1], at(1));
    let expected = [other[0], other[1], own[0], own[2], own[3]];
    assert_eq!(order(&mut queue, at(1)), expected, "the other tenant, and then where it got less itself");
}

#[test]
fn in_the_order_of_arrival_it_matters_not_where_they_may_go() {
    let mut queue = Queue::new(Limits { order: Order::Arrival, ..Limits::default() });
    let tickets: Vec<Ticket> =
        [2, 0, 1, 0, 2, 1].map(|reach| enter(&mut queue, reaching(reach, u64::from(reach), 10))).into();
    assert_eq!(order(&mut queue, at(1)), tickets);
}

#[test]
fn who_had_everything_while_nobody_else_wanted_it_owes_nothing_for_it() {
    let mut queue = Queue::default();
    for turn in 0..1_000 {
        enter(&mut queue, entry(1, 1_000));
        let first = queue.first(at(turn)).unwrap();
        queue.serve(first, at(turn));
    }
    let normal = enter(&mut queue, entry(1, 100));
    let mut passed = 0;
    while let Some(first) = {
        enter(&mut queue, Entry { priority: Priority::High, ..entry(2, 1_000) });
        queue.first(at(1_000)).filter(|first| *first != normal)
    } {
        queue.serve(first, at(1_000));
        passed += 1;
    }
    assert_eq!(passed, 20, "a twentieth of what goes before it, from the first on");
}

#[test]
fn a_tenant_that_comes_back_has_saved_nothing_up() {
    let mut queue = Queue::default();
    for _ in 0..100 {
        enter(&mut queue, entry(1, 100));
    }
    for _ in 0..50 {
        let first = queue.first(at(1)).unwrap();
        queue.serve(first, at(1));
    }
    let others: Vec<Ticket> = (0..20).map(|_| enter(&mut queue, entry(2, 100))).collect();
    let served = order(&mut queue, at(1));
    let of_the_second = served[..20].iter().filter(|ticket| others.contains(ticket)).count();
    assert!((9..=11).contains(&of_the_second), "{of_the_second}");
}

#[test]
fn an_answer_that_was_longer_than_expected_is_paid_for_later() {
    let mut queue = Queue::default();
    let first = enter(&mut queue, entry(1, 100));
    let (own, other) = (enter(&mut queue, entry(1, 10)), enter(&mut queue, entry(2, 100)));
    let third = enter(&mut queue, entry(2, 100));
    assert_eq!(queue.first(at(1)), Some(own));
    queue.cancel(own);
    queue.serve(first, at(1));
    let late = enter(&mut queue, entry(1, 10));
    queue.settle((1, Priority::Normal), (0, 1_000));
    assert_eq!(order(&mut queue, at(1)), [other, third, late]);
}

#[test]
fn it_holds_so_many_and_so_many_bytes() {
    let mut queue = Queue::new(Limits { requests: 3, bytes: 10, ..Limits::default() });
    let large = Entry { bytes: 11, ..entry(1, 1) };
    let alone = queue.enter(&large, at(0)).unwrap();
    assert_eq!(queue.enter(&entry(1, 1), at(0)), Err(Full));
    queue.cancel(alone);
    let half = Entry { bytes: 5, ..large };
    assert!(queue.enter(&half, at(0)).is_ok() && queue.enter(&half, at(0)).is_ok());
    assert_eq!(queue.enter(&entry(1, 1), at(0)), Err(Full));
    queue.set_limits(Limits { requests: 0, ..Limits::default() });
    assert_eq!(Queue::new(Limits { requests: 0, ..Limits::default() }).enter(&half, at(0)), Err(Full));
}

#[test]
fn the_wait_of_one_that_comes_is_known_from_what_leaves() {
    let mut queue = Queue::new(Limits { requests: 1_000, ..Limits::default() });
    for _ in 0..100 {
        enter(&mut queue, entry(1, 1_000));
    }
    assert_eq!(queue.expected_wait(&entry(1, 1_000), at(0)), None);
    for second in 1..=20 {
        let first = queue.first(at(100 * second)).unwrap();
        queue.serve(first, at(100 * second));
    }
    // Ten thousand tokens a second, and eighty thousand wait.
    let wait = |tenant, tokens| queue.expected_wait(&entry(tenant, tokens), at(2_000)).unwrap().as_secs_f32();
    assert_eq!(wait(1, 500), 0.0);
    assert!((11.9..12.1).contains(&wait(1, 5_000)), "as late as it may be: {}", wait(1, 5_000));
    assert!(wait(2, 5_000) < 0.1, "another tenant has its share: {}", wait(2, 5_000));
    assert!((7.9..8.1).contains(&queue.drains_in(at(2_000)).unwrap().as_secs_f32()));
}

#[test]
fn a_ticket_is_good_for_one_request_only() {
    let mut queue = Queue::default();
    let first = enter(&mut queue, entry(1, 10));
    queue.serve(first, at(1));
    let second = enter(&mut queue, entry(1, 10));
    queue.cancel(first);
    assert_eq!((queue.serve(first, at(1)), queue.len(), first.number()), (None, 1, second.number()));
    assert_eq!(queue.first(at(1)), Some(second));
}
