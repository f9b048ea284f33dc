//! What a reader sees first: a few large figures of one run, or a table of several.

use super::super::figures::share;
use super::super::units::{count, digits, dollars, percent, rate, round_seconds, seconds};
use super::super::{Outcome, Report, Spread};
use super::{Run, escape};

/// The headline of one run or of several.
pub(super) fn of(runs: &[Run<'_>]) -> String {
    match runs {
        [run] => tiles(run.report),
        _ => side_by_side(runs),
    }
}

/// A large figure with what it is and what to hold it against.
fn tile(what: &str, figure: &str, beside: &str) -> String {
    let (number, unit) = figure.split_once(' ').unwrap_or((figure, ""));
    format!(
        "<div><dt>{what}</dt><dd>{number}<small> {unit}</small></dd><dd class=\"beside\">{beside}</dd></div>"
    )
}

fn tiles(report: &Report) -> String {
    let total = &report.total;
    let met =
        format!("{}{} of {} requests", bar(total.attainment), count(total.met_slo), count(total.requests));
    let offered = digits(total.requests as f64 / report.rate_seconds.max(1e-9));
    let against =
        |spread: &Spread, slo: f64| format!("median {}<br>SLO {}", seconds(spread.p50), round_seconds(slo));
    let mut tiles = tile("met the SLO", &percent(total.attainment), &met);
    tiles += &tile(
        "goodput",
        &format!("{} /s", rate(total.goodput)),
        &format!("of {offered} requests<br>a second that arrived"),
    );
    tiles += &tile("TTFT p99", &seconds(total.ttft.p99), &against(&total.ttft, report.slo.ttft_seconds));
    tiles += &tile("TPOT p99", &seconds(total.tpot.p99), &against(&total.tpot, report.slo.tpot_seconds));
    let tokens = format!("{} tokens written in all", count(total.output_tokens));
    tiles += &tile("output", &format!("{} tokens/s", rate(total.tokens_per_second)), &tokens);
    tiles += &tile("failures", &percent(share(total.failures(), total.requests)), &worst(report));
    tiles += &match &report.fleet {
        Some(fleet) if fleet.total.dollars > 0.0 => tile(
            "a million tokens",
            &format!("{} US$", dollars(fleet.total.dollars_per_million_tokens)),
            &format!(
                "{} US$ in all<br>cache hit {}",
                dollars(fleet.total.dollars),
                percent(fleet.total.cache_hit)
            ),
        ),
        _ => tile("cache hit", &percent(total.cache_hit()), "of all prompt tokens"),
    };
    format!("<dl class=\"tiles\">{tiles}</dl>\n")
}

/// The most frequent way in which requests failed.
fn worst(report: &Report) -> String {
    let failed = report.total.outcomes.iter().filter(|(outcome, _)| **outcome != Outcome::Ok);
    let worst = failed.max_by_key(|(_, requests)| **requests);
    worst.map_or_else(
        || "every request was answered".to_owned(),
        |(outcome, requests)| {
            let all = report.total.failures();
            if all == *requests {
                return format!("{} requests, all {}", count(all), outcome.name());
            }
            format!("{} requests, {} of them {}", count(all), count(*requests), outcome.name())
        },
    )
}

/// A share as a bar.
pub(super) fn bar(share: f64) -> String {
    format!("<span class=\"bar\"><i style=\"width:{:.1}%\"></i></span>", share.clamp(0.0, 1.0) * 100.0)
}

/// What a million tokens cost; none where nothing has a price.
fn price(report: &Report) -> Option<f64> {
    let total = &report.fleet.as_ref()?.total;
    (total.dollars > 0.0).then_some(total.dollars_per_million_tokens)
}

/// A column of the table of several runs: its head, its value, how to write it, whether more is better.
type Column = (&'static str, fn(&Report) -> Option<f64>, fn(f64) -> String, bool);

const COLUMNS: [Column; 10] = [
    ("met the SLO", |report| Some(report.total.attainment), percent, true),
    ("goodput /s", |report| Some(report.total.goodput), rate, true),
    ("TTFT p50", |report| some(report.total.ttft).map(|spread| spread.p50), seconds, false),
    ("TTFT p99", |report| some(report.total.ttft).map(|spread| spread.p99), seconds, false),
    ("TPOT p99", |report| some(report.total.tpot).map(|spread| spread.p99), seconds, false),
    ("E2E p99", |report| some(report.total.e2e).map(|spread| spread.p99), seconds, false),
    ("tokens/s", |report| Some(report.total.tokens_per_second), rate, true),
    ("failures", |report| Some(share(report.total.failures(), report.total.requests)), percent, false),
    ("cache hit", |report| Some(report.fleet.as_ref()?.total.cache_hit), percent, true),
    ("$/M tokens", price, dollars, false),
];

fn some(spread: Spread) -> Option<Spread> {
    (!spread.is_empty()).then_some(spread)
}

fn side_by_side(runs: &[Run<'_>]) -> String {
    let columns: Vec<&Column> =
        COLUMNS.iter().filter(|(_, of, ..)| runs.iter().any(|run| of(run.report).is_some())).collect();
    let head: String = columns.iter().map(|(name, ..)| format!("<th>{name}</th>")).collect();
    let row = |run: &Run<'_>| {
        let cells: String = columns.iter().map(|column| cell(column, run, runs)).collect();
        let key = key(run.style);
        format!("<tr><th scope=\"row\">{key}{}</th>{cells}</tr>", escape(run.label))
    };
    let rows: String = runs.iter().map(row).collect();
    format!(
        "<div class=\"wide\"><table class=\"versus\"><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table></div>\
         <p class=\"hint\">The best of each column is <b>bold</b>. Whether a difference is more than chance, \
         <code>compare</code> and several seeds tell.</p>\n"
    )
}

/// One cell, bold where no other run is better and some run is worse, as far as the reader can see.
fn cell((_, of, show, more): &Column, run: &Run<'_>, runs: &[Run<'_>]) -> String {
    let Some(value) = of(run.report) else { return "<td>–</td>".to_owned() };
    let others = || runs.iter().filter_map(|run| of(run.report));
    let behind = |other: f64| if *more { other < value } else { other > value };
    let best = others().all(|other| behind(other) || show(other) == show(value))
        && others().any(|other| show(other) != show(value));
    let text = show(value);
    if best { format!("<td><b>{text}</b></td>") } else { format!("<td>{text}</td>") }
}

/// A short piece of the line that stands for a run in the plots.
pub(super) fn key(style: usize) -> String {
    super::super::plot::key(style)
}
