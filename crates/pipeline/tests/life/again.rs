//! What happens while requests wait: attempts that fail, streams that break, seats that are taken, a process that stands
//! still, and deadlines.

use std::rc::Rc;
use std::time::Duration;

use plimsoll_engines::Failure;
use plimsoll_pipeline::Config;
use plimsoll_routing::{Report, Reporting};
use plimsoll_types::{Request, ServeError};
use tokio::task::JoinHandle;

use crate::scripted::Step::{self, Done, Event, Fail, Hang, Head, Plain, Role, Token, Wait};
use crate::scripted::{House, all, millis, on_a_core};

const BROKEN: Failure = Failure::Broken("broken");

/// An answer that takes a second.
fn slow() -> Vec<Step> {
    vec![Head(200, true), Token, Wait(1_000), Token, Done]
}

fn good() -> Vec<Step> {
    vec![Head(200, true), Token, Done]
}

/// Sends `request`: what its client is told, and after how many milliseconds the first of it.
fn send(house: &House, request: Request) -> JoinHandle<Result<(Vec<String>, u64), ServeError>> {
    let (pipeline, clock, start) = (Rc::clone(&house.pipeline), house.clock.clone(), house.clock.now());
    tokio::task::spawn_local(async move {
        let mut answer = pipeline.serve(request).await?;
        let begun = millis(start, clock.now());
        Ok((all(&mut answer.body).await, begun))
    })
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_fails_while_the_others_are_full_is_made_again_when_one_has_room() {
    for bad in [vec![Fail(BROKEN)], vec![Head(500, false)], vec![Head(429, false)]] {
        on_a_core(async {
            let house =
                House::narrow(Config::default(), vec![vec![slow(), good(), good()], vec![bad.clone()]], 1);
            let first = send(&house, house.request(true));
            tokio::task::yield_now().await;
            let failed = send(&house, house.request(true));
            for _ in 0..5 {
                tokio::task::yield_now().await;
            }
            assert_eq!(house.scripts[1].made.get(), 1);
            // The next backend in turn has had its only answer, so it takes no more.
            assert!(house.shared.snapshot().fleet.take_out_backend("b1", true));
            let later = send(&house, house.request(true));
            assert_eq!(first.await.unwrap().unwrap().1, 0);
            let told = ["token", "done"].map(str::to_owned).to_vec();
            assert_eq!(failed.await.unwrap(), Ok((told.clone(), 1_000)), "{bad:?}");
            assert_eq!(later.await.unwrap(), Ok((told, 1_000)), "it came later, and went later");
            assert_eq!((house.calls(), house.held()), (4, (0, 0, 0, 0)));
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_while_the_others_are_full_is_never_continued_where_it_broke() {
    on_a_core(async {
        let one = Event(r#"{"id":"1","choices":[{"index":0,"delta":{"content":"one "}}]}"#);
        let two = Event(r#"{"id":"2","choices":[{"index":0,"delta":{"content":"two "}}]}"#);
        let rest = vec![Head(200, true), two, Event("[DONE]")];
        let breaks = vec![Head(200, true), one, Wait(100), Fail(BROKEN)];
        let house = House::narrow(Config::default(), vec![vec![slow(), rest], vec![breaks]], 1);
        for backend in &house.shared.snapshot().fleet.backends {
            backend.seen.reports(Reporting { engine: "vllm", by: "poll" });
        }
        let first = send(&house, house.request(true));
        tokio::task::yield_now().await;
        let mut request = house.request(true);
        request.body = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"Count"}]}"#.into();
        request.envelope.model_at = 9..12;
        let (told, _) = send(&house, request).await.unwrap().unwrap();
        assert!(told[1].contains("two") && told.last().unwrap().contains("[DONE]"), "{told:?}");
        first.await.unwrap().unwrap();
        assert_eq!(house.scripts[1].made.get(), 1, "the backend that lost it is not asked again");
        assert_eq!(house.held(), (0, 0, 0, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn seats_that_are_taken_are_no_silence() {
    on_a_core(async {
        let waits = vec![Head(200, true), Wait(50_000), Token, Done];
        let house = House::new(Config::default(), vec![vec![waits.clone()], vec![waits]]);
        let sent = send(&house, house.request(true));
        for second in 0..49_u32 {
            for backend in &house.shared.snapshot().fleet.backends {
                let report = Report { waiting: Some(60 - second), running: Some(16), ..Report::default() };
                backend.reported(house.clock.now(), &report);
            }
            house.clock.sleep_until(house.clock.now() + Duration::from_secs(1)).await;
        }
        let (told, _) = sent.await.unwrap().unwrap();
        assert_eq!(told.last().map(String::as_str), Some("done"));
        let backend = &house.shared.snapshot().fleet.backends[0];
        assert_eq!((house.calls(), backend.outlier.failures()), (1, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_hangs_is_given_up_though_its_last_report_said_that_it_was_busy() {
    on_a_core(async {
        let house = House::new(Config::default(), vec![vec![vec![Hang]], vec![good()]]);
        let report = Report { waiting: Some(3), running: Some(16), ..Report::default() };
        house.shared.snapshot().fleet.backends[0].reported(house.clock.now(), &report);
        let (told, _) = send(&house, house.request(true)).await.unwrap().unwrap();
        assert_eq!(told.last().map(String::as_str), Some("done"));
        assert_eq!(house.calls(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_the_gateway_itself_is_no_backends_silence() {
    on_a_core(async {
        let steps = || vec![Head(200, true), Role, Token, Wait(17_010), Token, Done];
        let house = House::new(Config::default(), vec![vec![steps()], vec![steps()]]);
        let sent = [send(&house, house.request(true)), send(&house, house.request(true))];
        house.clock.sleep_until(house.clock.now() + Duration::from_millis(120)).await;
        tokio::time::advance(Duration::from_secs(17)).await;
        for sent in sent {
            let (told, _) = sent.await.unwrap().unwrap();
            assert_eq!(told.last().map(String::as_str), Some("done"), "{told:?}");
        }
        let fleet = &house.shared.snapshot().fleet;
        assert!(fleet.backends.iter().all(|backend| backend.outlier.failures() == 0));
        assert!(fleet.backends.iter().all(|backend| !backend.writing.is_known()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_answered_in_time_is_refused_before_an_engine_works_on_it() {
    on_a_core(async {
        let answer = || vec![Wait(1_000), Head(200, false), Plain];
        let house = House::new(Config::default(), vec![vec![answer(); 20]]);
        let mut hurried = house.request(false);
        hurried.envelope.deadline = Some(house.clock.now() + Duration::from_millis(500));
        let late = send(&house, hurried.clone()).await.unwrap();
        assert!(
            matches!(late, Err(ServeError::Deadline(_))),
            "nothing is known yet, so it is tried: {late:?}"
        );
        for _ in 0..12 {
            send(&house, house.request(false)).await.unwrap().unwrap();
        }
        let calls = house.calls();
        hurried.envelope.deadline = Some(house.clock.now() + Duration::from_millis(500));
        let refused = send(&house, hurried.clone()).await.unwrap();
        assert!(matches!(refused, Err(ServeError::NotInTime { .. })), "{refused:?}");
        assert_eq!(house.calls(), calls, "no engine hears of it");
        hurried.envelope.deadline = Some(house.clock.now() + Duration::from_millis(1_500));
        assert!(send(&house, hurried).await.unwrap().is_ok());
        assert_eq!(house.held(), (0, 0, 0, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_served_though_its_last_ones_wait_longer_than_a_standing_queue_may() {
    on_a_core(async {
        let config = Config { hold_headers: Duration::from_secs(60), ..Config::default() };
        let house = House::narrow(config, vec![vec![slow(); 30]], 1);
        let burst: Vec<_> = (0..12).map(|_| send(&house, house.request(true))).collect();
        let mut last = 0;
        for sent in burst {
            last = last.max(sent.await.unwrap().expect("it is served").1);
        }
        assert_eq!(last, 11_000);
        assert_eq!(house.held(), (0, 0, 0, 0));
    })
    .await;
}
