//! The tables of a page: groups of requests, the fleet, outcomes.

use std::collections::BTreeSet;

use super::super::figures::share;
use super::super::units::{clip, count, dollars, percent, rate, round_seconds, seconds};
use super::super::{BackendFigures, Figures, Group, Outcome, PlaceFigures};
use super::{Run, escape, headline, section};

/// More rows than this are folded away.
const OPEN_ROWS: usize = 16;

/// The figures by model, tenant, region and backend.
pub(super) fn groups(run: &Run<'_>) -> String {
    let all = run.report.groups();
    let slo = run.report.slo.ttft_seconds;
    let times = || {
        all.iter()
            .flat_map(|(_, groups)| *groups)
            .map(|group| group.figures.ttft)
            .filter(|spread| !spread.is_empty())
    };
    let from = times().map(|spread| spread.p50).fold(slo, f64::min).max(1e-6);
    let to = times().map(|spread| spread.p99).fold(slo, f64::max);
    let tables: String = all.iter().map(|(title, groups)| by(title, groups, from, to, slo)).collect();
    let hint = format!(
        "TTFT is drawn from the median ● to the 99th percentile ▏, by factors from {} to {}; the dashed line is the SLO of {}.",
        seconds(from),
        seconds(to),
        round_seconds(slo)
    );
    section("Who got what", &hint, &tables)
}

fn by(title: &str, groups: &[Group], from: f64, to: f64, slo: f64) -> String {
    let row = |group: &Group| {
        let Figures { requests, tokens_per_second, goodput, attainment, tpot, e2e, .. } = &group.figures;
        let failures = count(group.figures.failures());
        format!(
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{failures}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td class=\"range\">{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&clip(&group.name, 32)),
            count(*requests),
            measured(*attainment),
            rate(*goodput),
            rate(*tokens_per_second),
            range(&group.figures, from, to, slo),
            seconds(group.figures.ttft.p99),
            seconds(tpot.p99),
            seconds(e2e.p99),
        )
    };
    let head = format!(
        "<tr><th>{title}</th><th>requests</th><th>failures</th><th>met the SLO</th><th>goodput /s</th>\
        <th>tokens/s</th><th class=\"range\">TTFT</th><th>p99</th><th>TPOT p99</th><th>E2E p99</th></tr>"
    );
    folded(&format!("by {title}"), groups.len(), &head, &groups.iter().map(row).collect::<String>())
}

/// From the median to the 99th percentile of the time to first token, on an axis from `from` to `to`.
fn range(figures: &Figures, from: f64, to: f64, slo: f64) -> String {
    if figures.ttft.is_empty() {
        return String::new();
    }
    let x = |time: f64| 4.0 + 152.0 * ((time / from).ln() / (to / from).ln().max(1e-9)).clamp(0.0, 1.0);
    let (p50, p99, slo) = (x(figures.ttft.p50), x(figures.ttft.p99), x(slo));
    let tip = format!("TTFT p50 {}, p99 {}", seconds(figures.ttft.p50), seconds(figures.ttft.p99));
    format!(
        "<svg viewBox='0 0 160 16' class='range'><title>{tip}</title><path class='slo' d='M{slo:.1} 0V16'/>\
         <path class='span' d='M{p50:.1} 8H{p99:.1}M{p99:.1} 4V12'/><circle class='dot' cx='{p50:.1}' cy='8' r='3.5'/></svg>"
    )
}

/// A table, behind a line to click on where it is long.
fn folded(title: &str, rows: usize, head: &str, body: &str) -> String {
    let table = format!(
        "<div class=\"wide\"><table class=\"even\"><thead>{head}</thead><tbody>{body}</tbody></table></div>"
    );
    if rows > OPEN_ROWS {
        format!("<details><summary>{rows} rows {title}</summary>{table}</details>")
    } else {
        table
    }
}

