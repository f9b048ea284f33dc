//! Reads as much of PromQL as it takes to say which metrics and labels an expression uses.

use plimsoll_telemetry::catalog::{self, Metric, Type};

/// Labels that Prometheus adds itself.
const ADDED: &[&str] = &["job", "instance"];

/// All that an expression asks for and nobody writes.
pub(crate) fn problems(expression: &str) -> Vec<String> {
    let tokens = tokens(expression);
    let mut wrong = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if is_ours(token)
            && let Err(why) = selector(&tokens, at)
        {
            wrong.push(format!("{why} in {expression}"));
        }
        if matches!(*token, "by" | "without" | "on" | "ignoring" | "group_left" | "group_right")
            && tokens.get(at + 1) == Some(&"(")
        {
            let close = closing(&tokens, at + 1);
            let labels = &tokens[at + 2..close];
            let about = if *token == "by" { aggregated(&tokens, at, close) } else { &tokens[..] };
            wrong.extend(labels_on(labels, about).into_iter().map(|why| format!("{why} in {expression}")));
        }
    }
    wrong
}

/// Words, strings and single signs.
fn tokens(expression: &str) -> Vec<&str> {
    let (mut out, mut rest) = (Vec::new(), expression.trim_start());
    while let Some(first) = rest.chars().next() {
        let end = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if first == '"' {
            rest[1..].find('"').expect("strings end") + 2
        } else {
            first.len_utf8()
        };
        out.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '$' | '.')
}

fn is_ours(token: &str) -> bool {
    token.starts_with("plimsoll_") || token.starts_with("process_")
}

/// The metric that a series belongs to, and whether it is a bucket of it.
fn metric(series: &str) -> Result<(&'static Metric, bool), String> {
    let find = |name: &str| catalog::ALL.iter().find(|metric| metric.name == name);
    if let Some(metric) = find(series) {
        return match metric.kind {
            Type::Histogram => Err(format!("{series} is a histogram: use _bucket, _sum or _count")),
            Type::Counter | Type::Gauge => Ok((metric, false)),
        };
    }
    ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|ending| {
            let metric = find(series.strip_suffix(ending)?)?;
            (metric.kind == Type::Histogram).then_some((metric, *ending == "_bucket"))
        })
        .ok_or_else(|| format!("{series} is not in the catalogue"))
}

fn has_label((metric, bucket): (&Metric, bool), label: &str) -> bool {
    metric.labels.contains(&label) || ADDED.contains(&label) || (bucket && label == "le")
}

/// Checks a series and the labels between its braces.
fn selector(tokens: &[&str], at: usize) -> Result<(), String> {
    let found = metric(tokens[at])?;
    if tokens.get(at + 1) != Some(&"{") {
        return Ok(());
    }
    let inside = tokens[at + 2..].split(|token| *token == "}").next().unwrap_or_default();
    for matcher in inside.split(|token| *token == ",") {
        match matcher.first() {
            Some(label) if !has_label(found, label) => {
                return Err(format!("{} has no label {label}", tokens[at]));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Labels that are missing on some series among `about`.
fn labels_on(labels: &[&str], about: &[&str]) -> Vec<String> {
    let series = || about.iter().filter(|token| is_ours(token));
    let missing = |label: &&str| {
        series().find(|name| metric(name).is_ok_and(|found| !has_label(found, label))).copied()
    };
    let names = labels.iter().filter(|token| **token != ",");
    names.filter_map(|label| missing(label).map(|name| format!("{name} has no label {label}"))).collect()
}

/// What `by (…)` at `at`, which ends at `close`, is about: `by (…) (this)` or `sum(this) by (…)`.
fn aggregated<'t, 's>(tokens: &'t [&'s str], at: usize, close: usize) -> &'t [&'s str] {
    if tokens.get(close + 1) == Some(&"(") {
        return &tokens[close + 1..closing(tokens, close + 1)];
    }
    let mut depth = 0;
    let open = (0..at).rev().find(|index| {
        depth += match tokens[*index] {
            ")" => 1,
            "(" => -1,
            _ => 0,
        };
        depth == 0
    });
    &tokens[open.expect("brackets match")..at]
}

/// Where the bracket that opens at `open` is closed.
fn closing(tokens: &[&str], open: usize) -> usize {
    let mut depth = 0;
    let close = (open..tokens.len()).find(|index| {
        depth += match tokens[*index] {
            "(" => 1,
            ")" => -1,
            _ => 0,
        };
        depth == 0
    });
    close.expect("brackets match")
}

#[test]
fn what_nobody_writes_is_found() {
    let good = [
        "sum by (le) (rate(plimsoll_ttft_seconds_bucket{model=~\"$model\", le=\"2.5\"}[5m]))",
        "sum(rate(plimsoll_picks_total[$__rate_interval])) by (cloud, region)",
        "up{job=\"plimsoll\"} == 0",
    ];
    for expression in good {
        assert_eq!(problems(expression), [""; 0], "{expression}");
    }
    let bad = [
        "plimsoll_no_such_metric",
        "rate(plimsoll_ttft_seconds[5m])",
        "plimsoll_picks_total_bucket",
        "plimsoll_picks_total{worker=\"a\"}",
        "sum by (le) (rate(plimsoll_ttft_seconds_count[5m]))",
        "sum(rate(plimsoll_ttft_seconds_count[5m])) by (route)",
        "sum by (route) (plimsoll_requests_total) / sum by (route) (plimsoll_requests_in_flight)",
    ];
    for expression in bad {
        assert_eq!(problems(expression).len(), 1, "{expression}");
    }
}
