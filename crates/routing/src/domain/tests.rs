use std::time::Duration;

use plimsoll_types::{BackendSpec, Instant, Locality};

use super::*;
use crate::snapshot::tests::spec;
use crate::{Config, Dispatched, Fleet, PickError, RequestShape, Router, Service, Verdict};

/// Four backends in each of three regions, two to a rack.
fn fleet(config: Config) -> Fleet {
    fleet_after(None, config)
}

fn fleet_after(before: Option<&Fleet>, config: Config) -> Fleet {
    let at = |region: &str, rack: usize| Locality {
        cloud: "aws".into(),
        region: region.into(),
        zone: "a".into(),
        rack: format!("r{rack}"),
    };
    let regions = ["east", "west", "north"];
    let all = regions.iter().flat_map(|region| (0..4).map(move |number| (region, number)));
    let specs = all.map(|(region, number)| BackendSpec {
        locality: at(region, number / 2),
        ..spec(&format!("{region}{number}"))
    });
    Fleet::new(specs.collect(), config, before)
}

fn at(millis: u64) -> RequestShape<'static> {
    RequestShape::typical(Instant::ORIGIN + Duration::from_millis(millis))
}

/// Where a hundred requests go that stay.
fn picked(fleet: &Fleet, millis: u64) -> Vec<Dispatched> {
    picks(fleet, 100, millis)
}

fn picks(fleet: &Fleet, count: usize, millis: u64) -> Vec<Dispatched> {
    let mut router = Router::new(1);
    let pool = fleet.pool("m").unwrap();
    (0..count).map_while(|_| router.pick(pool, &at(millis), &[], &fleet.config).ok()).collect()
}

fn went_to(picked: &[Dispatched], place: &str) -> usize {
    picked.iter().filter(|sent| sent.backend.spec.name.starts_with(place)).count()
}

/// A backend fails three times in a row.
fn fail(fleet: &Fleet, name: &str, millis: u64) {
    let mut router = Router::new(1);
    let pool = fleet.pool("m").unwrap();
    let others: Vec<usize> = fleet
        .backends
        .iter()
        .filter(|backend| backend.spec.name != name)
        .map(|backend| backend.slot)
        .collect();
    for _ in 0..3 {
        let mut sent = router.pick(pool, &at(millis), &others, &fleet.config).unwrap();
        sent.judge(Verdict::Failed, at(millis).now, &fleet.config);
    }
}

fn with(domain: DomainConfig) -> Config {
    Config { domains: vec![domain], ..Config::default() }
}

#[test]
fn a_place_is_in_all_domains_around_it() {
    let place =
        Locality { cloud: "aws".into(), region: "east".into(), zone: String::new(), rack: "r7".into() };
    assert_eq!(domain_names(&place).collect::<Vec<_>>(), ["aws", "aws/east", "aws/east/r7"]);
    assert_eq!(domain_names(&Locality::default()).count(), 0);
}

#[test]
fn a_drained_domain_gets_nothing_until_it_is_taken_in_again() {
    let fleet = fleet(Config::default());
    assert!(fleet.take_out_domain("aws/east", true));
    assert_eq!(went_to(&picked(&fleet, 1), "east"), 0);
    assert!(fleet.take_out_domain("aws/east", false));
    assert!(went_to(&picked(&fleet, 1), "east") > 20);
    assert!(!fleet.take_out_domain("aws/south", true));
}

#[test]
fn with_all_domains_drained_nobody_is_left() {
    let fleet = fleet(Config::default());
    assert!(fleet.take_out_domain("aws", true));
    let refused = Router::new(1).pick(fleet.pool("m").unwrap(), &at(1), &[], &fleet.config).err();
    assert_eq!(refused, Some(PickError::NobodyLeft));
}

#[test]
fn what_an_operator_took_out_stays_out_over_a_reload() {
    let before = fleet(Config::default());
    assert!(before.take_out_domain("aws/east/a/r0", true));
    assert!(before.take_out_backend("west1", true));
    let after = fleet_after(Some(&before), Config::default());
    let sent = picked(&after, 1);
    assert_eq!((went_to(&sent, "east0"), went_to(&sent, "east1"), went_to(&sent, "west1")), (0, 0, 0));
    assert!(went_to(&sent, "east2") > 0);
}

