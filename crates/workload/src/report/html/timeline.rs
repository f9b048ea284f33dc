//! The run over time.

use super::super::plot::{Axis, Line, Plot, clock};
use super::super::units::{digits, round_seconds, seconds};
use super::super::{Slice, Slo, Sparse};
use super::{Run, figure, one_slo};

/// A value of each slice, drawn for every run.
struct Quantity {
    title: &'static str,
    unit: &'static str,
    of: fn(&Slice) -> Option<f64>,
    /// A time on an axis by factors, with the objective for it; or a number on an even axis.
    objective: Option<fn(&Slo) -> f64>,
}

const GOODPUT: Quantity = Quantity {
    title: "Goodput",
    unit: "requests/s that met the SLO, by arrival",
    of: |slice| Some(slice.met_slo as f64 / slice.seconds),
    objective: None,
};

const TTFT: Quantity = Quantity {
    title: "TTFT p99",
    unit: "by arrival",
    of: |slice| (slice.ttft.count > 0).then(|| slice.ttft.quantile(0.99)),
    objective: Some(|slo| slo.ttft_seconds),
};

const OUTPUT: Quantity = Quantity {
    title: "Output",
    unit: "tokens/s",
    of: |slice| Some(slice.output_tokens / slice.seconds),
    objective: None,
};

const IN_FLIGHT: Quantity = Quantity {
    title: "In flight",
    unit: "requests sent and not over",
    of: |slice| Some(slice.in_flight),
    objective: None,
};

/// The plots of one run or of several.
pub(super) fn of(runs: &[Run<'_>]) -> String {
    let first = match runs {
        [run] => requests(run) + &first_tokens(run),
        _ => overlaid(runs, &GOODPUT) + &overlaid(runs, &TTFT),
    };
    let (output, in_flight) = (overlaid(runs, &OUTPUT), overlaid(runs, &IN_FLIGHT));
    format!("<div class=\"plots\">{first}{output}{in_flight}</div>")
}

/// The time that `runs` take.
fn span(runs: &[Run<'_>]) -> Axis {
    Axis::clock(runs.iter().map(Run::end).fold(0.0, f64::max))
}

/// The middle of each slice and its value there.
fn points(slices: &[Slice], of: impl Fn(&Slice) -> Option<f64>) -> Vec<(f64, f64)> {
    slices.iter().filter_map(|slice| Some((slice.begin_seconds + slice.seconds / 2.0, of(slice)?))).collect()
}

fn highest<'a>(points: impl IntoIterator<Item = &'a Vec<(f64, f64)>>) -> f64 {
    points.into_iter().flatten().map(|(_, value)| *value).fold(0.0, f64::max)
}

fn lowest<'a>(points: impl IntoIterator<Item = &'a Vec<(f64, f64)>>) -> f64 {
    points.into_iter().flatten().map(|(_, value)| *value).fold(f64::MAX, f64::min)
}

fn requests(run: &Run<'_>) -> String {
    let slices = run.slices();
    let arrivals = points(slices, |slice| Some(slice.arrivals as f64 / slice.seconds));
    let completions = points(slices, |slice| Some(slice.completions as f64 / slice.seconds));
    let failures = points(slices, |slice| Some(slice.failures as f64 / slice.seconds));
    let labels = ["arrive", "complete", "fail"];
    let mut plot =
        Plot::new(span(&[*run]), Axis::linear(highest([&arrivals, &completions, &failures])), labels);
    for (style, (label, points)) in
        [(3, (labels[0], &arrivals)), (0, (labels[1], &completions)), (1, (labels[2], &failures))]
    {
        plot.line(&Line { label, style, points });
    }
    for slice in slices {
        let per_second = |count: u64| digits(count as f64 / slice.seconds);
        let (arrivals, completions) = (per_second(slice.arrivals), per_second(slice.completions));
        let failures = per_second(slice.failures);
        tip(&mut plot, slice, &format!("{arrivals}/s arrive\n{completions}/s complete\n{failures}/s fail"));
    }
    figure("Requests", "a second", &plot.svg("arrivals, completions and failures a second over time"))
}

