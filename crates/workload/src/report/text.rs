//! The report as a terminal shows it: tables of at most 100 columns.

use super::table::Table;
use super::units::{clip, count, dollars, percent, rate, round_seconds, seconds};
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
            round_seconds(self.slo.ttft_seconds),
            round_seconds(self.slo.tpot_seconds),
            round_seconds(self.rate_seconds),
            seconds(self.elapsed_seconds),
        )
    }
}

fn total(figures: &Figures) -> String {
    let mut table =
        Table::new(&["", "requests", "failures", "req/s", "tokens/s", "goodput", "attainment", "cache hit"]);
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
    if table.has_rows() { format!("\n{table}") } else { String::new() }
}

fn by(title: &str, groups: &[Group]) -> String {
    let mut table = Table::new(&[
        title,
        "requests",
        "failures",
        "tokens/s",
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

#[cfg(test)]
mod tests {
    use super::super::sample::Sample;

    #[test]
    fn the_text_fits_a_terminal_of_a_hundred_columns() {
        let sample = Sample { requests: 20_000, ..Sample::default() };
        let mut about = sample.about();
        about.tenants[0] = "a-tenant-with-a-name-that-is-far-too-long".to_owned();
        let text = sample.recorder().finish(about).text();
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
        for section in
            ["total", "TTFT", "overloaded", "llama-3.1-8b", "chat", "eu-west-1", "gpu-3", "fleet", "notes"]
        {
            assert!(text.contains(section), "{section} is missing:\n{text}");
        }
    }
}
