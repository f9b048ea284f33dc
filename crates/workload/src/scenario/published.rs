use plimsoll_types::{Key, Keys, Section};

use crate::report::Report;

/// Figures that others have published of the same experiment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Published {
    /// Where.
    pub source: String,
    /// What was measured there.
    pub metric: String,
    /// The rows.
    pub rows: Vec<Row>,
    /// An honest word on where the two must differ.
    pub note: String,
}

/// One published figure.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// What it is called there.
    pub label: String,
    /// Our policy that does the same.
    pub policy: String,
    /// The figure, in seconds.
    pub seconds: f64,
}

/// What may have been measured.
const MEASURED: &[&str] = &["ttft_mean", "ttft_p90", "e2e_mean"];

impl Published {
    /// The published rows beside ours: the mean over seeds, and each row's ratio to the first of its column, which is
    /// what two different machines may be compared by. Nothing if nothing is published.
    #[must_use]
    pub fn text(&self, reports: &[&Report]) -> String {
        let ours =
            |row: &Row| self.mean(reports.iter().filter(|report| report.target == row.policy).copied());
        let pairs: Vec<(&Row, f64)> = self.rows.iter().filter_map(|row| Some((row, ours(row)?))).collect();
        let Some((first, our_first)) = pairs.first().copied() else { return String::new() };
        let mut text = format!(
            "\npublished: {}, {}\n  {:<30} {:>10} {:>7}   {:<16} {:>10} {:>7}   ratio to theirs\n",
            self.source, self.metric, "row", "seconds", "ratio", "policy", "seconds", "ratio"
        );
        for (row, our) in pairs {
            let (their_ratio, our_ratio) = (row.seconds / first.seconds, our / our_first);
            text += &format!(
                "  {:<30} {:>10.3} {:>7.3}   {:<16} {:>10.3} {:>7.3}   {:.2}\n",
                row.label,
                row.seconds,
                their_ratio,
                row.policy,
                our,
                our_ratio,
                our_ratio / their_ratio
            );
        }
        if !self.note.is_empty() {
            text += &format!("  {}\n", self.note);
        }
        text
    }

    fn mean<'a>(&self, reports: impl Iterator<Item = &'a Report>) -> Option<f64> {
        let figure = |report: &Report| match self.metric.as_str() {
            "e2e_mean" => report.total.e2e.mean,
            "ttft_p90" => report.total.ttft.p90,
            _ => report.total.ttft.mean,
        };
        let means: Vec<f64> = reports.map(figure).collect();
        (!means.is_empty()).then(|| means.iter().sum::<f64>() / means.len() as f64)
    }
}

impl Section for Published {
    fn keys(&mut self, keys: &mut dyn Keys) {
        keys.text(Key::new("source", "Where."), &mut self.source);
        let key = Key::new("metric", "What was measured: `ttft_mean`, `ttft_p90` or `e2e_mean`.");
        keys.text(key, &mut self.metric);
        keys.list(Key::new("rows", "The figures, each beside one of our policies."), &mut self.rows);
        keys.text(Key::new("note", "A word on where the two must differ."), &mut self.note);
        if !self.rows.is_empty() && !MEASURED.contains(&self.metric.as_str()) {
            keys.wrong("metric", format!("is not one of {}", MEASURED.join(", ")));
        }
    }
}

impl Section for Row {
    fn keys(&mut self, keys: &mut dyn Keys) {
        keys.text(Key::new("label", "What it is called there."), &mut self.label);
        keys.text(Key::new("policy", "Our policy that does the same."), &mut self.policy);
        keys.decimal(Key::new("seconds", "The figure."), 0.0..=1e9, &mut self.seconds);
    }
}
