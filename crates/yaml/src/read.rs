//! Reads a file into sections, and says of everything that is wrong where it stands.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use plimsoll_types::{Key, Keys, List, Section};
use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

/// Something that is wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    file: String,
    line: usize,
    /// Dotted; empty for the file as a whole.
    key: String,
    why: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.why)
    }
}

/// Reads `text`, which came from `file`, into `section`, which holds the defaults.
///
/// # Errors
///
/// All that is wrong, in the order of the file; then `section` is not to be used.
pub fn read(file: &str, text: &str, section: &mut dyn Section) -> Result<(), Vec<Problem>> {
    let problem = |line, why: &str| {
        vec![Problem { file: file.to_owned(), line, key: String::new(), why: why.to_owned() }]
    };
    let documents =
        MarkedYaml::load_from_str(text).map_err(|error| problem(error.marker().line(), error.info()))?;
    let empty = MarkedYaml::value_from_str("~");
    let document = documents.first().unwrap_or(&empty);
    let mut found = Vec::new();
    let mut place = Place { file, path: String::new(), line: 1, problems: &mut found };
    match &document.data {
        YamlData::Mapping(_) | YamlData::Value(Scalar::Null) => place.section(Some(document), section),
        _ => return Err(problem(document.span.start.line(), "the file must hold keys and values")),
    }
    if documents.len() > 1 {
        return Err(problem(documents[1].span.start.line(), "the file must hold one document"));
    }
    found.sort_by_key(|problem: &Problem| problem.line);
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// Where in the file a value stands, and where problems go.
struct Place<'p> {
    file: &'p str,
    path: String,
    line: usize,
    problems: &'p mut Vec<Problem>,
}

impl Place<'_> {
    fn section(&mut self, node: Option<&MarkedYaml<'_>>, section: &mut dyn Section) {
        let mut reader = Reader { place: self, node, asked: Vec::new() };
        section.keys(&mut reader);
        reader.refuse_unknown();
    }

    fn wrong(&mut self, line: usize, key: &str, why: String) {
        let dot = if self.path.is_empty() || key.is_empty() { "" } else { "." };
        let key = format!("{}{dot}{key}", self.path);
        self.problems.push(Problem { file: self.file.to_owned(), line, key, why });
    }
}

/// Reads the keys of one section out of one mapping.
struct Reader<'r, 'p, 'y> {
    place: &'r mut Place<'p>,
    node: Option<&'r MarkedYaml<'y>>,
    asked: Vec<String>,
}

impl<'r, 'y> Reader<'r, '_, 'y> {
    fn find(&mut self, name: &str) -> Option<&'r MarkedYaml<'y>> {
        self.asked.push(name.to_owned());
        let mapping = self.node?.data.as_mapping()?;
        mapping.iter().find(|(key, _)| key.data.as_str() == Some(name)).map(|(_, value)| value)
    }

    fn read<T>(&mut self, key: Key, value: &mut T, parse: impl FnOnce(&MarkedYaml<'y>) -> Result<T, String>) {
        let Some(node) = self.find(key.name) else { return };
        match parse(node) {
            Ok(parsed) => *value = parsed,
            Err(why) => self.place.wrong(node.span.start.line(), key.name, why),
        }
    }

    fn refuse_unknown(&mut self) {
        let Some(mapping) = self.node.and_then(|node| node.data.as_mapping()) else {
            if let Some(node) = self.node
                && !matches!(node.data, YamlData::Value(Scalar::Null))
            {
                self.place.wrong(node.span.start.line(), "", "must hold keys and values".into());
            }
            return;
        };
        for (key, _) in mapping {
            let name = key.data.as_str().unwrap_or("?");
            // Such keys hold anchors, and notes of other programs.
            if self.asked.iter().any(|asked| asked == name) || name.starts_with("x-") {
                continue;
            }
            let nearest = self.asked.iter().min_by_key(|asked| distance(asked, name));
            let hint = nearest.filter(|nearest| distance(nearest, name) <= 4);
            let hint = hint.map_or_else(String::new, |nearest| format!("; did you mean {nearest}?"));
            self.place.wrong(key.span.start.line(), name, format!("is not a key{hint}"));
        }
    }
}

