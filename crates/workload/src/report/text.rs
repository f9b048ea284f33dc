//! The report as a terminal shows it: tables of at most 100 columns.

use std::fmt::Write;

use super::{Figures, Fleet, Group, Kind, Outcome, PlaceFigures, Report, Spread};

/// Rows of a table by backend; a fleet may have a thousand.
const BACKENDS_SHOWN: usize = 40;

impl Report {
    /// The report as a terminal shows it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.title();
        text += &total(&self.total);
        text += &latencies(&self.total);
        text += &errors(&self.total);
        for (title, groups) in self.groups() {
            text += &by(title, groups);
        }
        text += &self.fleet.as_ref().map(fleet).unwrap_or_default();
        if !self.notes.is_empty() {
            text += "\nnotes\n";
            self.notes.iter().for_each(|note| text += &format!("  {note}\n"));
        }
        text
    }

    /// The groups of requests that there are, each with its title.
    pub(super) fn groups(&self) -> Vec<(&'static str, &[Group])> {
        let all = [
            ("model", &self.by_model),
            ("tenant", &self.by_tenant),
            ("region", &self.by_region),
            ("backend", &self.by_backend),
        ];
        all.into_iter()
            .filter(|(_, groups)| !groups.is_empty())
            .map(|(title, groups)| (title, &groups[..]))
            .collect()
    }

    fn title(&self) -> String {
        let kind = match self.kind {
            Kind::Load => "load",
            Kind::Simulation => "simulation",
        };
        let policy = if self.policy.is_empty() || self.policy == self.target {
            String::new()
        } else {
            format!(", policy {}", self.policy)
        };
        format!(
            "{kind}: {} on {}{policy}, seed {}\nSLO: TTFT ≤ {}, TPOT ≤ {}; rates over {}, the last end after {}\n",
            self.name,
            self.target,
            self.seed,
            seconds(self.slo.ttft_seconds),
            seconds(self.slo.tpot_seconds),
            seconds(self.rate_seconds),
            seconds(self.elapsed_seconds),
        )
    }
}

fn total(figures: &Figures) -> String {
    let mut table =
        Table::new(&["", "requests", "failed", "req/s", "tokens/s", "goodput", "attainment", "cache hit"]);
    table.row(vec![
        "total".to_owned(),
        count(figures.requests),
        count(figures.failures()),
        rate(figures.requests_per_second),
        rate(figures.tokens_per_second),
        rate(figures.goodput),
        percent(figures.attainment),
        percent(figures.cache_hit()),
    ]);
    format!("\n{table}")
}

fn latencies(figures: &Figures) -> String {
    let mut table = Table::new(&["", "count", "mean", "p50", "p90", "p99", "p99.9", "max"]);
    let spreads = [
        ("TTFT", &figures.ttft),
        ("ITL", &figures.itl),
        ("TPOT", &figures.tpot),
        ("E2E", &figures.e2e),
        ("sent late", &figures.lateness),
    ];
    for (name, spread) in spreads.into_iter().filter(|(_, spread)| !spread.is_empty()) {
        let Spread { mean, p50, p90, p99, p999, max, .. } = *spread;
        let times = [mean, p50, p90, p99, p999, max].map(seconds);
        table.row([name.to_owned(), count(spread.count)].into_iter().chain(times).collect());
    }
    format!("\n{table}")
}

fn errors(figures: &Figures) -> String {
    let failed = figures.outcomes.iter().filter(|(outcome, _)| **outcome != Outcome::Ok);
    let mut table = Table::new(&["errors", "requests", "share"]);
    for (outcome, requests) in failed {
        let share = *requests as f64 / figures.requests as f64;
        table.row(vec![outcome.name().to_owned(), count(*requests), percent(share)]);
    }
    if table.rows.len() > 1 { format!("\n{table}") } else { String::new() }
}

fn by(title: &str, groups: &[Group]) -> String {
    let mut table = Table::new(&[
        title,
        "requests",
        "failed",
        "tokens/s",
        "goodput",
        "attainment",
        "TTFT p50",
        "p99",
        "TPOT p99",
        "E2E p99",
    ]);
    for Group { name, figures } in groups.iter().take(BACKENDS_SHOWN) {
        table.row(vec![
            clip(name, 20),
            count(figures.requests),
            count(figures.failures()),
            rate(figures.tokens_per_second),
            rate(figures.goodput),
            percent(figures.attainment),
            seconds(figures.ttft.p50),
            seconds(figures.ttft.p99),
            seconds(figures.tpot.p99),
            seconds(figures.e2e.p99),
        ]);
    }
    format!("\n{table}{}", more(groups.len()))
}

