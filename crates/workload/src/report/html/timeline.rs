//! The run over time.

use super::super::plot::{Axis, Line, Plot, clock};
use super::super::units::{digits, round_seconds, seconds};
use super::super::{Slice, Sparse};
use super::{Run, figure, one_slo};

/// The plots of one run or of several.
pub(super) fn of(runs: &[Run<'_>]) -> String {
    let mut plots = match runs {
        [run] => requests(run) + &first_tokens(run),
        _ => {
            let slo = one_slo(runs).map(|slo| slo.ttft_seconds);
            let ttft = |slice: &Slice| (slice.ttft.count > 0).then(|| slice.ttft.quantile(0.99));
            overlaid(
                runs,
                "Goodput",
                "requests/s that met the SLO, by arrival",
                |slice| Some(slice.met_slo as f64 / slice.seconds),
                None,
            ) + &overlaid(runs, "TTFT p99", "by arrival", ttft, Some(slo))
        }
    };
    plots += &overlaid(runs, "Output", "tokens/s", |slice| Some(slice.output_tokens / slice.seconds), None);
    plots += &overlaid(runs, "In flight", "requests sent and not over", |slice| Some(slice.in_flight), None);
    format!("<div class=\"plots\">{plots}</div>")
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
    let least = p50.iter().map(|(_, value)| *value).fold(f64::MAX, f64::min);
    let slo = run.report.slo.ttft_seconds;
    let y = Axis::log(least.min(slo), highest([&p99]).max(slo));
    let mut plot = Plot::new(span(&[*run]), y, ["p50", "p99", &objective(slo)]);
    plot.band(0, &p50, &p99);
    plot.line(&Line { label: "p50", style: 0, points: &p50 });
    plot.line(&Line { label: "p99", style: 1, points: &p99 });
    plot.mark_y(slo, &objective(slo));
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

/// One value of each run, over time; with a third argument on a logarithmic axis for times, with the SLO if there is one.
fn overlaid(
    runs: &[Run<'_>],
    title: &str,
    unit: &str,
    of: impl Fn(&Slice) -> Option<f64>,
    time: Option<Option<f64>>,
) -> String {
    let lines: Vec<Vec<(f64, f64)>> = runs.iter().map(|run| points(run.slices(), &of)).collect();
    let least = lines.iter().flatten().map(|(_, value)| *value).fold(f64::MAX, f64::min);
    let slo = time.flatten();
    let y = match time {
        Some(_) => Axis::log(least.min(slo.unwrap_or(least)), highest(&lines).max(slo.unwrap_or(0.0))),
        None => Axis::linear(highest(&lines)),
    };
    let named = runs.len() > 1;
    let labels: Vec<String> =
        runs.iter().filter(|_| named).map(|run| run.label.to_owned()).chain(slo.map(objective)).collect();
    let mut plot = Plot::new(span(runs), y, labels.iter().map(String::as_str));
    for (run, points) in runs.iter().zip(&lines) {
        plot.line(&Line { label: if named { run.label } else { "" }, style: run.style, points });
    }
    if let Some(slo) = slo {
        plot.mark_y(slo, &objective(slo));
    }
    let show = if time.is_some() { seconds } else { digits };
    let longest = runs.iter().map(Run::slices).max_by_key(|slices| slices.len()).unwrap_or_default();
    for (number, slice) in longest.iter().enumerate() {
        let value = |run: &Run<'_>| Some(format!("{} {}", run.label, show(of(run.slices().get(number)?)?)));
        let values: Vec<String> = runs.iter().filter_map(value).collect();
        tip(&mut plot, slice, &values.join("\n"));
    }
    figure(title, unit, &plot.svg(&format!("{title} over time")))
}

/// How the SLO is marked.
fn objective(slo: f64) -> String {
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