impl Keys for Reader<'_, '_, '_> {
    fn number(&mut self, key: Key, range: RangeInclusive<u64>, value: &mut u64) {
        self.read(key, value, |node| match node.data {
            YamlData::Value(Scalar::Integer(number)) => within(i128::from(number), &range),
            YamlData::Value(Scalar::String(ref text)) => {
                let units = if key.name.contains("bytes") { BYTES } else { &[] };
                let number = measured(&expand(text)?, units).ok_or_else(|| {
                    let form = if units.is_empty() { "" } else { ", alone or with KiB, MiB or GiB" };
                    format!("{} is not a whole number{form}", shown(node))
                })?;
                within(number, &range)
            }
            _ => Err(format!("{} is not a whole number", shown(node))),
        });
    }

    fn decimal(&mut self, key: Key, range: RangeInclusive<f64>, value: &mut f64) {
        self.read(key, value, |node| {
            let number = match &node.data {
                YamlData::Value(Scalar::Integer(number)) => *number as f64,
                YamlData::Value(Scalar::FloatingPoint(number)) => number.into_inner(),
                YamlData::Value(Scalar::String(text)) => {
                    expand(text)?.parse().map_err(|_| format!("{} is not a number", shown(node)))?
                }
                _ => return Err(format!("{} is not a number", shown(node))),
            };
            if range.contains(&number) { Ok(number) } else { Err(outside(number, &range)) }
        });
    }

    fn millis(&mut self, key: Key, range: RangeInclusive<u64>, value: &mut Duration) {
        let mut millis = value.as_millis() as u64;
        self.read(key, &mut millis, |node| match node.data {
            YamlData::Value(Scalar::Integer(number)) => within(i128::from(number), &range),
            YamlData::Value(Scalar::String(ref text)) => {
                let number = measured(&expand(text)?, TIMES).ok_or_else(|| {
                    format!(
                        "{} is not a whole number of milliseconds, nor a time such as 30s or 5m",
                        shown(node)
                    )
                })?;
                within(number, &range)
            }
            _ => Err(format!(
                "{} is not a whole number of milliseconds, nor a time such as 30s or 5m",
                shown(node)
            )),
        });
        *value = Duration::from_millis(millis);
    }

    fn flag(&mut self, key: Key, value: &mut bool) {
        self.read(key, value, |node| {
            let word = match &node.data {
                YamlData::Value(Scalar::String(text)) => Some(expand(text)?),
                _ => None,
            };
            let flag = node.data.as_bool().or_else(|| word?.parse().ok());
            flag.ok_or_else(|| format!("{} is neither true nor false", shown(node)))
        });
    }

    fn text(&mut self, key: Key, value: &mut String) {
        self.read(key, value, text);
    }

    fn secret(&mut self, key: Key, value: &mut String) {
        // A secret's value is never repeated, not even to say that it is of the wrong form.
        self.read(key, value, |node| text(node).map_err(|why| why.replace(&shown(node), "the value")));
        let file_key = format!("{}_file", key.name);
        let Some(node) = self.find(&file_key) else { return };
        if self.find(key.name).is_some() {
            let why = format!("give {} or {file_key}, not both", key.name);
            return self.place.wrong(node.span.start.line(), &file_key, why);
        }
        let read = text(node)
            .and_then(|file| std::fs::read_to_string(&file).map_err(|error| format!("{file}: {error}")));
        match read {
            Ok(secret) => *value = secret.trim().to_owned(),
            Err(why) => self.place.wrong(node.span.start.line(), &file_key, why),
        }
    }

    fn choice(&mut self, key: Key, among: &'static [&'static str], value: &mut &'static str) {
        self.read(key, value, |node| {
            let name = node.data.as_str();
            let known = among.iter().find(|choice| Some(**choice) == name).copied();
            known.ok_or_else(|| format!("{} is not one of {}", shown(node), among.join(", ")))
        });
    }

    fn texts(&mut self, key: Key, value: &mut Vec<String>) {
        self.read(key, value, |node| {
            let items = node.data.as_vec().ok_or_else(|| format!("{} is not a list", shown(node)))?;
            items.iter().map(text).collect()
        });
    }

    fn map(&mut self, key: Key, value: &mut Vec<(String, String)>) {
        self.read(key, value, |node| {
            let mapping = node.data.as_mapping().ok_or_else(|| "must hold names and values".to_owned())?;
            mapping.iter().map(|(name, value)| Ok((text(name)?, text(value)?))).collect()
        });
    }

    fn section(&mut self, key: Key, value: &mut dyn Section) {
        let Some(node) = self.find(key.name) else { return };
        nested(self.place, node, key.name.to_owned(), value);
    }

    fn list(&mut self, key: Key, value: &mut dyn List) {
        let Some(node) = self.find(key.name) else { return };
        let Some(items) = node.data.as_vec() else {
            return self.place.wrong(node.span.start.line(), key.name, "must be a list".into());
        };
        for (index, item) in items.iter().enumerate() {
            nested(self.place, item, format!("{}[{index}]", key.name), value.add());
        }
    }

    fn wrong(&mut self, name: &'static str, why: String) {
        let asked = self.asked.len();
        let line = self.find(name).map(|node| node.span.start.line());
        let line = line.or_else(|| Some(self.node?.span.start.line())).unwrap_or(self.place.line);
        self.asked.truncate(asked);
        self.place.wrong(line, name, why);
    }
}

fn nested(place: &mut Place<'_>, node: &MarkedYaml<'_>, name: String, section: &mut dyn Section) {
    let dot = if place.path.is_empty() { "" } else { "." };
    let path = format!("{}{dot}{name}", place.path);
    let line = node.span.start.line();
    Place { file: place.file, path, line, problems: place.problems }.section(Some(node), section);
}

