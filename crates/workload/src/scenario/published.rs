use plimsoll_types::{Key, Keys, Section};

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

impl Section for Published {
    fn keys(&mut self, keys: &mut dyn Keys) {
        keys.text(Key::new("source", "Where."), &mut self.source);
        let key = Key::new("metric", "What was measured: `ttft_mean` or `e2e_mean`.");
        keys.text(key, &mut self.metric);
        keys.list(Key::new("rows", "The figures, each beside one of our policies."), &mut self.rows);
        keys.text(Key::new("note", "A word on where the two must differ."), &mut self.note);
        if !self.rows.is_empty() && !["ttft_mean", "e2e_mean"].contains(&self.metric.as_str()) {
            keys.wrong("metric", "must be ttft_mean or e2e_mean".into());
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
