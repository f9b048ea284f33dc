use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use plimsoll_batching::queue::{Entry, Limits, Queue, Reaches, Ticket};
use plimsoll_types::{Instant, Priority};
use proptest::prelude::*;

use super::{at, entry};

/// What happens next to a queue.
#[derive(Debug, Clone)]
enum Turn {
    Enter {
        tenant: u64,
        priority: usize,
        reach: u8,
        tokens: u32,
        deadline: Option<u64>,
    },
    /// The first one of some reaches is served.
    Serve(Reaches),
    Cancel(usize),
    Settle {
        tenant: u64,
        priority: usize,
        tokens: u32,
    },
    Pass(u64),
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let enter = (0..5_u64, 0..3_usize, 0..4_u8, 1..5_000_u32, proptest::option::of(0..6_000_u64)).prop_map(
        |(tenant, priority, reach, tokens, deadline)| Turn::Enter {
            tenant,
            priority,
            reach,
            tokens,
            deadline,
        },
    );
    let settle = (0..5_u64, 0..3_usize, 0..5_000_u32).prop_map(|(tenant, priority, tokens)| Turn::Settle {
        tenant,
        priority,
        tokens,
    });
    let turn = prop_oneof![
        5 => enter,
        2 => Just(Turn::Serve(Reaches::MAX)),
        2 => (0..16_u16).prop_map(Turn::Serve),
        1 => any::<usize>().prop_map(Turn::Cancel),
        1 => settle,
        2 => (0..900_u64).prop_map(Turn::Pass),
    ];
    proptest::collection::vec(turn, 1..300)
}

/// Requests of one tenant: milliseconds after the one before, and tokens.
fn arrivals() -> impl Strategy<Value = Vec<(u64, u32)>> {
    let tokens = prop_oneof![4 => 20..300_u32, 1 => 300..4_000_u32];
    proptest::collection::vec((0..400_u64, tokens), 1..250)
}

/// When each begins at a server that reads a token a millisecond, one request at a time, if `next` says who is first.
fn starts(arrivals: &[(u64, u32)], mut next: impl FnMut(Event, Instant) -> Option<usize>) -> Vec<u64> {
    let mut due = Vec::new();
    let mut clock = 0;
    for (gap, tokens) in arrivals {
        clock += gap;
        due.push((clock, *tokens));
    }
    let (mut free, mut came, mut starts) = (0, 0, vec![0; due.len()]);
    for _ in 0..due.len() {
        let first = loop {
            while came < due.len() && due[came].0 <= free {
                next(Event::Comes(came, due[came].1), at(due[came].0));
                came += 1;
            }
            match next(Event::Free, at(free)) {
                Some(first) => break first,
                None => free = due[came].0,
            }
        };
        starts[first] = free;
        free += u64::from(due[first].1);
    }
    starts
}

enum Event {
    Comes(usize, u32),
    Free,
}

