//! Policies side by side, each over several seeds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::metric::{Change, Metric, Scale};
use super::{Report, table::Table, units::clip, units::count};

/// Reads a value from a report, where it has one.
type Of = fn(&Report) -> Option<f64>;

/// The runs of one policy by seed.
type Runs<'a> = BTreeMap<u64, &'a Report>;

/// What policies are judged by, and where a report has it.
const METRICS: [(Metric, Of); 13] = [
    (Metric::time("TTFT mean"), |report| time(report.total.ttft, |spread| spread.mean)),
    (Metric::time("TTFT p50"), |report| time(report.total.ttft, |spread| spread.p50)),
    (Metric::time("TTFT p99"), |report| time(report.total.ttft, |spread| spread.p99)),
    (Metric::time("ITL p99"), |report| time(report.total.itl, |spread| spread.p99)),
    (Metric::time("TPOT p99"), |report| time(report.total.tpot, |spread| spread.p99)),
    (Metric::time("E2E mean"), |report| time(report.total.e2e, |spread| spread.mean)),
    (Metric::rate("goodput"), |report| Some(report.total.goodput)),
    (Metric::share("attainment", true), |report| Some(report.total.attainment)),
    (Metric::share("failures", false), |report| {
        (report.total.requests > 0).then(|| report.total.failures() as f64 / report.total.requests as f64)
    }),
    (Metric::share("cache hit", true), |report| {
        let hit =
            report.fleet.as_ref().map_or_else(|| report.total.cache_hit(), |fleet| fleet.total.cache_hit);
        (hit > 0.0).then_some(hit)
    }),
    (Metric::dollars("dollars"), |report| dollars(report, |total| total.dollars)),
    (Metric::dollars("$/M tokens"), |report| dollars(report, |total| total.dollars_per_million_tokens)),
    (Metric::rate("tokens/s"), |report| Some(report.total.tokens_per_second)),
];

fn time(spread: super::Spread, of: fn(&super::Spread) -> f64) -> Option<f64> {
    (!spread.is_empty()).then(|| of(&spread))
}

/// None where nothing has a price.
fn dollars(report: &Report, of: fn(&super::PlaceFigures) -> f64) -> Option<f64> {
    let total = &report.fleet.as_ref()?.total;
    (total.dollars > 0.0).then(|| of(total))
}

/// Policies side by side: what each came to over all seeds, and how it differs from the first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Policies {
    /// What was replayed.
    pub name: String,
    /// The policies, in the order in which they were run.
    pub policies: Vec<PolicyRow>,
}

/// What one policy came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicyRow {
    /// Its name.
    pub policy: String,
    /// The seeds that it was run with.
    pub seeds: Vec<u64>,
    /// What it came to, metric by metric.
    pub scores: Vec<Score>,
}

/// What one policy came to in one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The metric.
    pub metric: String,
    /// The mean over the seeds.
    pub mean: f64,
    /// How far the mean may be off with 95 % confidence (Student's t); none of one seed.
    pub margin: Option<f64>,
    /// The change from the first policy, seed by seed: what makes one seed hard is hard for both, and cancels. None for
    /// the first policy itself, and without a seed in common.
    pub change: Option<Change>,
}

