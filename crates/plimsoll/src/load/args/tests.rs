use std::time::Duration;

use super::endpoint::HERE;
use super::*;
use clap::{CommandFactory, Parser};
use plimsoll_workload::load::Pace;

#[derive(Debug, Parser)]
struct Only {
    #[command(flatten)]
    load: Load,
}

fn put(switches: &str) -> Put {
    let words = std::iter::once("load").chain(switches.split_whitespace());
    Only::try_parse_from(words).unwrap_or_else(|wrong| panic!("{wrong}")).load.put
}

#[test]
fn the_switches_do_not_contradict_each_other() {
    Only::command().debug_assert();
}

#[test]
fn without_a_word_it_is_half_a_minute_before_the_gateway_of_this_machine() {
    let put = put("");
    assert_eq!(put.target().unwrap().url, HERE);
    let source = put.source().unwrap();
    assert_eq!((source.for_s, source.requests, source.synthetic.arrivals.rate), (30.0, 0, 10.0));
}

#[test]
fn speed_and_warm_up_keep_the_time_that_is_reported() {
    let source = put("--duration 60 --warm-up 5 --speed 2").source().unwrap();
    assert_eq!((source.for_s, source.rate), (130.0, 2.0));
    let source = put("--requests 7 --prompt-tokens 64").source().unwrap();
    assert_eq!((source.for_s, source.requests, source.synthetic.prompt.mean), (0.0, 7, 64.0));
}

#[test]
fn a_file_is_not_given_the_rate_of_a_synthetic_workload() {
    assert!(put("--trace a.csv").source().is_ok());
    let wrong = put("--trace a.csv --rate 5").source().unwrap_err().to_string();
    assert!(wrong.contains("see --speed"), "{wrong}");
}

#[test]
fn numbers_that_are_none_are_refused() {
    for wrong in ["--speed 0", "--warm-up -1", "--duration inf", "--concurrency 0", "--output-tokens 0"] {
        let words = std::iter::once("load").chain(wrong.split(' '));
        assert!(Only::try_parse_from(words).is_err(), "{wrong}");
    }
}

#[test]
fn header_fields_have_a_name_and_a_value() {
    let headers = put("--header x-team:a").target().unwrap().headers;
    assert_eq!(headers, [("x-team".to_owned(), "a".to_owned())]);
    assert!(put("--header x-team").target().is_err());
}

#[test]
fn a_closed_loop_ends_by_time_or_by_number() {
    let pace = |switches: &str| {
        let put = put(switches);
        put.pace(&put.source().unwrap())
    };
    let closed = |until: Option<u64>| Pace::Closed { clients: 4, until: until.map(Duration::from_secs) };
    assert_eq!(pace("--rate 5"), Pace::Open);
    assert_eq!(pace("--concurrency 4"), closed(Some(30)));
    assert_eq!(pace("--concurrency 4 --duration 7 --warm-up 2 --speed 2"), closed(Some(7)));
    assert_eq!(pace("--concurrency 4 --requests 7"), closed(None));
    assert_eq!(pace("--concurrency 4 --trace a.csv"), closed(None));
}
