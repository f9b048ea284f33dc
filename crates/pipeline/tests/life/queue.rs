//! Requests for which no backend has room.
#![expect(clippy::unwrap_used, reason = "what surprises a test ends it")]

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_pipeline::Config;
use plimsoll_types::{Priority, Request, ServeError, Tenant, Text};
use tokio::task::JoinHandle;

use crate::scripted::Step::{Done, Hang, Head, Token, Wait};
use crate::scripted::{House, Step, all, millis, on_a_core};

/// An answer that takes a second.
fn slow() -> Vec<Step> {
    vec![Head(200, true), Token, Wait(1_000), Token, Done]
}

/// A house with one backend that takes one request at a time, and answers so many.
fn narrow(config: Config, answers: usize) -> House {
    House::narrow(config, vec![vec![slow(); answers]], 1)
}

/// Sends `request`, reads its answer, and says after how many milliseconds it began.
fn send(house: &House, request: Request) -> JoinHandle<u64> {
    let (pipeline, clock, start) = (Rc::clone(&house.pipeline), Arc::clone(&house.clock), house.clock.now());
    tokio::task::spawn_local(async move {
        let mut answer = pipeline.serve(request).await.unwrap();
        let begun = millis(start, clock.now());
        all(&mut answer.body).await;
        begun
    })
}

fn of(house: &House, prompt_tokens: u32) -> Request {
    let mut request = house.request(true);
    request.envelope.prompt_tokens = prompt_tokens;
    request
}

async fn begin(sent: impl IntoIterator<Item = JoinHandle<u64>>) -> Vec<u64> {
    let mut begun = Vec::new();
    for task in sent {
        begun.push(task.await.unwrap());
    }
    begun
}

