//! The report as one page: no network, no fonts, readable without a script.

mod curves;
mod headline;
mod load;
mod tables;
mod timeline;

use super::units::round_seconds;
use super::{Kind, Report, Slice};

const STYLE: &str = include_str!("html/page.css");
const HOVER: &str = include_str!("html/hover.js");

/// One page of `reports`; several are drawn over each other, to be compared.
#[must_use]
pub fn html(reports: &[&Report]) -> String {
    let labels = labels(reports);
    let runs: Vec<Run<'_>> = reports
        .iter()
        .zip(&labels)
        .enumerate()
        .map(|(style, (report, label))| Run { report, label, style })
        .collect();
    let title = escape(&title(&runs));
    let body = if runs.is_empty() { "<p>No run.</p>".to_owned() } else { page(&runs) };
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <title>{title}</title>\n<style>\n{STYLE}</style></head>\n\
         <body><main>\n{body}</main>\n<script>\n{HOVER}</script></body></html>\n"
    )
}

/// One of the runs on a page.
#[derive(Clone, Copy)]
struct Run<'a> {
    report: &'a Report,
    /// What it is called there.
    label: &'a str,
    /// Which colour, dashes and markers it has there.
    style: usize,
}

impl<'a> Run<'a> {
    /// The slices that are drawn: those in which requests arrive, and those after them if they are of the same length
    /// and more than one, for a single one is hardly begun when the run is over.
    fn slices(&self) -> &'a [Slice] {
        let slices = &self.report.slices[..];
        let Some(first) = slices.first() else { return slices };
        let arrivals =
            slices.iter().take_while(|slice| slice.begin_seconds < self.report.rate_seconds).count();
        let equal = slices.iter().take_while(|slice| slice.seconds < first.seconds * 1.5).count();
        // The last one of the run is never full.
        if equal.saturating_sub(1) > arrivals {
            &slices[..equal - 1]
        } else {
            &slices[..arrivals.min(equal).max(1)]
        }
    }

    /// When the slices end that are drawn.
    fn end(&self) -> f64 {
        self.slices().last().map_or(0.0, |slice| slice.begin_seconds + slice.seconds)
    }
}

/// What each report is called on the page: by its policy, and by its seed where that is not enough.
fn labels(reports: &[&Report]) -> Vec<String> {
    let same = |report: &Report| reports.iter().filter(|other| other.label() == report.label()).count();
    let label = |report: &&Report| {
        if same(report) > 1 {
            format!("{}, seed {}", report.label(), report.seed)
        } else {
            report.label().to_owned()
        }
    };
    reports.iter().map(label).collect()
}

