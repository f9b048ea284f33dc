//! Requests for which no backend has room.
#![expect(clippy::unwrap_used, reason = "what surprises a test ends it")]

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_pipeline::Config;
use plimsoll_types::{Priority, Request, ServeError, Tenant};
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

#[tokio::test(start_paused = true)]
async fn who_would_wait_in_vain_is_refused_at_once_and_told_when_to_come_again() {
    on_a_core(async {
        let house = narrow(Config { max_wait: Duration::from_secs(10), ..Config::default() }, 20);
        let mut sent: Vec<JoinHandle<u64>> = (0..6).map(|_| send(&house, of(&house, 100))).collect();
        // How fast the queue empties is known once somebody has left it.
        house.clock.sleep_until(house.clock.now() + Duration::from_millis(2_500)).await;
        sent.extend((0..3).map(|_| send(&house, of(&house, 50))));
        tokio::task::yield_now().await;
        let start = house.clock.now();
        let refused = house.pipeline.serve(of(&house, 4_000)).await.err().unwrap();
        let Some(wait) = refused.retry_after() else { panic!("{refused:?}") };
        assert!((11..40).contains(&wait.as_secs()), "{wait:?}");
        assert_eq!(millis(start, house.clock.now()), 0);
        let mut hurried = of(&house, 50);
        hurried.envelope.deadline = Some(start + Duration::from_millis(1_500));
        let refused = house.pipeline.serve(hurried).await.err();
        assert!(matches!(refused, Some(ServeError::Overloaded { .. })), "{refused:?}");
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
        let config = Config { max_queued: 1, max_wait: Duration::from_secs(2), ..Config::default() };
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