/// What the fleet did, by place and by backend.
pub(super) fn fleet(run: &Run<'_>) -> String {
    let Some(fleet) = &run.report.fleet else { return String::new() };
    let total = PlaceFigures { name: "all".to_owned(), ..fleet.total.clone() };
    let places = if fleet.places.len() > 1 { &fleet.places[..] } else { &[] };
    let sums: String = places.iter().chain([&total]).map(place).collect();
    let sums = folded("", 0, &fleet_head("place", "<th>backends</th>"), &sums);
    let backends: String = fleet.backends.iter().map(backend).collect();
    let all = folded(
        "by backend",
        fleet.backends.len(),
        &fleet_head("backend", "<th class=\"where\">where</th>"),
        &backends,
    );
    section("Fleet", "", &(sums + &all))
}

fn fleet_head(what: &str, second: &str) -> String {
    format!(
        "<tr><th>{what}</th>{second}<th>requests</th><th>busy</th><th>peak KV</th><th>cache hit</th>\
        <th>preempted</th><th>tokens written</th><th>US$</th><th>US$/M tokens</th></tr>"
    )
}

fn place(place: &PlaceFigures) -> String {
    row(
        &[
            count(place.backends),
            count(place.requests),
            measured(place.utilisation),
            measured(place.peak_kv),
            percent(place.cache_hit),
            count(place.preemptions),
            count(place.output_tokens),
            dollars(place.dollars),
            dollars(place.dollars_per_million_tokens),
        ],
        &escape(&place.name),
    )
}

fn backend(backend: &BackendFigures) -> String {
    let parts = [&backend.cloud, &backend.region, &backend.zone, &backend.accelerator];
    let location: Vec<&str> = parts.into_iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    let paid = backend.committed_dollars + backend.on_demand_dollars;
    let prompt = backend.prefilled_tokens + backend.cached_tokens;
    let price = if backend.output_tokens == 0 { 0.0 } else { paid * 1e6 / backend.output_tokens as f64 };
    row(
        &[
            format!("<span class=\"where\">{}</span>", escape(&location.join(" · "))),
            count(backend.requests),
            measured(backend.busy),
            measured(backend.peak_kv),
            percent(share(backend.cached_tokens, prompt)),
            count(backend.preemptions),
            count(backend.output_tokens),
            dollars(paid),
            dollars(price),
        ],
        &escape(&clip(&backend.name, 32)),
    )
}

/// A share as a number over a bar.
fn measured(share: f64) -> String {
    format!("{}{}", percent(share), headline::bar(share))
}

fn row(cells: &[String], name: &str) -> String {
    let cells: String = cells.iter().map(|cell| format!("<td>{cell}</td>")).collect();
    format!("<tr><th scope=\"row\">{name}</th>{cells}</tr>")
}

/// How the requests of all runs ended.
pub(super) fn outcomes(runs: &[Run<'_>]) -> String {
    let seen: BTreeSet<Outcome> =
        runs.iter().flat_map(|run| run.report.total.outcomes.keys().copied()).collect();
    let head: String = runs
        .iter()
        .map(|run| {
            if runs.len() > 1 {
                format!("<th>{}</th>", escape(run.label))
            } else {
                "<th>requests</th>".to_owned()
            }
        })
        .collect();
    let cell = |run: &Run<'_>, outcome| {
        let requests = run.report.total.ended(outcome);
        let share = share(requests, run.report.total.requests);
        format!("<td>{}{} <small>{}</small></td>", headline::bar(share), count(requests), percent(share))
    };
    let rows: String = seen
        .into_iter()
        .map(|outcome| {
            let cells: String = runs.iter().map(|run| cell(run, outcome)).collect();
            format!(
                "<tr><th scope=\"row\">{} <small>{}</small></th>{cells}</tr>",
                outcome.name(),
                meaning(outcome)
            )
        })
        .collect();
    format!(
        "<div class=\"wide\"><table class=\"outcomes\"><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
}

const fn meaning(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "all of the answer came",
        Outcome::Refused => "refused for what it is",
        Outcome::Overloaded => "refused for want of room",
        Outcome::Failed => "another status, or no answer",
        Outcome::Broken => "the answer broke off",
        Outcome::Unreachable => "nobody could be reached",
        Outcome::Timeout => "it took too long",
        Outcome::Unfinished => "the run ended first",
    }
}