impl Policies {
    /// Compares the policies that `reports` tell of; the first is what the others are held against.
    #[must_use]
    pub fn new(reports: &[&Report]) -> Self {
        let mut runs: Vec<(&str, Runs<'_>)> = Vec::new();
        for report in reports {
            let place = runs.iter().position(|(policy, _)| *policy == report.label()).unwrap_or(runs.len());
            if place == runs.len() {
                runs.push((report.label(), BTreeMap::new()));
            }
            runs[place].1.insert(report.seed, report);
        }
        let first = runs.first().map(|(_, seeds)| seeds.clone()).unwrap_or_default();
        let row = |(number, (policy, seeds)): (usize, &(&str, Runs<'_>))| PolicyRow {
            policy: (*policy).to_owned(),
            seeds: seeds.keys().copied().collect(),
            scores: METRICS
                .iter()
                .filter_map(|(metric, of)| score(metric, *of, seeds, (number > 0).then_some(&first)))
                .collect(),
        };
        let name = reports.first().map(|report| report.name.clone()).unwrap_or_default();
        Self { name, policies: runs.iter().enumerate().map(row).collect() }
    }

    /// The comparison as a terminal shows it, at most 100 columns wide.
    #[must_use]
    pub fn text(&self) -> String {
        let Some(first) = self.policies.first() else { return String::new() };
        let head = [
            "",
            "policy",
            "mean",
            "± 95 %",
            &format!("to {}", clip(&first.policy, 14)),
            "95 % interval",
            "it is",
        ];
        let mut table = Table::new(&head).left(1);
        for (metric, _) in &METRICS {
            let mut label = metric.name;
            for row in &self.policies {
                let Some(score) = row.scores.iter().find(|score| score.metric == metric.name) else {
                    continue;
                };
                table.row(cells(metric, std::mem::take(&mut label), &row.policy, score));
            }
        }
        let seeds = match first.seeds.len() {
            1 => "one seed".to_owned(),
            seeds => format!("{} seeds", count(seeds as u64)),
        };
        format!("{}: {} side by side, {seeds} each\n\n{table}", self.name, self.policies.len())
    }

    /// Its JSON form.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("a comparison has no map")
    }
}

fn cells(metric: &Metric, label: &str, policy: &str, score: &Score) -> Vec<String> {
    let margin = score.margin.map(|margin| metric.show_margin(margin)).unwrap_or_default();
    let [change, interval, verdict] = score.change.map(|change| change.cells(metric)).unwrap_or_default();
    vec![label.to_owned(), clip(policy, 22), metric.show(score.mean), margin, change, interval, verdict]
}

/// What a policy came to in `metric`; none if no report has it.
fn score(metric: &Metric, of: Of, seeds: &Runs<'_>, first: Option<&Runs<'_>>) -> Option<Score> {
    let values: Vec<f64> = seeds.values().filter_map(|report| of(report)).collect();
    let (mean, margin) = mean(&values)?;
    let pair = |(seed, report): (&u64, &&Report)| Some((of(first?.get(seed)?)?, of(report)?));
    let pairs: Vec<(f64, f64)> = seeds.iter().filter_map(pair).collect();
    Some(Score { metric: metric.name.to_owned(), mean, margin, change: change(metric, &pairs) })
}

/// The change within pairs: for ratios the geometric mean, so that twice and half cancel.
fn change(metric: &Metric, pairs: &[(f64, f64)]) -> Option<Change> {
    let ratio = pairs.iter().all(|(a, b)| metric.scale(*a) == Scale::Ratio && *b > 0.0);
    let scale = if ratio { Scale::Ratio } else { Scale::Difference };
    let of = |(a, b): &(f64, f64)| if ratio { (b / a).ln() } else { b - a };
    let back = |change: f64| if ratio { change.exp() } else { change };
    let (mean, margin) = mean(&pairs.iter().map(of).collect::<Vec<_>>())?;
    let (low, high) =
        margin.map_or((f64::MIN, f64::MAX), |margin| (back(mean - margin), back(mean + margin)));
    let change = back(mean);
    let verdict = metric.judge(scale, change, low, high);
    let (low, high) = if margin.is_some() { (low, high) } else { (change, change) };
    Some(Change { scale, change, low, high, verdict })
}

/// The mean, and how far it may be off with 95 % confidence if there are two values or more.
fn mean(values: &[f64]) -> Option<(f64, Option<f64>)> {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let margin = || student_t(values.len() - 1) * (squares / (count - 1.0) / count).sqrt();
    (!values.is_empty()).then(|| (mean, (values.len() > 1).then(margin)))
}

/// What Student's t does not exceed in 97.5 of 100 cases, from one degree of freedom to thirty.
const STUDENT_T: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

fn student_t(freedom: usize) -> f64 {
    STUDENT_T.get(freedom - 1).copied().unwrap_or(1.960 + 2.5 / freedom as f64)
}

#[cfg(test)]
mod tests {
    use super::super::{Verdict, sample::Sample};
    use super::*;

    fn runs(policy: &'static str, slowness: f64, seeds: u64) -> Vec<Report> {
        (0..seeds)
            .map(|seed| Sample { policy, slowness, seed, requests: 300, ..Sample::default() }.report())
            .collect()
    }

    fn score<'a>(policies: &'a Policies, policy: usize, metric: &str) -> &'a Score {
        policies.policies[policy].scores.iter().find(|score| score.metric == metric).expect("it is judged")
    }

    #[test]
    fn a_faster_policy_is_better_and_its_ratio_is_paired_by_seed() {
        let (slow, fast) = (runs("random", 1.0, 4), runs("cost", 0.8, 4));
        let policies = Policies::new(&slow.iter().chain(&fast).collect::<Vec<_>>());
        let ttft = score(&policies, 1, "TTFT mean");
        let change = ttft.change.expect("they have seeds in common");
        // The same seed is the same run but for the policy: the ratio is far surer than both means.
        assert!((change.change - 0.8).abs() < 1e-6 && change.high - change.low < 1e-3, "{change:?}");
        assert_eq!(change.verdict, Verdict::Better);
        assert!(ttft.margin.unwrap() > 0.01 * ttft.mean);
        assert_eq!(score(&policies, 0, "TTFT mean").change, None);
    }

    #[test]
    fn the_margin_is_that_of_students_t() {
        let (mean, margin) = mean(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        assert_eq!(mean, 3.0);
        assert!((margin.unwrap() - 2.776 * (2.5_f64 / 5.0).sqrt()).abs() < 1e-9);
        assert!((student_t(31) - 2.0395).abs() < 2e-3);
    }

    #[test]
    fn one_seed_judges_nothing() {
        let (slow, fast) = (runs("random", 1.0, 1), runs("cost", 0.5, 1));
        let policies = Policies::new(&[&slow[0], &fast[0]]);
        let score = score(&policies, 1, "TTFT mean");
        assert_eq!((score.margin, score.change.unwrap().verdict), (None, Verdict::NoDifference));
    }

    #[test]
    fn the_table_fits_a_terminal_and_the_json_comes_back() {
        let (slow, fast) = (runs("power_of_two", 1.0, 3), runs("prefix_affinity", 0.8, 3));
        let policies = Policies::new(&slow.iter().chain(&fast).collect::<Vec<_>>());
        assert!(policies.text().lines().all(|line| line.chars().count() <= 100), "{}", policies.text());
        let read: Policies = serde_json::from_str(&policies.json()).unwrap();
        assert_eq!(read.text(), policies.text());
    }
}