/// Units of time, in milliseconds.
const TIMES: &[(&str, i128)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
/// Units of memory, in bytes.
const BYTES: &[(&str, i128)] = &[("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// A whole number, alone or with one of these units.
fn measured(text: &str, units: &[(&str, i128)]) -> Option<i128> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim_start() {
        "" => 1,
        unit => units.iter().find(|(name, _)| *name == unit)?.1,
    };
    number.parse::<i128>().ok()?.checked_mul(factor)
}

fn within(number: i128, range: &RangeInclusive<u64>) -> Result<u64, String> {
    u64::try_from(number).ok().filter(|value| range.contains(value)).ok_or_else(|| outside(number, range))
}

fn outside<N: fmt::Display, R: fmt::Display>(number: N, range: &RangeInclusive<R>) -> String {
    format!("{number} is not between {} and {}", range.start(), range.end())
}

/// The value as it may be repeated to whoever wrote it.
fn shown(node: &MarkedYaml<'_>) -> String {
    match &node.data {
        YamlData::Value(Scalar::String(text)) => format!("{text:?}"),
        YamlData::Value(Scalar::Integer(number)) => number.to_string(),
        YamlData::Value(Scalar::FloatingPoint(number)) => number.to_string(),
        YamlData::Value(Scalar::Boolean(flag)) => flag.to_string(),
        YamlData::Value(Scalar::Null) => "nothing".into(),
        YamlData::Sequence(_) => "a list".into(),
        _ => "this".into(),
    }
}

fn text(node: &MarkedYaml<'_>) -> Result<String, String> {
    match &node.data {
        YamlData::Value(Scalar::String(text)) => expand(text),
        YamlData::Value(Scalar::Integer(_) | Scalar::FloatingPoint(_)) => Ok(shown(node)),
        _ => Err(format!("{} is not text", shown(node))),
    }
}

/// Puts environment variables in the place of `${NAME}`, without the line end that many of them have; in that of
/// `${NAME:-other}` the other text where the variable is not there or empty. `$${` stands for `${`.
fn expand(text: &str) -> Result<String, String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = after;
            continue;
        }
        let (name, tail) = after.split_once('}').ok_or_else(|| "${ without a }".to_owned())?;
        let (name, other) = name.split_once(":-").map_or((name, None), |(name, other)| (name, Some(other)));
        let value = std::env::var(name).ok();
        let value = match (value, other) {
            (None, None) => {
                return Err(format!("the environment has no {name}; ${{{name}:-other}} would do without"));
            }
            (Some(value), None) => value,
            (value, Some(other)) => {
                value.filter(|value| !value.is_empty()).unwrap_or_else(|| other.to_owned())
            }
        };
        out.push_str(before);
        out.push_str(value.trim_end_matches(['\n', '\r']));
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

/// Edits that make one word of another (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_variables_are_put_in_and_missing_ones_named() {
        assert_eq!(expand("a${PATH}b").unwrap(), format!("a{}b", std::env::var("PATH").unwrap()));
        let missing = expand("${NO_SUCH_VARIABLE}").unwrap_err();
        assert!(missing.starts_with("the environment has no NO_SUCH_VARIABLE"), "{missing}");
        assert_eq!(expand("a${NO_SUCH_VARIABLE:-b}c").unwrap(), "abc");
        assert_eq!(expand("$${PATH} ${NO_SUCH_VARIABLE:-}").unwrap(), "${PATH} ");
    }

    #[derive(Default)]
    struct Limits {
        wait: Duration,
        max_bytes: u64,
        count: u64,
        share: f64,
        on: bool,
    }

    impl Section for Limits {
        fn keys(&mut self, keys: &mut dyn Keys) {
            keys.millis(Key::new("wait_ms", ""), 0..=600_000, &mut self.wait);
            keys.number(Key::new("max_bytes", ""), 0..=1 << 40, &mut self.max_bytes);
            keys.number(Key::new("count", ""), 0..=100, &mut self.count);
            keys.decimal(Key::new("share", ""), 0.0..=1.0, &mut self.share);
            keys.flag(Key::new("on", ""), &mut self.on);
        }
    }

    #[test]
    fn times_and_sizes_may_have_units_and_all_may_come_from_the_environment() {
        let mut limits = Limits::default();
        let text = "x-note: {anything: 1}\nwait_ms: 30s\nmax_bytes: 8 MiB\ncount: ${NO_SUCH:-7}\nshare: ${NO_SUCH:-0.5}\non: \"${NO_SUCH:-true}\"\n";
        read("f", text, &mut limits).unwrap();
        assert_eq!((limits.wait, limits.max_bytes), (Duration::from_secs(30), 8 << 20));
        assert_eq!((limits.count, limits.share, limits.on), (7, 0.5, true));
        let problems =
            read("f", "wait_ms: 30 parsecs\nmax_bytes: 8MB\ncount: 8MiB\n", &mut limits).unwrap_err();
        let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(
            said[0].contains("30s") && said[1].contains("MiB") && said[2].ends_with("is not a whole number"),
            "{said:?}"
        );
        assert!(
            read("f", "wait_ms: 11m\n", &mut limits).unwrap_err()[0].to_string().contains("is not between")
        );
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!((distance("kitten", "sitting"), distance("", "ab"), distance("a", "a")), (3, 2, 0));
    }
}
