//! Whether one run was better than another, as far as two runs can tell.

mod bootstrap;
mod caveats;

use rand::{SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};

use super::metric::{Change, Metric};
use super::{Report, table::Table};
use bootstrap::Draws;

/// What is compared, in the order of `Draws::values`.
const METRICS: [Metric; bootstrap::VALUES] = [
    Metric::time("TTFT mean"),
    Metric::time("TTFT p50"),
    Metric::time("TTFT p90"),
    Metric::time("TTFT p99"),
    Metric::time("ITL mean"),
    Metric::time("ITL p50"),
    Metric::time("ITL p90"),
    Metric::time("ITL p99"),
    Metric::time("TPOT mean"),
    Metric::time("TPOT p50"),
    Metric::time("TPOT p90"),
    Metric::time("TPOT p99"),
    Metric::time("E2E mean"),
    Metric::time("E2E p50"),
    Metric::time("E2E p90"),
    Metric::time("E2E p99"),
    Metric::rate("goodput"),
    Metric::share("attainment", true),
    Metric::rate("tokens/s"),
    Metric::share("failures", false),
];

/// How often both runs are drawn again.
const RESAMPLES: usize = 1_000;

/// The share of draws left out at each end. For 40 slices this, and not 2.5 %, makes an interval of 95 %: draws from so
/// few spread less than the runs themselves (Hesterberg, What Teachers Should Know About the Bootstrap, 2015).
const TAIL: f64 = 0.020;

/// How a second run differs from a first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What the first run is called.
    pub a: String,
    /// What the second run is called.
    pub b: String,
    /// Why the two may not be comparable.
    pub warnings: Vec<String>,
    /// How they differ, metric by metric.
    pub differences: Vec<Difference>,
}

/// How two runs differ in one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The metric.
    pub metric: String,
    /// What the first run came to.
    pub a: f64,
    /// What the second run came to.
    pub b: f64,
    /// The change from the first to the second.
    pub change: Change,
}

/// How `b` differs from `a`.
///
/// The intervals come from a block bootstrap: both runs are drawn again a thousand times, not request by request but
/// slice by slice. Requests are not independent: those that wait behind the same long prompt are slow together, and
/// intervals that take them for independent are several times too narrow. A draw takes the same slices of both runs: the
/// same burst, or the same outage, makes both slow and says nothing of either.
#[must_use]
pub fn compare(a: &Report, b: &Report) -> Comparison {
    redrawn(a, b, RESAMPLES)
}

fn redrawn(a: &Report, b: &Report, resamples: usize) -> Comparison {
    let mut draws = Draws::new(a, b);
    let all = draws.all();
    let mut rng = StdRng::seed_from_u64(a.seed ^ b.seed.rotate_left(32));
    let drawn: Vec<_> = (0..resamples).map(|_| draws.draw(&mut rng)).collect();
    let difference = |number: usize| {
        let (a, b) = (all.0[number]?, all.1[number]?);
        let pairs = drawn.iter().filter_map(|(a, b)| Some((a[number]?, b[number]?)));
        let change = interval(&METRICS[number], (a, b), pairs)?;
        Some(Difference { metric: METRICS[number].name.to_owned(), a, b, change })
    };
    Comparison {
        a: called(a),
        b: called(b),
        warnings: caveats::between(a, b),
        differences: (0..METRICS.len()).filter_map(difference).collect(),
    }
}

fn called(report: &Report) -> String {
    format!("{}: {}, seed {}", report.name, report.label(), report.seed)
}

/// The change between the runs, and what lies between the tails of the changes between the draws.
fn interval(metric: &Metric, (a, b): (f64, f64), pairs: impl Iterator<Item = (f64, f64)>) -> Option<Change> {
    let scale = metric.scale(a);
    let mut changes: Vec<f64> =
        pairs.map(|(a, b)| scale.change(a, b)).filter(|change| change.is_finite()).collect();
    changes.sort_unstable_by(f64::total_cmp);
    let at = |q: f64| changes.get((q * changes.len().saturating_sub(1) as f64).round() as usize).copied();
    let (change, low, high) = (scale.change(a, b), at(TAIL)?, at(1.0 - TAIL)?);
    Some(Change { scale, change, low, high, verdict: metric.judge(scale, change, low, high) })
}