#[test]
fn what_the_configuration_says_of_a_domain_ends_with_it() {
    let drained = DomainConfig { at: "aws/east".into(), drained: true, ..DomainConfig::default() };
    let before = fleet(with(drained));
    assert_eq!(went_to(&picked(&before, 1), "east"), 0);
    let after = fleet_after(Some(&before), Config::default());
    assert!(went_to(&picked(&after, 1), "east") > 20);
}

#[test]
fn a_domain_of_less_weight_gets_less() {
    let fleet = fleet(with(DomainConfig { at: "aws/east".into(), weight: 0.5, ..DomainConfig::default() }));
    let sent = picks(&fleet, 2_000, 1);
    let (east, west) = (went_to(&sent, "east"), went_to(&sent, "west"));
    assert!(east > 200 && east * 3 < west * 2, "{east} {west}");
}

#[test]
fn the_requests_of_a_domain_are_limited_as_one_and_given_back() {
    let fleet =
        fleet(with(DomainConfig { at: "aws/east".into(), max_in_flight: 3, ..DomainConfig::default() }));
    for _ in 0..3 {
        assert_eq!(went_to(&picked(&fleet, 1), "east"), 3);
    }
}

#[test]
fn where_most_of_a_rack_or_region_fails_the_rest_goes_out_with_it_and_comes_back_one_by_one() {
    let fleet = fleet(Config::default());
    fail(&fleet, "east0", 0);
    fail(&fleet, "east1", 0);
    // A rack of two is out, which is half of its region and not more.
    assert!(went_to(&picked(&fleet, 1), "east") > 0);
    fail(&fleet, "east2", 0);
    let out = |backend: &&Arc<crate::Backend>| backend.service(at(1).now) == Service::Ejected;
    let names: Vec<&str> = fleet.backends.iter().filter(out).map(|backend| &*backend.spec.name).collect();
    assert_eq!(names, ["east0", "east1", "east2", "east3"]);
    // Each gets one request to try when its time is over.
    assert_eq!(went_to(&picked(&fleet, 1_500), "east"), 4);
}

#[test]
fn a_pool_whose_larger_part_fell_as_one_does_not_panic() {
    let fleet = fleet(Config::default());
    for region in ["east", "west"] {
        for number in 0..3 {
            fail(&fleet, &format!("{region}{number}"), 0);
        }
    }
    // Two thirds are out, but it is known why.
    let sent = picked(&fleet, 1);
    assert_eq!((sent.len(), went_to(&sent, "north")), (100, 100));
}

#[test]
fn what_befalls_the_whole_pool_is_no_matter_of_domains() {
    let fleet = fleet(Config { domain_threshold: 0.1, ..Config::default() });
    fail(&fleet, "east0", 0);
    fail(&fleet, "west0", 0);
    let out = fleet.backends.iter().filter(|backend| backend.service(at(1).now) != Service::Open);
    assert_eq!(out.count(), 2);
}

#[test]
fn a_domain_whose_backends_had_left_stayed_unless_somebody_has_said_something_of_it() {
    let first = fleet(Config::default());
    assert!(first.take_out_domain("aws/west", true));
    let said = DomainConfig { at: "gcp".into(), ..DomainConfig::default() };
    let config = Config { domains: vec![said], ..Config::default() };
    let left = Fleet::new(vec![spec("elsewhere")], config, Some(&first));
    let names: Vec<&str> = left.domains().map(|domain| domain.name.as_str()).collect();
    assert_eq!(names, ["aws/west", "gcp"]);
    let back = fleet_after(Some(&left), Config::default());
    assert_eq!(back.domains().count(), 1 + 3 + 3 + 6);
    assert!(back.backends.iter().all(|one| one.is_drained() == one.spec.name.starts_with("west")));
}

#[test]
fn a_domain_is_not_forgotten_while_a_request_of_a_backend_that_left_counts_there() {
    let limited = || DomainConfig { at: "aws".into(), max_in_flight: 100, ..DomainConfig::default() };
    let config = || Config { domains: vec![limited()], ..Config::default() };
    let first = fleet(config());
    let running = picks(&first, 1, 0);
    let left = Fleet::new(vec![spec("elsewhere")], Config::default(), Some(&first));
    let back = fleet_after(Some(&left), config());
    let in_flight = || back.domains().find(|domain| domain.name == "aws").unwrap().in_flight();
    assert_eq!(in_flight(), 1);
    drop(running);
    assert_eq!(in_flight(), 0);
}
