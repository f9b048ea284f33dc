use super::*;
use crate::series::LEAVE;
use crate::text;
use crate::{Serving, catalog};

/// An exporter of its own, whose handles are made in [`Stage::of`].
#[derive(Default)]
struct Stage(Arc<Registry>);

impl Stage {
    /// What `make` makes of the catalogue.
    fn of<T>(&self, make: impl FnOnce() -> T) -> T {
        metrics::with_local_recorder(&self.0, make)
    }

    fn serve(&self, backend: &str) -> Serving {
        Serving::new(Arc::clone(self.0.roll()), [("backend", backend.to_owned())])
    }

    fn scrape(&self, seconds: u64) -> String {
        text::of(self.0.scrape(Duration::from_secs(seconds)))
    }

    fn upkeep(&self, seconds: u64) {
        self.0.keep_up(Duration::from_secs(seconds));
    }

    fn remembered(&self) -> usize {
        self.0.read().len()
    }
}

fn ejections() -> Counter {
    catalog::EJECTIONS.counter(&["b"])
}

const TWO: &str = "plimsoll_ejections_total{backend=\"b\"} 2\n";

#[test]
fn two_scrapes_see_the_last_value_of_a_counter_whose_backend_is_gone() {
    let stage = Stage::default();
    let (serving, handle) = (stage.serve("b"), stage.of(ejections));
    for seconds in 0..5 {
        assert!(stage.scrape(seconds).contains("plimsoll_ejections_total{backend=\"b\"} 0\n"));
    }
    handle.increment(2);
    drop((serving, handle));
    stage.upkeep(5);
    assert!(stage.scrape(6).contains(TWO) && stage.scrape(7).contains(TWO));
    assert_eq!(stage.scrape(8), "");
    assert_eq!(stage.remembered(), 0);
}

#[test]
fn a_counter_that_nobody_scrapes_ends_a_minute_after_its_backend() {
    let stage = Stage::default();
    let serving = stage.serve("b");
    stage.of(ejections).increment(2);
    stage.upkeep(10);
    drop(serving);
    stage.upkeep(11);
    stage.upkeep(10 + LEAVE.as_secs());
    assert_eq!(stage.remembered(), 1);
    stage.upkeep(11 + LEAVE.as_secs());
    assert_eq!(stage.remembered(), 0);
}

#[test]
fn a_counter_of_what_serves_stays_though_it_never_changes_and_nobody_holds_it() {
    let stage = Stage::default();
    let _serving = stage.serve("b");
    stage.of(ejections).increment(2);
    for hour in 0..100 {
        stage.upkeep(hour * 3_600);
        assert!(stage.scrape(hour * 3_600).contains(TWO));
    }
}

#[test]
fn a_request_that_ends_after_its_backend_is_counted_and_told_twice() {
    let stage = Stage::default();
    let (serving, handle) = (stage.serve("b"), stage.of(ejections));
    handle.increment(1);
    drop(serving);
    let told = |seconds| stage.scrape(seconds).contains("plimsoll_ejections_total");
    assert_eq!([1, 2, 3].map(told), [true, true, false]);
    handle.increment(1);
    assert!(stage.scrape(100).contains(TWO) && stage.scrape(101).contains(TWO));
    assert!(!told(102) && stage.remembered() == 1, "it is held, so it may count again");
    drop(handle);
    assert!(!told(103));
    assert_eq!(stage.remembered(), 0);
}

#[test]
fn a_backend_that_comes_back_goes_on_counting_where_handles_of_the_old_one_count_too() {
    let stage = Stage::default();
    let (serving, old) = (stage.serve("b"), stage.of(ejections));
    old.increment(1);
    drop(serving);
    for seconds in 0..5 {
        // After the second of these its series has left the text.
        let _ = stage.scrape(seconds);
    }
    let (_serving, new) = (stage.serve("b"), stage.of(ejections));
    new.increment(1);
    assert!(stage.scrape(5).contains(TWO));
    old.increment(1);
    drop(old);
    for seconds in 6..200 {
        stage.upkeep(seconds);
        assert!(stage.scrape(seconds).contains("plimsoll_ejections_total{backend=\"b\"} 3\n"), "{seconds}");
    }
}