#[tokio::test(start_paused = true)]
async fn of_those_that_wait_the_short_go_first() {
    on_a_core(async {
        let house = narrow(Config::default(), 4);
        let sent = [10, 5_000, 1_000, 20].map(|tokens| send(&house, of(&house, tokens)));
        assert_eq!(begin(sent).await, [0, 3_000, 2_000, 1_000]);
        let config = Config { queue_order: "arrival", ..Config::default() };
        let house = narrow(config, 4);
        let sent = [10, 5_000, 1_000, 20].map(|tokens| send(&house, of(&house, tokens)));
        assert_eq!(begin(sent).await, [0, 1_000, 2_000, 3_000]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_urgent_go_before_the_short() {
    on_a_core(async {
        let house = narrow(Config::default(), 4);
        let with = |tokens, priority| {
            let mut request = of(&house, tokens);
            request.envelope.priority = priority;
            send(&house, request)
        };
        let sent = [
            with(10, Priority::Normal),
            with(10, Priority::Low),
            with(10, Priority::Normal),
            with(5_000, Priority::High),
        ];
        assert_eq!(begin(sent).await, [0, 3_000, 2_000, 1_000]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn tenants_take_turns_however_many_requests_each_has() {
    on_a_core(async {
        let house = narrow(Config::default(), 6);
        let by = |name: &str| {
            let mut request = of(&house, 100);
            request.envelope.tenant = Some(Arc::new(Tenant::named(name)));
            send(&house, request)
        };
        let sent = [by("busy"), by("busy"), by("busy"), by("busy"), by("quiet"), by("quiet")];
        let begun = begin(sent).await;
        // Whose turn comes first is not decided by who sends more; the quiet one has had both by the fourth.
        assert!(begun[4] <= 2_000 && begun[5] <= 4_000, "{begun:?}");
        assert_eq!(begun.iter().sum::<u64>(), 15_000);
    })
    .await;
}

/// A request that may be served at one place only, if one is named.
fn at(house: &House, place: &str, prompt_tokens: u32) -> JoinHandle<u64> {
    let mut request = of(house, prompt_tokens);
    request.envelope.residency = (!place.is_empty()).then(|| Text::from(place.to_owned()));
    send(house, request)
}

/// Two backends that take one request at a time, in two places.
fn two_places(config: Config) -> House {
    House::at(config, (vec![vec![slow(); 8]; 2], &["eu", "us"]), 1)
}

#[tokio::test(start_paused = true)]
async fn who_may_go_where_there_is_room_does_not_wait_for_those_who_may_not() {
    for order in ["short_first", "arrival"] {
        on_a_core(async {
            let house = two_places(Config { queue_order: order, ..Config::default() });
            let sent = [
                at(&house, "eu", 10),
                at(&house, "eu", 10),
                at(&house, "eu", 20),
                at(&house, "us", 500),
                at(&house, "us", 600),
            ];
            assert_eq!(begin(sent).await, [0, 1_000, 2_000, 0, 1_000], "{order}");
            assert_eq!(house.held(), (0, 0, 0, 0));
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_first_goes_first_wherever_a_place_opens_that_he_may_use() {
    on_a_core(async {
        let house = two_places(Config::default());
        let mut sent = vec![at(&house, "eu", 10)];
        house.clock.sleep_until(house.clock.now() + Duration::from_millis(500)).await;
        // The other backend is free 500 milliseconds later than the first.
        sent.push(at(&house, "us", 10));
        tokio::task::yield_now().await;
        sent.extend([at(&house, "", 100), at(&house, "us", 200), at(&house, "eu", 300)]);
        // Counted from when each was sent.
        assert_eq!(begin(sent).await, [0, 0, 500, 1_000, 1_500]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_ever_beside_those_who_may_go_elsewhere_too() {
    on_a_core(async {
        let config = Config { max_wait: Duration::from_secs(60), ..Config::default() };
        let house = House::at(config, (vec![vec![slow(); 12]; 2], &["eu", "us"]), 1);
        let mut sent: Vec<JoinHandle<u64>> = (0..2).map(|_| at(&house, "", 10)).collect();
        sent.extend((0..16).map(|_| at(&house, "", 10)));
        sent.push(at(&house, "us", 4_000));
        let begun = begin(sent).await;
        // It is of the same tenant, and one of two sets of places: it has its share of what leaves.
        assert!(begun[18] <= 2_000, "{begun:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_finds_nobody_of_his_kind_waiting_is_not_refused_for_the_wait_of_others() {
    on_a_core(async {
        let house = two_places(Config { max_wait: Duration::from_secs(5), ..Config::default() });
        let waiting: Vec<JoinHandle<u64>> = (0..5).map(|_| at(&house, "eu", 100)).collect();
        house.clock.sleep_until(house.clock.now() + Duration::from_millis(2_500)).await;
        let mut hurried = of(&house, 100);
        hurried.envelope.residency = Some(Text::from_static("us"));
        hurried.envelope.deadline = Some(house.clock.now() + Duration::from_millis(1_100));
        assert_eq!(send(&house, hurried).await.unwrap(), 0);
        begin(waiting).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_leaves_in_the_middle_of_an_answer_has_paid_for_what_was_written() {
    on_a_core(async {
        let long = vec![Head(200, true), Token, Token, Token, Token, Wait(1_000), Done];
        let house =
            House::narrow(Config::default(), vec![vec![long.clone(), long, slow(), slow(), slow()]], 1);
        let by = |name: &str| {
            let mut request = of(&house, 100);
            request.envelope.tenant = Some(Arc::new(Tenant::named(name)));
            request
        };
        let first = send(&house, of(&house, 10));
        tokio::task::yield_now().await;
        // The first one reads all of a long answer, the other one leaves after the first token of a short one.
        let reads = send(&house, by("reads"));
        let (pipeline, request) = (Rc::clone(&house.pipeline), by("leaves"));
        let leaves = tokio::task::spawn_local(async move {
            let mut answer = pipeline.serve(request).await.unwrap();
            crate::scripted::next(&mut answer.body).await;
        });
        tokio::task::yield_now().await;
        let next = [send(&house, by("reads")), send(&house, by("leaves"))];
        assert_eq!((first.await.unwrap(), reads.await.unwrap()), (0, 1_000));
        leaves.await.unwrap();
        assert_eq!(begin(next).await, [3_000, 2_000], "who got less is first");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_would_wait_in_vain_is_refused_at_once_and_told_when_to_come_again() {
    on_a_core(async {
        let wait = Duration::from_secs(10);
        let aging = Duration::from_secs(4);
        let config = Config { max_wait: wait, max_burst_wait: wait, queue_aging: aging, ..Config::default() };
        let house = narrow(config, 20);
        let mut sent: Vec<JoinHandle<u64>> = (0..4).map(|_| send(&house, of(&house, 100))).collect();
        // How fast the queue empties is believed once some have left it as soon as was predicted.
        house.clock.sleep_until(house.clock.now() + Duration::from_millis(2_500)).await;
        sent.extend((0..6).map(|_| send(&house, of(&house, 50))));
        house.clock.sleep_until(house.clock.now() + Duration::from_millis(4_100)).await;
        tokio::task::yield_now().await;
        let start = house.clock.now();
        let refused = house.pipeline.serve(of(&house, 4_000)).await.err().unwrap();
        let Some(wait) = refused.retry_after() else { panic!("{refused:?}") };
        assert!((11..40).contains(&wait.as_secs()), "{wait:?}");
        assert_eq!(millis(start, house.clock.now()), 0);
        let mut hurried = of(&house, 50);
        hurried.envelope.deadline = Some(start + Duration::from_millis(1_500));
        let refused = house.pipeline.serve(hurried).await.err();
        assert!(matches!(refused, Some(ServeError::NotInTime { .. })), "{refused:?}");
        let begun = begin(sent).await;
        assert!(begun.iter().all(|begun| *begun <= 10_000), "{begun:?}");
        assert_eq!(house.held(), (0, 0, 0, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn so_many_bytes_may_wait_and_no_more() {
    on_a_core(async {
        let house = narrow(Config { max_queued_bytes: 1_000, ..Config::default() }, 3);
        let with = |bytes: usize| Request { body: vec![b' '; bytes].into(), ..house.request(true) };
        let sent = [send(&house, with(5_000)), send(&house, with(900))];
        tokio::task::yield_now().await;
        assert!(matches!(house.pipeline.serve(with(101)).await.err(), Some(ServeError::Overloaded { .. })));
        let last = send(&house, with(100));
        assert_eq!(begin(sent).await, [0, 1_000]);
        assert_eq!(last.await.unwrap(), 2_000);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_the_line_wait_in_order_and_go_as_soon_as_there_is_room() {
    on_a_core(async {
        let answer = || vec![Head(200, true), Token, Wait(1_000), Token, Done];
        let house = House::narrow(Config::default(), vec![vec![answer(), answer(), answer()]], 1);
        let start = house.clock.now();
        let serve = |house: &House| {
            let (pipeline, clock, request) =
                (house.pipeline.clone(), house.clock.clone(), house.request(true));
            tokio::task::spawn_local(async move {
                let mut answer = pipeline.serve(request).await.unwrap();
                let begun = clock.now();
                all(&mut answer.body).await;
                begun
            })
        };
        let tasks = [serve(&house), serve(&house), serve(&house)];
        let mut begun = Vec::new();
        for task in tasks {
            begun.push(millis(start, task.await.unwrap()));
        }
        assert_eq!(begun, [0, 1_000, 2_000]);
        assert_eq!((house.calls(), house.held()), (3, (0, 0, 0, 0)));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_or_finds_too_many_waiting_is_refused_and_who_leaves_is_gone() {
    on_a_core(async {
        let wait = Duration::from_secs(2);
        let config = Config { max_queued: 1, max_wait: wait, max_burst_wait: wait, ..Config::default() };
        let house = House::narrow(config, vec![vec![vec![Head(200, true), Token, Hang]]], 1);
        let _first = house.pipeline.serve(house.request(true)).await.unwrap();
        let start = house.clock.now();
        let pipeline = house.pipeline.clone();
        let waits = house.request(true);
        let second = tokio::task::spawn_local(async move { pipeline.serve(waits).await.err() });
        tokio::task::yield_now().await;
        let third = house.pipeline.serve(house.request(true)).await.err().unwrap();
        assert!(matches!(third, ServeError::Overloaded { .. }), "{third:?}");
        assert_eq!(millis(start, house.clock.now()), 0, "at once: one waits already");
        let second = second.await.unwrap().unwrap();
        assert!(matches!(second, ServeError::Overloaded { .. }), "{second:?}");
        assert_eq!(millis(start, house.clock.now()), 2_000);
        let leaves = house.pipeline.clone();
        let request = house.request(true);
        let left = tokio::task::spawn_local(async move { leaves.serve(request).await.err() });
        tokio::task::yield_now().await;
        left.abort();
        assert!(left.await.is_err());
        assert_eq!((house.calls(), house.held()), (1, (1, 1, 0, 1)));
    })
    .await;
}
