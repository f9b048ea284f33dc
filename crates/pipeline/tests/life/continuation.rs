//! Streams that lose their backend in the middle.

use bytes::Bytes;
use plimsoll_engines::Failure;
use plimsoll_pipeline::Config;
use plimsoll_routing::Reporting;
use plimsoll_types::{Request, Text};

use crate::scripted::Step::{self, Event, Fail, Hang, Head, Wait};
use crate::scripted::{House, all, millis, on_a_core};

const BROKEN: Failure = Failure::Broken("broken");
const BODY: &str =
    r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"Count"}],"max_tokens":9}"#;

const ROLE: Step = Event(r#"{"id":"1","choices":[{"index":0,"delta":{"role":"assistant","content":null}}]}"#);
const ONE: Step = Event(r#"{"id":"1","choices":[{"index":0,"delta":{"content":"one "}}]}"#);
const TWO: Step = Event(r#"{"id":"2","choices":[{"index":0,"delta":{"content":"two "}}]}"#);
const ERROR: Step = Event(r#"{"error":{"message":"out of memory"}}"#);
const END: Step = Event("[DONE]");
const TWO_AS_FIRST: &str =
    "data: {\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"two \"}}]}\n\n";

/// A house whose backends are all known to go on with chats.
fn house(config: Config, backends: Vec<Vec<Vec<Step>>>) -> House {
    let house = House::new(config, backends);
    for backend in &house.shared.snapshot().fleet.backends {
        backend.seen.reports(Reporting { engine: "vllm", by: "poll" });
    }
    house
}

fn request(house: &House) -> Request {
    let mut request = house.request(true);
    request.body = Bytes::from_static(BODY.as_bytes());
    request.envelope.model = Text::from_static("m");
    request.envelope.model_at = 9..12;
    request.envelope.max_tokens = Some(9);
    request
}

async fn answer(house: &House) -> Vec<String> {
    let mut answer = house.pipeline.serve(request(house)).await.expect("it begins");
    let told = all(&mut answer.body).await;
    drop(answer);
    assert_eq!(house.held(), (0, 0, 0, 0), "all is given back");
    told
}

fn begun(more: &[Step]) -> Vec<Step> {
    [&[Head(200, true), ROLE, ONE], more].concat()
}

fn rest() -> Vec<Step> {
    vec![Head(200, true), ROLE, TWO, END]
}

#[tokio::test(start_paused = true)]
async fn whatever_ends_a_stream_in_its_middle_another_backend_goes_on() {
    for bad in [vec![Fail(BROKEN)], vec![], vec![ERROR], vec![Hang]] {
        on_a_core(async {
            let house = house(Config::default(), vec![vec![begun(&bad)], vec![rest()]]);
            let told = answer(&house).await;
            assert_eq!(told.len(), 4, "{bad:?}: {told:?}");
            assert_eq!((told[2].as_str(), told[3].as_str()), (TWO_AS_FIRST, "data: [DONE]\n\n"));
            let asked = house.scripts[1].body.borrow();
            let asked = std::str::from_utf8(&asked).unwrap();
            assert!(asked.contains(r#"{"role":"assistant","content":"one "}],"max_tokens":8,"#), "{asked}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_backend_is_waited_for_and_the_next_one_has_its_own_time() {
    on_a_core(async {
        let slow = [&[Wait(4_000)], &rest()[..]].concat();
        let house = house(Config::default(), vec![vec![begun(&[Hang])], vec![slow]]);
        let begin = house.clock.now();
        let mut patient = request(&house);
        patient.envelope.patience = Some(std::time::Duration::from_secs(6));
        let mut answer = house.pipeline.serve(patient).await.unwrap();
        assert_eq!(all(&mut answer.body).await.last().map(String::as_str), Some("data: [DONE]\n\n"));
        let took = millis(begin, house.clock.now());
        assert!((10_000..10_300).contains(&took), "six seconds of silence and four of the next: {took}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn where_nobody_is_known_to_go_on_the_client_is_told() {
    on_a_core(async {
        let house = House::new(Config::default(), vec![vec![begun(&[Fail(BROKEN)])], vec![rest()]]);
        let told = answer(&house).await;
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[2].starts_with("failed: "), "{told:?}");
        assert_eq!(house.calls(), 1, "nobody is asked who would begin anew");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_as_often_as_it_may_whatever_the_budget_of_second_tries() {
    let thrice = |config: Config| async move {
        let bad = begun(&[Fail(BROKEN)]);
        let house = house(config, vec![vec![bad.clone()], vec![bad.clone()], vec![bad]]);
        let told = answer(&house).await;
        assert!(told.last().unwrap().starts_with("failed: "), "{told:?}");
        house.calls()
    };
    on_a_core(async move {
        assert_eq!(thrice(Config::default()).await, 2);
        assert_eq!(thrice(Config { continuations: 2, ..Config::default() }).await, 3);
        assert_eq!(thrice(Config { continuations: 0, ..Config::default() }).await, 1);
        let poor = Config { retry_percent: 0, retry_per_second: 0, ..Config::default() };
        assert_eq!(thrice(poor).await, 2, "what is left to write was promised already");
    })
    .await;
}