proptest! {
    #[test]
    fn nobody_is_lost_and_nobody_served_twice_whenever_who_leaves(turns in turns()) {
        let mut queue = Queue::default();
        let mut waiting: Vec<(Ticket, Entry)> = Vec::new();
        let mut now = at(0);
        for turn in turns {
            match turn {
                Turn::Enter { tenant, priority, reach, tokens, deadline } => {
                    let latest = deadline.map_or(Instant::NEVER, |after| now + Duration::from_millis(after));
                    let priority = Priority::ALL[priority];
                    let bytes = u64::from(tokens);
                    let entry = Entry { priority, reach, latest, bytes, ..entry(tenant, tokens) };
                    let ticket = queue.enter(&entry, now).unwrap();
                    prop_assert!(waiting.iter().all(|(other, _)| other.number() != ticket.number()));
                    waiting.push((ticket, entry));
                }
                Turn::Serve(reaches) => {
                    let first = queue.first_of(reaches, now);
                    let may = |entry: &Entry| reaches & 1 << entry.reach != 0;
                    prop_assert_eq!(first.is_some(), waiting.iter().any(|(_, entry)| may(entry)));
                    if let Some(first) = first {
                        let place = waiting.iter().position(|(ticket, _)| *ticket == first);
                        prop_assert!(place.is_some(), "{:?} does not wait", first);
                        let (_, entry) = waiting.swap_remove(place.unwrap());
                        prop_assert!(may(&entry), "{:?} is not of {:b}", entry, reaches);
                        prop_assert!(queue.serve(first, now).is_some());
                        prop_assert!(queue.serve(first, now).is_none());
                    }
                }
                Turn::Cancel(which) if !waiting.is_empty() => {
                    let (ticket, _) = waiting.swap_remove(which % waiting.len());
                    queue.cancel(ticket);
                    queue.cancel(ticket);
                }
                Turn::Cancel(_) => {}
                Turn::Settle { tenant, priority, tokens } => {
                    queue.settle((tenant, Priority::ALL[priority]), (500, tokens));
                }
                Turn::Pass(millis) => now += Duration::from_millis(millis),
            }
            prop_assert_eq!(queue.len(), waiting.len());
            let reaches = waiting.iter().fold(0, |reaches, (_, entry)| reaches | 1 << entry.reach);
            prop_assert_eq!(queue.waiting(), reaches);
            prop_assert_eq!(queue.bytes(), waiting.iter().map(|(_, entry)| entry.bytes).sum::<u64>());
        }
        for _ in 0..waiting.len() {
            let first = queue.first(now).unwrap();
            prop_assert!(queue.serve(first, now).is_some());
        }
        prop_assert!(queue.is_empty() && queue.first(now).is_none());
    }

    /// The bound that makes short-first bearable: at a steady rate, twice the aging and two requests, its own and the
    /// one that is being served.
    #[test]
    fn nobody_begins_much_later_than_in_the_order_of_arrival(arrivals in arrivals()) {
        let limits = Limits::default();
        let mut queue = Queue::new(limits);
        let mut tickets: HashMap<usize, usize> = HashMap::new();
        let short_first = starts(&arrivals, |event, now| match event {
            Event::Comes(index, tokens) => {
                tickets.insert(queue.enter(&entry(1, tokens), now).unwrap().number(), index);
                None
            }
            Event::Free => {
                let first = queue.first(now)?;
                queue.serve(first, now);
                Some(tickets[&first.number()])
            }
        });
        let mut line = VecDeque::new();
        let in_order = starts(&arrivals, |event, _| match event {
            Event::Comes(index, _) => { line.push_back(index); None }
            Event::Free => line.pop_front(),
        });
        let longest = arrivals.iter().map(|(_, tokens)| u64::from(*tokens)).max().unwrap();
        let bound = 2 * limits.aging.as_millis() as u64 + 2 * longest;
        for (index, (start, fair)) in short_first.iter().zip(&in_order).enumerate() {
            prop_assert!(*start <= fair + bound, "{index} begins at {start}, in order at {fair}");
        }
    }

    /// VTC's bound: what two tenants got while both wait differs by two requests at the most, wherever they may go.
    #[test]
    fn a_tenant_that_sends_ten_times_more_gets_no_more(
        sizes in proptest::collection::vec((1..2_000_u32, 1..2_000_u32), 50..150),
        served in 1..100_usize,
        reaches in 1..4_u8,
    ) {
        let mut queue = Queue::new(Limits { aging: Duration::from_secs(1_000), ..Limits::default() });
        let mut whose = HashMap::new();
        let mut add = |queue: &mut Queue, entry: Entry| {
            whose.insert(queue.enter(&entry, at(0)).unwrap().number(), (entry.tenant, entry.tokens));
        };
        for (heavy, light) in &sizes {
            (0..10).for_each(|turn| add(&mut queue, Entry { reach: turn % reaches, ..entry(1, *heavy) }));
            add(&mut queue, entry(2, *light));
        }
        let (mut left, mut got) = (sizes.len(), [0_i64; 2]);
        for _ in 0..served {
            let first = queue.first(at(1)).unwrap();
            queue.serve(first, at(1));
            let (tenant, tokens) = whose[&first.number()];
            got[tenant as usize - 1] += i64::from(tokens);
            left -= usize::from(tenant == 2);
            if left == 0 {
                break;
            }
            prop_assert!((got[0] - got[1]).abs() <= 2 * 2_000, "{got:?}");
        }
    }

    /// However many short ones of high priority of other tenants come, a long one of low priority is served.
    #[test]
    fn nobody_starves(tokens in 1..100_000_u32, others in 1..20_u64) {
        let mut queue = Queue::default();
        let poor = Entry { priority: Priority::Low, ..entry(0, tokens) };
        let poor = queue.enter(&poor, at(0)).unwrap();
        let mut passed = 0_u64;
        for turn in 0.. {
            let rich = Entry { priority: Priority::ALL[turn as usize % 2], ..entry(1 + turn % others, 50) };
            queue.enter(&rich, at(turn)).unwrap();
            let first = queue.first(at(turn)).unwrap();
            queue.serve(first, at(turn));
            if first == poor {
                break;
            }
            passed += 50;
            prop_assert!(passed <= 30 * 1_000, "{passed} tokens went before {tokens}");
        }
    }
}