#[test]
fn a_backend_that_is_replaced_under_its_name_does_not_end_in_between() {
    let stage = Stage::default();
    let (before, old) = (stage.serve("b"), stage.of(ejections));
    old.increment(2);
    let (_after, _new) = (stage.serve("b"), stage.of(ejections));
    drop((before, old));
    for seconds in [0, 1, 2, 200, 201, 202] {
        assert!(stage.scrape(seconds).contains(TWO));
    }
}

#[test]
fn a_gauge_has_no_series_before_it_is_set_nor_after_its_backend_and_is_never_nan() {
    let stage = Stage::default();
    let (serving, gauge) = (stage.serve("b"), stage.of(|| catalog::BACKEND_REPORT_AGE.gauge(&["b"])));
    assert_eq!(stage.scrape(0), "", "an age of 0 would be a report just now");
    gauge.set(3.5);
    assert!(stage.scrape(1).contains("plimsoll_backend_report_age_seconds{backend=\"b\"} 3.5\n"));
    gauge.set(f64::NAN);
    assert_eq!(stage.scrape(2), "");
    gauge.increment(1.0);
    assert!(stage.scrape(3).contains("{backend=\"b\"} 1\n"));
    drop(serving);
    assert_eq!(stage.scrape(4), "", "the backend is gone, though a request there holds the gauge");
    let _serving = stage.serve("b");
    gauge.decrement(1.0);
    assert!(stage.scrape(5).contains("{backend=\"b\"} 0\n"), "it is what it was, less what has ended");
    drop(gauge);
    assert_eq!(stage.scrape(6), "", "nobody can set it any more");
    assert_eq!(stage.remembered(), 0);
}

#[test]
fn a_series_ends_with_any_of_its_names_and_others_are_not_touched() {
    let stage = Stage::default();
    let all = [("model", "m"), ("policy", "p"), ("cloud", ""), ("region", "")];
    let all = all.map(|(label, value)| (label, value.to_owned()));
    let _pool = Serving::new(Arc::clone(stage.0.roll()), all);
    let (_stays, goes) = (stage.serve("stays"), stage.serve("goes"));
    for backend in ["stays", "goes"] {
        stage.of(|| catalog::PICKS.counter(&["m", "p", "", "", backend])).increment(1);
    }
    stage.of(|| catalog::REFUSALS.counter(&["overloaded"])).increment(1);
    let lines = |seconds| stage.scrape(seconds).lines().filter(|line| line.ends_with(" 1")).count();
    assert_eq!(lines(0), 3);
    drop(goes);
    assert_eq!([1, 2, 3].map(lines), [3, 3, 2]);
}

#[test]
fn a_histogram_ends_like_a_counter_and_a_sample_that_is_no_number_does_not_spoil_its_sum() {
    let stage = Stage::default();
    let (serving, handle) = (stage.serve("b"), stage.of(|| catalog::BATCH_ITEMS.histogram(&["b"])));
    handle.record(3.0);
    handle.record(f64::NAN);
    drop((serving, handle));
    for seconds in [0, 1] {
        let text = stage.scrape(seconds);
        for line in
            ["bucket{backend=\"b\",le=\"2\"} 0", "bucket{backend=\"b\",le=\"4\"} 1", "sum{backend=\"b\"} 3"]
        {
            assert!(text.contains(&format!("plimsoll_batch_items_{line}\n")), "{text}");
        }
    }
    assert_eq!(stage.scrape(2), "");
    assert_eq!(stage.remembered(), 0);
}

#[test]
fn the_text_has_metrics_in_the_order_of_the_catalogue_and_labels_escaped() {
    let stage = Stage::default();
    let _serving = (stage.serve("b"), stage.serve("a\"\n"));
    for backend in ["b", "a\"\n"] {
        stage.of(|| catalog::EJECTIONS.counter(&[backend])).increment(1);
        stage.of(|| catalog::ATTEMPTS.counter(&[backend, "ok"])).increment(1);
    }
    let text = stage.scrape(0);
    let names: Vec<&str> =
        text.lines().map(|line| line.rsplit_once(' ').map_or("", |(name, _)| name)).collect();
    let attempts = "plimsoll_attempts_total{backend=";
    assert_eq!(names[2], format!("{attempts}\"a\\\"\\n\",outcome=\"ok\"}}"));
    assert_eq!(names[3], format!("{attempts}\"b\",outcome=\"ok\"}}"));
    assert_eq!(text.lines().filter(|line| line.starts_with("# TYPE")).count(), 2);
}
