//! Writes down the keys of a section, from the code that reads them.

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::time::Duration;

use plimsoll_types::{Key, Keys, List, Section};

/// All keys of `section` and of the sections below it, as tables in Markdown: name, default, values, meaning. The section
/// holds the defaults.
#[must_use]
pub fn reference(section: &mut dyn Section) -> String {
    let mut out = String::new();
    write_section(&mut out, "", section);
    out
}

fn write_section(out: &mut String, path: &str, section: &mut dyn Section) {
    let mut writer = Writer { rows: String::new(), nested: String::new(), path: path.to_owned() };
    section.keys(&mut writer);
    let title = if path.is_empty() { "Top level" } else { path };
    let _ = write!(
        out,
        "\n## {title}\n\n| key | default | values | meaning |\n|---|---|---|---|\n{}",
        writer.rows
    );
    out.push_str(&writer.nested);
}

struct Writer {
    rows: String,
    nested: String,
    path: String,
}

impl Writer {
    fn row(&mut self, key: Key, default: impl std::fmt::Display, values: impl std::fmt::Display) {
        let default = default.to_string();
        let default = if default.is_empty() { "–".into() } else { format!("`{default}`") };
        let _ = writeln!(self.rows, "| `{}` | {default} | {values} | {} |", key.name, key.doc);
    }

    fn deeper(&mut self, name: &str, section: &mut dyn Section) {
        let dot = if self.path.is_empty() { "" } else { "." };
        let path = format!("{}{dot}{name}", self.path);
        write_section(&mut self.nested, &path, section);
    }
}

impl Keys for Writer {
    fn number(&mut self, key: Key, range: RangeInclusive<u64>, value: &mut u64) {
        self.row(key, value, format!("{} to {}", range.start(), range.end()));
    }
    fn decimal(&mut self, key: Key, range: RangeInclusive<f64>, value: &mut f64) {
        self.row(key, value, format!("{} to {}", range.start(), range.end()));
    }
    fn millis(&mut self, key: Key, range: RangeInclusive<u64>, value: &mut Duration) {
        self.row(key, value.as_millis(), format!("{} to {} ms", range.start(), range.end()));
    }
    fn flag(&mut self, key: Key, value: &mut bool) {
        self.row(key, value, "true, false");
    }
    fn text(&mut self, key: Key, value: &mut String) {
        self.row(key, value, "text");
    }
    fn secret(&mut self, key: Key, _: &mut String) {
        self.row(key, "", format!("text, or a file in `{}_file`", key.name));
    }
    fn choice(&mut self, key: Key, among: &'static [&'static str], value: &mut &'static str) {
        self.row(key, *value, among.join(", "));
    }
    fn texts(&mut self, key: Key, value: &mut Vec<String>) {
        self.row(key, value.join(", "), "list of texts");
    }
    fn map(&mut self, key: Key, _: &mut Vec<(String, String)>) {
        self.row(key, "", "names with texts");
    }
    fn section(&mut self, key: Key, value: &mut dyn Section) {
        self.row(key, "", "a section, below");
        self.deeper(key.name, value);
    }
    fn list(&mut self, key: Key, value: &mut dyn List) {
        self.row(key, "", "a list of sections, below");
        self.deeper(&format!("{}[]", key.name), value.add());
    }
    fn wrong(&mut self, _: &'static str, _: String) {}
}