fn more(rows: usize) -> String {
    rows.checked_sub(BACKENDS_SHOWN)
        .filter(|hidden| *hidden > 0)
        .map_or_else(String::new, |hidden| format!("  … and {hidden} more\n"))
}

fn fleet(fleet: &Fleet) -> String {
    let mut table = Table::new(&[
        "fleet",
        "backends",
        "requests",
        "busy",
        "cache hit",
        "preempted",
        "peak KV",
        "dollars",
        "$/M tokens",
    ]);
    let total = PlaceFigures { name: "all".to_owned(), ..fleet.total.clone() };
    let one_place = fleet.places.len() < 2;
    for place in fleet.places.iter().skip(usize::from(one_place)).chain([&total]) {
        table.row(vec![
            clip(&place.name, 24),
            count(place.backends),
            count(place.requests),
            percent(place.utilisation),
            percent(place.cache_hit),
            count(place.preemptions),
            percent(place.peak_kv),
            dollars(place.dollars),
            dollars(place.dollars_per_million_tokens),
        ]);
    }
    format!("\n{table}")
}

/// A table whose first columns are aligned to the left and whose others are to the right.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    left: usize,
}

impl Table {
    pub(super) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|cell| (*cell).to_owned()).collect()], left: 1 }
    }

    /// The same with `more` columns after the first that are aligned to the left.
    pub(super) fn left(self, more: usize) -> Self {
        Self { left: 1 + more, ..self }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows[0].len();
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                if column < self.left {
                    write!(line, "{cell:<width$}  ")?
                } else {
                    write!(line, "{cell:>width$}  ")?
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

impl Outcome {
    /// What a reader calls it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Overloaded => "overloaded",
            Self::Failed => "failed",
            Self::Broken => "broken",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Unfinished => "unfinished",
        }
    }
}

/// A time in the unit that is readable: three digits that mean something.
pub(super) fn seconds(seconds: f64) -> String {
    match seconds {
        s if s <= 0.0 => "0".to_owned(),
        s if s < 0.000_999_5 => format!("{} µs", digits(s * 1e6)),
        s if s < 0.999_5 => format!("{} ms", digits(s * 1e3)),
        s => format!("{} s", digits(s)),
    }
}

/// A number with three digits that mean something, and with all before the point.
pub(super) fn digits(number: f64) -> String {
    match number.abs() {
        n if n < 9.995 => format!("{number:.2}"),
        n if n < 99.95 => format!("{number:.1}"),
        _ => count(number.round().max(0.0) as u64),
    }
}

/// So many each second.
pub(super) fn rate(rate: f64) -> String {
    digits(rate)
}

/// A count with its thousands apart.
pub(super) fn count(count: u64) -> String {
    let plain = count.to_string();
    let mut apart = String::new();
    for (place, digit) in plain.chars().enumerate() {
        if place > 0 && (plain.len() - place).is_multiple_of(3) {
            apart.push(',');
        }
        apart.push(digit);
    }
    apart
}

/// A share in percent; what is not all is never shown as all.
pub(super) fn percent(share: f64) -> String {
    let shown = share * 100.0;
    if share < 1.0 && shown > 99.95 { ">99.9 %".to_owned() } else { format!("{shown:.1} %") }
}

/// An amount of US dollars.
pub(super) fn dollars(amount: f64) -> String {
    if amount > 0.0 && amount < 0.995 { format!("{amount:.3}") } else { format!("{amount:.2}") }
}

/// `name` in at most `width` columns.
pub(super) fn clip(name: &str, width: usize) -> String {
    if name.chars().count() <= width {
        return name.to_owned();
    }
    name.chars().take(width - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample::Sample;
    use super::*;

    #[test]
    fn the_text_fits_a_terminal_of_a_hundred_columns() {
        let text = Sample::default().report().text();
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
        for section in
            ["total", "TTFT", "overloaded", "llama-3.1-8b", "search", "eu-west-1", "gpu-3", "fleet", "notes"]
        {
            assert!(text.contains(section), "{section} is missing:\n{text}");
        }
    }

    #[test]
    fn times_and_counts_are_readable() {
        assert_eq!(seconds(0.000_012_3), "12.3 µs");
        assert_eq!(seconds(0.123_4), "123 ms");
        assert_eq!(seconds(0.999_9), "1.00 s");
        assert_eq!(seconds(75.32), "75.3 s");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(percent(0.999_99), ">99.9 %");
        assert_eq!(percent(1.0), "100.0 %");
        assert_eq!(clip("a-long-name", 6), "a-lon…");
    }
}