fn first_tokens(run: &Run<'_>) -> String {
    let slices = run.slices();
    let quantile = |q: f64| move |slice: &Slice| (slice.ttft.count > 0).then(|| slice.ttft.quantile(q));
    let (p50, p99) = (points(slices, quantile(0.5)), points(slices, quantile(0.99)));
    let slo = run.report.slo.ttft_seconds;
    let y = Axis::log(lowest([&p50]).min(slo), highest([&p99]).max(slo));
    let mut plot = Plot::new(span(&[*run]), y, ["p50", "p99", &marked(slo)]);
    plot.band(0, &p50, &p99);
    plot.line(&Line { label: "p50", style: 0, points: &p50 });
    plot.line(&Line { label: "p99", style: 1, points: &p99 });
    plot.mark_y(slo, &marked(slo));
    for slice in slices {
        let Sparse { count, .. } = slice.ttft;
        let (p50, p99) = (seconds(slice.ttft.quantile(0.5)), seconds(slice.ttft.quantile(0.99)));
        tip(&mut plot, slice, &format!("p50 {p50}\np99 {p99}\nof {count} requests"));
    }
    figure(
        "Time to first token",
        "by arrival",
        &plot.svg("median and 99th percentile of the time to first token over time"),
    )
}

/// One quantity of each run.
fn overlaid(runs: &[Run<'_>], quantity: &Quantity) -> String {
    let Quantity { title, unit, of, objective } = quantity;
    let lines: Vec<Vec<(f64, f64)>> = runs.iter().map(|run| points(run.slices(), of)).collect();
    let slo = objective.and_then(|objective| one_slo(runs).as_ref().map(objective));
    let y = match objective {
        Some(_) => {
            Axis::log(lowest(&lines).min(slo.unwrap_or(f64::MAX)), highest(&lines).max(slo.unwrap_or(0.0)))
        }
        None => Axis::linear(highest(&lines)),
    };
    let label = |run: &Run<'_>| if runs.len() > 1 { run.label.to_owned() } else { String::new() };
    let labels: Vec<String> = runs.iter().map(label).chain(slo.map(marked)).collect();
    let mut plot = Plot::new(span(runs), y, labels.iter().map(String::as_str));
    for ((run, points), label) in runs.iter().zip(&lines).zip(&labels) {
        plot.line(&Line { label, style: run.style, points });
    }
    if let Some(slo) = slo {
        plot.mark_y(slo, &marked(slo));
    }
    tips(&mut plot, runs, *of, if objective.is_some() { seconds } else { digits });
    figure(title, unit, &plot.svg(&format!("{title} over time")))
}

/// What each run came to in each slice.
fn tips(plot: &mut Plot, runs: &[Run<'_>], of: fn(&Slice) -> Option<f64>, show: fn(f64) -> String) {
    let longest = runs.iter().map(Run::slices).max_by_key(|slices| slices.len()).unwrap_or_default();
    for (number, slice) in longest.iter().enumerate() {
        let value = |run: &Run<'_>| Some(format!("{} {}", run.label, show(of(run.slices().get(number)?)?)));
        let values: Vec<String> = runs.iter().filter_map(value).collect();
        tip(plot, slice, &values.join("\n"));
    }
}

/// How the SLO is marked.
fn marked(slo: f64) -> String {
    format!("SLO {}", round_seconds(slo))
}

fn tip(plot: &mut Plot, slice: &Slice, text: &str) {
    let end = slice.begin_seconds + slice.seconds;
    plot.tip(
        slice.begin_seconds,
        end,
        &format!("from {}\n{text}", clock((slice.begin_seconds * 10.0).round() / 10.0)),
    );
}
