use super::*;

fn at(millis: u64) -> Instant {
    Instant::ORIGIN + Duration::from_millis(millis)
}

fn own(in_flight: u32) -> Own {
    Own { in_flight, unread: 0 }
}

fn report(waiting: u32, running: u32) -> Report {
    Report { waiting: Some(waiting), running: Some(running), ..Report::default() }
}

/// A backend that reads so many prompts at a time, 100 ms each, and is sent as many as its capacity says: what it is taken
/// to read at a time after each tenth of a second in which requests are held.
fn learn(reads: f32, (evidence, capacity): (&Evidence, &Capacity), rounds: std::ops::Range<u64>) -> Vec<f32> {
    let mut prompts = Vec::new();
    for round in rounds {
        let now = at(1_000 + round * 100);
        evidence.holds(now);
        if round % 10 == 0 {
            let unread = capacity.prompts() as u32;
            evidence.reported(now, &report(0, 4), Own { in_flight: 4, unread }, capacity);
        }
        evidence.try_more_prompts(now, capacity);
        let sent = capacity.prompts() as u32;
        for ahead in 0..sent {
            let turns = (ahead as f32 / reads).floor() + 1.0;
            let elapsed = 0.1 * turns;
            let sample = Sample { sent: now, ahead: ahead as f32 * 0.05, own: 0.05, elapsed, unread: ahead };
            evidence.answered(now + Duration::from_secs_f32(elapsed), sample, capacity);
        }
        prompts.push(capacity.prompts());
    }
    prompts
}

#[test]
fn eight_ranks_behind_an_address_are_found_within_seconds_and_used() {
    let (evidence, capacity) = (Evidence::default(), Capacity::default());
    let prompts = learn(8.0, (&evidence, &capacity), 0..60);
    assert!(prompts[20] >= 2.0, "twice as many within two seconds: {prompts:?}");
    assert!(prompts[30..].iter().all(|prompts| (2.0..=18.0).contains(prompts)), "{prompts:?}");
    let mean = prompts[30..].iter().sum::<f32>() / 30.0;
    assert!((4.0..=12.0).contains(&mean), "{mean} {prompts:?}");
}

#[test]
fn an_engine_that_reads_in_turn_is_tried_ever_more_seldom_and_left_at_one() {
    let (evidence, capacity) = (Evidence::default(), Capacity::default());
    let prompts = learn(1.0, (&evidence, &capacity), 0..3_000);
    let tried = prompts.iter().filter(|prompts| **prompts > 1.0).count();
    assert!(tried < 20, "{tried} of 3,000 rounds");
    assert_eq!(prompts.last(), Some(&1.0));
}

#[test]
fn a_trial_that_fails_at_one_backend_is_not_made_at_its_peers_at_once_and_one_that_succeeds_is() {
    let (first, capacity) = (Evidence::default(), Capacity::default());
    let (second, of_second) = (Evidence::beside(&first), Capacity::default());
    let is_tried = |now: Instant| {
        second.reported(now, &report(0, 4), own(4), &of_second);
        let rises = second.try_more_prompts(now, &of_second);
        of_second.set_prompts(1.0);
        rises
    };
    learn(1.0, (&first, &capacity), 0..100);
    assert!(!is_tried(at(11_000)), "three trials failed, so there is a pause of four seconds");
    let (first, capacity) = (Evidence::beside(&first), Capacity::default());
    learn(8.0, (&first, &capacity), 140..200);
    assert!(capacity.prompts() > 2.0 && is_tried(at(21_000)));
}

#[test]
fn more_than_was_tried_needs_a_report_that_all_of_it_was_taken() {
    let (evidence, capacity) = (Evidence::default(), Capacity::default());
    evidence.reported(at(1_000), &report(0, 1), Own { in_flight: 1, unread: 1 }, &capacity);
    assert!(evidence.try_more_prompts(at(1_500), &capacity));
    evidence.reported(at(3_000), &report(0, 1), Own { in_flight: 1, unread: 1 }, &capacity);
    assert!(!evidence.try_more_prompts(at(3_500), &capacity), "two were allowed, and one was there");
    evidence.reported(at(4_000), &report(0, 2), Own { in_flight: 2, unread: 2 }, &capacity);
    assert!(evidence.try_more_prompts(at(4_500), &capacity));
    assert_eq!(capacity.prompts(), 4.0);
}

#[test]
fn a_report_that_requests_wait_there_goes_before_measured_times() {
    let (evidence, capacity) = (Evidence::default(), Capacity::default());
    learn(8.0, (&evidence, &capacity), 0..60);
    let before = capacity.prompts();
    (1..10)
        .for_each(|second| evidence.reported(at(8_000 + second * 1_000), &report(20, 4), own(24), &capacity));
    assert!(before > 2.0 && capacity.prompts() == 1.0);
    evidence.holds(at(20_000));
    assert!(!evidence.try_more_prompts(at(18_000), &capacity), "it says that it is full");
}

#[test]
fn what_is_not_needed_is_forgotten_slowly() {
    let (evidence, capacity) = (Evidence::default(), Capacity::default());
    learn(8.0, (&evidence, &capacity), 0..60);
    let learned = capacity.prompts();
    (0..12).for_each(|look| evidence.fade(at(10_000 + look * 5_000), &capacity));
    assert!(capacity.prompts() > 0.9 * learned, "not within a minute");
    (0..60).for_each(|look| evidence.fade(at(80_000 + look * 5_000), &capacity));
    assert_eq!(capacity.prompts(), 1.0);
}

#[test]
fn as_many_as_ran_while_others_waited_twice_are_all_the_seats() {
    let (evidence, capacity) = (Evidence::default(), Capacity::default());
    evidence.reported(at(1_000), &report(10, 9), own(19), &capacity);
    evidence.reported(at(2_000), &report(10, 16), own(26), &capacity);
    assert_eq!(capacity.seats(), None, "more run than before, so there was a seat");
    evidence.reported(at(3_000), &report(9, 16), own(25), &capacity);
    assert_eq!(capacity.seats(), Some(16));
    evidence.reported(at(4_000), &report(1, 20), own(21), &capacity);
    assert_eq!(capacity.seats(), Some(20), "the most that ran");
    assert!(evidence.is_busy(at(5_000)) && !evidence.is_busy(at(15_000)));
}

#[test]
fn seats_that_an_engine_has_got_are_found_while_requests_are_held_and_forgotten_when_none_wait() {
    let (evidence, capacity) = (Evidence::default(), Capacity::default());
    (1..4).for_each(|second| evidence.reported(at(second * 1_000), &report(5, 4), own(9), &capacity));
    assert_eq!(capacity.seats(), Some(4));
    evidence.reported(at(4_000), &report(0, 4), own(4), &capacity);
    assert_eq!(capacity.seats(), Some(4), "no request needs more");
    for second in 5..9 {
        evidence.holds(at(second * 1_000 - 10));
        let in_flight = capacity.seats().unwrap();
        evidence.reported(at(second * 1_000), &report(0, in_flight), own(in_flight), &capacity);
    }
    assert!(capacity.seats().unwrap() >= 32, "{:?}", capacity.seats());
    evidence.fade(at(70_000), &capacity);
    assert_eq!(capacity.seats(), None);
}