fn title(runs: &[Run<'_>]) -> String {
    let name = runs.first().map_or("nothing", |run| run.report.name.as_str());
    let labels: Vec<&str> = runs.iter().map(|run| run.label).collect();
    format!("{name}: {}", labels.join(", "))
}

fn page(runs: &[Run<'_>]) -> String {
    let mut page = header(runs);
    page += &notes(runs);
    page += &headline::of(runs);
    page += &section("Over time", "", &timeline::of(runs));
    page += &section("Latency", curves::HOW_TO_READ, &curves::of(runs));
    let several = runs.len() > 1;
    page += &load::of(runs);
    page += &runs.iter().map(|run| details(run, several)).collect::<String>();
    page + &section("How requests ended", "", &tables::outcomes(runs))
}

/// The tables of one run, behind a line to click on where there are several runs.
fn details(run: &Run<'_>, several: bool) -> String {
    let tables = tables::groups(run) + &tables::fleet(run);
    if several && !tables.is_empty() {
        format!(
            "<details class=\"run\"><summary>More about <b>{}</b></summary>{tables}</details>\n",
            escape(run.label)
        )
    } else {
        tables
    }
}

fn header(runs: &[Run<'_>]) -> String {
    let first = runs[0].report;
    let kind = match first.kind {
        Kind::Load => "Load test",
        Kind::Simulation => "Simulation",
    };
    let what = match runs {
        [run] if run.label == first.target => format!("<b>{}</b>", escape(run.label)),
        [run] => format!("<b>{}</b> on {}", escape(run.label), escape(&first.target)),
        _ => runs.iter().map(|run| format!("<b>{}</b>", escape(run.label))).collect::<Vec<_>>().join(" · "),
    };
    let slo = one_slo(runs).map_or_else(
        || "each run has an SLO of its own".to_owned(),
        |slo| {
            format!(
                "SLO: first token within {}, then {} a token",
                round_seconds(slo.ttft_seconds),
                round_seconds(slo.tpot_seconds)
            )
        },
    );
    let (name, took) = (escape(&first.name), round_seconds((first.rate_seconds * 10.0).round() / 10.0));
    format!(
        "<header><p class=\"kind\">{kind}</p><h1>{name}</h1>\
         <p class=\"about\">{what} <span>arrivals over {took}</span> <span>{slo}</span> <span>{}</span></p></header>\n",
        seeds(runs)
    )
}

fn seeds(runs: &[Run<'_>]) -> String {
    let mut seeds: Vec<u64> = runs.iter().map(|run| run.report.seed).collect();
    seeds.dedup();
    let all: Vec<String> = seeds.iter().map(u64::to_string).collect();
    format!("{} {}", if all.len() > 1 { "seeds" } else { "seed" }, all.join(", "))
}

/// The SLO that all runs were held to, if it is one.
fn one_slo(runs: &[Run<'_>]) -> Option<super::Slo> {
    let slo = runs[0].report.slo;
    runs.iter().all(|run| run.report.slo == slo).then_some(slo)
}

/// What a reader must know; what is said of all runs is said once.
fn notes(runs: &[Run<'_>]) -> String {
    let mut said: Vec<(&str, Vec<&str>)> = Vec::new();
    for (run, note) in runs.iter().flat_map(|run| run.report.notes.iter().map(move |note| (run, note))) {
        match said.iter_mut().find(|(known, _)| known == note) {
            Some((_, labels)) => labels.push(run.label),
            None => said.push((note, vec![run.label])),
        }
    }
    let item = |(note, labels): &(&str, Vec<&str>)| {
        let of = if labels.len() == runs.len() {
            String::new()
        } else {
            format!("<b>{}</b>: ", escape(&labels.join(", ")))
        };
        format!("<li>{of}{}</li>", escape(note))
    };
    let all: String = said.iter().map(item).collect();
    if all.is_empty() { all } else { format!("<ul class=\"notes\">{all}</ul>\n") }
}

/// A section of the page; `hint` says how to read it.
fn section(title: &str, hint: &str, body: &str) -> String {
    if body.is_empty() {
        return String::new();
    }
    let hint = if hint.is_empty() { String::new() } else { format!("<p class=\"hint\">{hint}</p>") };
    format!("<section><h2>{title}</h2>{hint}{body}</section>\n")
}

/// A plot with what it shows.
fn figure(title: &str, unit: &str, svg: &str) -> String {
    format!("<figure><figcaption><b>{title}</b> <span>{unit}</span></figcaption>{svg}</figure>")
}

/// The title of a section about one run.
fn titled(title: &str, run: &Run<'_>, several: bool) -> String {
    if several { format!("{title} <small>{}</small>", escape(run.label)) } else { title.to_owned() }
}

/// `text` with nothing in it that a browser would take for markup.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::sample::Sample;
    use super::*;

    /// Writes `page` where `PLIMSOLL_REPORT_PAGES` names a folder, to be looked at.
    fn keep(name: &str, page: &str) {
        if let Some(folder) = std::env::var_os("PLIMSOLL_REPORT_PAGES") {
            std::fs::write(std::path::Path::new(&folder).join(name), page).unwrap();
        }
    }

    #[test]
    fn a_page_refers_to_nothing_outside_itself() {
        let page = html(&[&Sample::default().report()]);
        keep("one.html", &page);
        for outside in ["http:", "https:", "src=", "@import", "url(", "<link", "//cdn"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(!page.contains("NaN") && !page.contains("inf "));
    }

    #[test]
    fn names_are_text_and_never_markup() {
        let mut about = Sample::default().about();
        let evil = "<script>alert('x')</script>\"";
        about.name = evil.to_owned();
        about.policy = evil.to_owned();
        about.target = evil.to_owned();
        for names in
            [&mut about.models, &mut about.tenants, &mut about.regions, &mut about.backends, &mut about.notes]
        {
            names.iter_mut().for_each(|name| *name = evil.to_owned());
        }
        for backend in &mut about.fleet {
            let names = [&mut backend.name, &mut backend.cloud, &mut backend.region, &mut backend.zone];
            names.into_iter().for_each(|name| *name = evil.to_owned());
            backend.accelerator = evil.to_owned();
        }
        let report = Sample::default().recorder().finish(about);
        for page in [html(&[&report]), html(&[&report, &report])] {
            assert!(!page.contains("<script>alert") && page.contains("&lt;script&gt;alert"));
            assert_eq!(page.matches("<script>").count(), 1);
        }
    }

    #[test]
    fn several_runs_share_a_page_and_its_plots() {
        let usual = Sample { backends: 24, ..Sample::default() };
        let slow = Sample { policy: "random", slowness: 1.3, seed: 2, ..usual.clone() };
        let odd = Sample { policy: "prefix_affinity", slowness: 0.8, seed: 3, ..usual.clone() };
        let page = html(&[&usual.report(), &slow.report(), &odd.report()]);
        keep("several.html", &page);
        for policy in ["p2c", "random", "prefix_affinity"] {
            assert!(page.contains(policy));
        }
        assert!(page.contains("line s2"));
    }

    #[test]
    fn a_run_in_which_nothing_happened_has_a_page() {
        let report =
            super::super::Recorder::new(std::time::Duration::ZERO).finish(super::super::About::default());
        for page in [html(&[&report]), html(&[])] {
            assert!(page.ends_with("</html>\n") && !page.contains("NaN"));
        }
    }

    #[test]
    fn the_same_report_gives_the_same_page() {
        assert_eq!(html(&[&Sample::default().report()]), html(&[&Sample::default().report()]));
    }
}