impl Comparison {
    /// The comparison as a terminal shows it, at most 100 columns wide.
    #[must_use]
    pub fn text(&self) -> String {
        let mut table = Table::new(&["", "a", "b", "b to a", "95 % interval", "b is"]);
        for difference in &self.differences {
            let Some(metric) = METRICS.iter().find(|metric| metric.name == difference.metric) else {
                continue;
            };
            let [change, interval, verdict] = difference.change.cells(metric);
            let (a, b) = (metric.show(difference.a), metric.show(difference.b));
            table.row(vec![metric.name.to_owned(), a, b, change, interval, verdict]);
        }
        let warnings: String = self.warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
        format!("a: {}\nb: {}\n{warnings}\n{table}", self.a, self.b)
    }

    /// Its JSON form.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("a comparison has no map")
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Verdict, sample::Sample};
    use super::*;

    fn find<'a>(comparison: &'a Comparison, metric: &str) -> &'a Difference {
        comparison.differences.iter().find(|difference| difference.metric == metric).expect("it is compared")
    }

    #[test]
    fn identical_runs_show_no_difference() {
        let report = Sample::default().report();
        let comparison = compare(&report, &report);
        assert_eq!(comparison.differences.len(), METRICS.len());
        for difference in &comparison.differences {
            assert_eq!(difference.change.verdict, Verdict::NoDifference, "{}", difference.metric);
            assert_eq!(difference.a, difference.b);
        }
        assert!(comparison.warnings.is_empty());
    }

    #[test]
    fn a_run_that_is_a_fifth_slower_is_worse_by_a_fifth() {
        let usual = Sample::default().report();
        let slow = Sample { slowness: 1.2, seed: 2, ..Sample::default() }.report();
        let comparison = compare(&usual, &slow);
        for metric in ["TTFT mean", "TTFT p50", "ITL mean", "TPOT mean", "TPOT p99", "E2E mean"] {
            let change = find(&comparison, metric).change;
            assert_eq!(change.verdict, Verdict::Worse, "{metric}: {change:?}");
            assert!(change.low <= 1.2 && 1.2 <= change.high, "{metric}: {change:?}");
        }
        assert_eq!(find(&comparison, "attainment").change.verdict, Verdict::Worse);
        assert_eq!(find(&comparison, "failures").change.verdict, Verdict::NoDifference);
        assert_eq!(find(&compare(&slow, &usual), "TTFT mean").change.verdict, Verdict::Better);
    }

    #[test]
    fn an_interval_covers_the_truth_about_as_often_as_it_claims() {
        let (mut covered, mut all) = (0, 0);
        for seed in 0..40 {
            let usual = Sample { requests: 1_000, seed, ..Sample::default() };
            let slow = Sample { seed: seed + 1_000, slowness: 1.1, ..usual.clone() };
            let comparison = redrawn(&usual.report(), &slow.report(), 200);
            for metric in ["TTFT mean", "TPOT p90", "E2E p50"] {
                let change = find(&comparison, metric).change;
                covered += u32::from(change.low <= 1.1 && 1.1 <= change.high);
                all += 1;
            }
        }
        let share = f64::from(covered) / f64::from(all);
        assert!((0.89..0.995).contains(&share), "{covered} of {all}");
    }

    #[test]
    fn a_comparison_comes_out_the_same_twice_and_fits_a_terminal() {
        let (a, b) = (Sample::default().report(), Sample { seed: 9, ..Sample::default() }.report());
        let comparison = compare(&a, &b);
        assert_eq!(comparison.json(), compare(&a, &b).json());
        assert!(comparison.text().lines().all(|line| line.chars().count() <= 100), "{}", comparison.text());
    }
}
