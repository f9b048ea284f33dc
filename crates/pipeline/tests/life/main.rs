//! The life of a request, on a clock of our own: failures, limits, and that all is given back.

mod again;
mod continuation;
mod queue;
mod scripted;

use std::time::Duration;

use plimsoll_engines::Failure;
use plimsoll_pipeline::{Config, Flow};
use plimsoll_types::ServeError;
use scripted::Step::{Done, Fail, Hang, Head, Plain, Role, Token, Wait};
use scripted::{House, all, millis, next, on_a_core};

const BROKEN: Failure = Failure::Broken("broken");
const GONE: Failure = Failure::Unreachable("gone");

fn good() -> Vec<scripted::Step> {
    vec![Head(200, true), Role, Token, Token, Done]
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_fails_before_the_first_token_is_not_noticed() {
    for bad in [
        vec![Fail(BROKEN)],
        vec![Head(503, false)],
        vec![Head(429, false)],
        vec![Head(200, true), Role, Fail(BROKEN)],
        vec![Head(200, true), Role],
        vec![Hang],
    ] {
        on_a_core(async {
            let house = House::new(Config::default(), vec![vec![bad.clone()], vec![good()]]);
            let mut answer = house.pipeline.serve(house.request(true)).await.unwrap();
            assert_eq!(all(&mut answer.body).await, ["role", "token", "token", "done"], "{bad:?}");
            drop(answer);
            assert_eq!((house.calls(), house.held()), (2, (0, 0, 0, 0)));
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn three_attempts_are_made_and_no_more() {
    on_a_core(async {
        let house = House::new(Config::default(), vec![vec![vec![Fail(BROKEN)]]; 5]);
        let error = house.pipeline.serve(house.request(false)).await.err().unwrap();
        assert_eq!((house.calls(), error), (3, ServeError::Backend("broken")));
        assert_eq!(house.held(), (0, 0, 0, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn backends_that_cannot_be_reached_are_passed_over_for_free() {
    on_a_core(async {
        let config = Config { retry_percent: 0, retry_per_second: 0, ..Config::default() };
        let mut backends = vec![vec![vec![Fail(GONE)]]; 5];
        backends.push(vec![good()]);
        let house = House::new(config, backends);
        assert!(house.pipeline.serve(house.request(true)).await.is_ok());
        assert_eq!(house.calls(), 6);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn without_a_budget_a_failure_is_not_tried_again() {
    on_a_core(async {
        let config = Config { retry_percent: 0, retry_per_second: 0, ..Config::default() };
        let house = House::new(config, vec![vec![vec![Fail(BROKEN)]], vec![good()]]);
        // Of a rate below one a second a whole try is saved up at first; nothing earns it here.
        assert!(house.pipeline.serve(house.request(true)).await.is_err());
        assert_eq!(house.calls(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_request_is_passed_on_and_not_tried_again() {
    on_a_core(async {
        let house = House::new(Config::default(), vec![vec![vec![Head(400, false), Plain]], vec![good()]]);
        let error = house.pipeline.serve(house.request(false)).await.err().unwrap();
        assert!(matches!(&error, ServeError::Refused(refusal) if refusal.status == 400), "{error:?}");
        assert_eq!(house.calls(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_first_token_that_is_late_is_asked_for_elsewhere() {
    on_a_core(async {
        let house = House::new(
            Config::default(),
            vec![vec![vec![Wait(60_000), Head(200, true), Token]], vec![good()]],
        );
        let begin = house.clock.now();
        let mut answer = house.pipeline.serve(house.request(true)).await.unwrap();
        // Nothing is known of the backend yet, so its floor of five seconds is what it has.
        assert!((5_000..5_100).contains(&millis(begin, house.clock.now())));
        assert_eq!(all(&mut answer.body).await, ["role", "token", "token", "done"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn headers_wait_for_the_first_token_and_then_go_without_it() {
    on_a_core(async {
        let config = Config {
            hold_headers: Duration::from_secs(1),
            ttft_floor: Duration::from_secs(30),
            ..Config::default()
        };
        let house = House::new(config, vec![vec![vec![Wait(20_000), Head(200, true), Token, Done]]]);
        let begin = house.clock.now();
        let mut answer = house.pipeline.serve(house.request(true)).await.unwrap();
        assert!((1_000..1_100).contains(&millis(begin, house.clock.now())));
        assert!(answer.head.stream && answer.head.status == 200);
        // One comment with the headers, one each fifteen seconds, and then what was waited for.
        assert_eq!(all(&mut answer.body).await, ["quiet", "quiet", "token", "done"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn after_its_headers_a_stream_that_never_begins_ends_with_an_error() {
    on_a_core(async {
        let config = Config { hold_headers: Duration::ZERO, ..Config::default() };
        let house = House::new(config, vec![vec![vec![Hang]], vec![vec![Fail(BROKEN)]]]);
        let mut answer = house.pipeline.serve(house.request(true)).await.unwrap();
        assert_eq!(all(&mut answer.body).await, ["quiet", "failed: the backend failed: broken"]);
        drop(answer);
        assert_eq!(house.held(), (0, 0, 0, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_filled_with_signs_of_life_until_it_is_too_long() {
    on_a_core(async {
        let config = Config { keep_alive: Duration::from_secs(4), ..Config::default() };
        let house = House::new(config, vec![vec![vec![Head(200, true), Token, Wait(10_000), Token, Hang]]]);
        let mut answer = house.pipeline.serve(house.request(true)).await.unwrap();
        let expected = ["token", "quiet", "quiet", "token", "quiet", "quiet", "quiet"];
        let mut seen = all(&mut answer.body).await;
        assert_eq!(seen.pop().unwrap(), "failed: the backend fell silent in the middle of its answer");
        assert_eq!(seen, expected);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_never_ends_in_silence() {
    for (end, why) in [
        (vec![], "failed: the backend failed: the stream ended before the answer did"),
        (vec![Fail(BROKEN)], "failed: the backend failed: broken"),
    ] {
        on_a_core(async {
            let script = [vec![Head(200, true), Token], end.clone()].concat();
            let house = House::new(Config::default(), vec![vec![script]]);
            let mut answer = house.pipeline.serve(house.request(true)).await.unwrap();
            assert_eq!(all(&mut answer.body).await, ["token", why]);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_does_not_hang_up_after_its_last_event_is_not_waited_for() {
    on_a_core(async {
        let house = House::new(Config::default(), vec![vec![vec![Head(200, true), Token, Done, Hang]]]);
        let mut answer = house.pipeline.serve(house.request(true)).await.unwrap();
        assert_eq!(all(&mut answer.body).await, ["token", "done"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_gives_everything_back() {
    on_a_core(async {
        let house = House::new(Config::default(), vec![vec![vec![Head(200, true), Token, Hang], vec![Hang]]]);
        let mut answer = house.pipeline.serve(house.request(true)).await.unwrap();
        assert_eq!(next(&mut answer.body).await, Some(Flow::Chunk("token".into())));
        assert_eq!(house.held(), (1, 1, 0, 1));
        drop(answer);
        assert_eq!(house.held(), (0, 0, 0, 0));
        let left =
            tokio::time::timeout(Duration::from_millis(10), house.pipeline.serve(house.request(true))).await;
        assert!(left.is_err());
        assert_eq!(house.held(), (0, 0, 0, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_frees_its_backend() {
    on_a_core(async {
        let house = House::new(Config::default(), vec![vec![vec![Head(200, true), Token, Token, Hang]]]);
        let mut answer = house.pipeline.serve(house.request(true)).await.unwrap();
        assert_eq!(next(&mut answer.body).await, Some(Flow::Chunk("token".into())));
        house.clock.sleep_until(house.clock.now() + Duration::from_secs(59)).await;
        assert_eq!(house.held().3, 1);
        house.clock.sleep_until(house.clock.now() + Duration::from_secs(2)).await;
        assert_eq!(house.held().3, 0, "the backend works for nobody");
        let failed = next(&mut answer.body).await;
        assert!(matches!(failed, Some(Flow::Failed(ServeError::Deadline(_)))), "{failed:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_callers_time_bounds_a_plain_answer() {
    on_a_core(async {
        let house = House::new(Config::default(), vec![vec![vec![Hang]], vec![good()]]);
        let mut request = house.request(false);
        request.envelope.deadline = Some(house.clock.now() + Duration::from_millis(700));
        let begin = house.clock.now();
        let error = house.pipeline.serve(request).await.err().unwrap();
        assert!(matches!(error, ServeError::Deadline(_)), "{error:?}");
        assert!((700..800).contains(&millis(begin, house.clock.now())));
        assert_eq!(house.calls(), 1, "nobody is asked for what nobody waits for");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_full_house_says_when_to_come_again() {
    on_a_core(async {
        let config = Config { max_in_flight: 1, ..Config::default() };
        let house = House::new(config, vec![vec![good(), good()]]);
        let answer = house.pipeline.serve(house.request(true)).await.unwrap();
        let error = house.pipeline.serve(house.request(true)).await.err().unwrap();
        assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
        drop(answer);
        assert!(house.pipeline.serve(house.request(true)).await.is_ok());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_left_at_the_end_of_a_drain_ends_with_an_error() {
    on_a_core(async {
        let house = House::new(Config::default(), vec![vec![vec![Head(200, true), Token, Hang]]]);
        let mut answer = house.pipeline.serve(house.request(true)).await.unwrap();
        assert_eq!(next(&mut answer.body).await, Some(Flow::Chunk("token".into())));
        house.shared.cut();
        assert_eq!(next(&mut answer.body).await, Some(Flow::Failed(ServeError::Draining)));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_model_is_told_which_models_there_are() {
    on_a_core(async {
        let house = House::new(Config::default(), vec![vec![]]);
        let mut request = house.request(false);
        request.envelope.model = "other".into();
        let error = house.pipeline.serve(request).await.err().unwrap();
        assert_eq!(error.to_string(), "the model `other` does not exist here; these do: m");
    })
    .await;
}
