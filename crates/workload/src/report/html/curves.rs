//! How latencies are distributed.

use super::super::plot::{Axis, Line, Plot};
use super::super::units::{percent, round_seconds, seconds};
use super::super::{Slice, Slo, Sparse};
use super::{Run, figure, one_slo};

/// How the plots are read.
pub(super) const HOW_TO_READ: &str = "The share of requests (tokens for ITL) that took at most so long: the farther left \
the better. Each step up is one nine more: the tail has as much room as the rest.";

/// A latency: its title, its explanation, where a slice has it, what the SLO says of it.
type Latency = (&'static str, &'static str, fn(&Slice) -> &Sparse, fn(&Slo) -> Option<f64>);

const LATENCIES: [Latency; 4] = [
    ("TTFT", "from due to the first token", |slice| &slice.ttft, |slo| Some(slo.ttft_seconds)),
    ("ITL", "between two tokens", |slice| &slice.itl, |_| None),
    ("TPOT", "mean time per token after the first", |slice| &slice.tpot, |slo| Some(slo.tpot_seconds)),
    ("E2E", "from due to the end of the answer", |slice| &slice.e2e, |_| None),
];

/// Bands of a plot that have a tip.
const TIPS: u32 = 48;

/// The distribution of each latency.
pub(super) fn of(runs: &[Run<'_>]) -> String {
    let plots: String = LATENCIES.iter().filter_map(|latency| curve(runs, latency)).collect();
    if plots.is_empty() { plots } else { format!("<div class=\"plots\">{plots}</div>") }
}

/// One latency of all runs; none if no run has it.
fn curve(runs: &[Run<'_>], (title, unit, of, slo): &Latency) -> Option<String> {
    let merged = |run: &Run<'_>| Sparse::merge(run.report.slices.iter().map(of));
    let all: Vec<(&Run<'_>, Sparse)> =
        runs.iter().map(|run| (run, merged(run))).filter(|(_, times)| times.count > 0).collect();
    let count = all.iter().map(|(_, times)| times.count).max()?;
    let slo = one_slo(runs).as_ref().and_then(slo);
    let least = all.iter().map(|(_, times)| times.quantile(0.01)).fold(f64::MAX, f64::min);
    let y = Axis::nines(count);
    let most = all.iter().map(|(_, times)| times.quantile(y.value(1.0))).fold(slo.unwrap_or(0.0), f64::max);
    let named = runs.len() > 1;
    let labels = runs.iter().map(|run| if named { run.label } else { "" });
    let mut plot = Plot::new(Axis::log(least, most), y, labels);
    if let Some(slo) = slo {
        plot.mark_x(slo, &format!("SLO {}", round_seconds(slo)));
    }
    for (run, times) in &all {
        let below_top = times.cumulative().into_iter().filter(|(_, share)| y.holds(*share));
        let points: Vec<(f64, f64)> =
            below_top.chain([(times.quantile(y.value(1.0)), y.value(1.0))]).collect();
        plot.line(&Line { label: if named { run.label } else { "" }, style: run.style, points: &points });
    }
    if let ([(run, times)], false) = (&all[..], named) {
        for q in [0.5, 0.9, 0.99, 0.999] {
            plot.point(run.style, (times.quantile(q), q), &seconds(times.quantile(q)));
        }
    }
    tips(&mut plot, &all);
    Some(figure(title, unit, &plot.svg(&format!("distribution of {title}"))))
}

fn tips(plot: &mut Plot, all: &[(&Run<'_>, Sparse)]) {
    for number in 0..TIPS {
        let edge = |number: u32| plot.x().value(f64::from(number) / f64::from(TIPS));
        let (from, to) = (edge(number), edge(number + 1));
        let share =
            |(run, times): &(&Run<'_>, Sparse)| format!("{} {}", percent(below(times, to)), run.label);
        let shares: Vec<String> = all.iter().map(share).collect();
        plot.tip(from, to, &format!("within {}\n{}", seconds(to), shares.join("\n")));
    }
}

/// The share of `times` up to `limit` seconds.
fn below(times: &Sparse, limit: f64) -> f64 {
    let reached = times.cumulative();
    let place = reached.partition_point(|(time, _)| *time <= limit);
    place.checked_sub(1).map_or(0.0, |last| reached[last].1)
}
