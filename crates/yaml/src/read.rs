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
            if self.asked.iter().any(|asked| asked == name) {
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
            YamlData::Value(Scalar::Integer(number)) => within(number, &range),
            _ => Err(format!("{} is not a whole number", shown(node))),
        });
    }

    fn decimal(&mut self, key: Key, range: RangeInclusive<f64>, value: &mut f64) {
        self.read(key, value, |node| {
            let number = match &node.data {
                YamlData::Value(Scalar::Integer(number)) => *number as f64,
                YamlData::Value(Scalar::FloatingPoint(number)) => number.into_inner(),
                _ => return Err(format!("{} is not a number", shown(node))),
            };
            if range.contains(&number) { Ok(number) } else { Err(outside(number, &range)) }
        });
    }

    fn millis(&mut self, key: Key, range: RangeInclusive<u64>, value: &mut Duration) {
        let mut millis = value.as_millis() as u64;
        self.number(key, range, &mut millis);
        *value = Duration::from_millis(millis);
    }

    fn flag(&mut self, key: Key, value: &mut bool) {
        self.read(key, value, |node| {
            node.data.as_bool().ok_or_else(|| format!("{} is neither true nor false", shown(node)))
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

fn within(number: i64, range: &RangeInclusive<u64>) -> Result<u64, String> {
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

/// Puts environment variables in the place of `${NAME}`.
fn expand(text: &str) -> Result<String, String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("${") {
        let (name, tail) = after.split_once('}').ok_or_else(|| "${ without a }".to_owned())?;
        out.push_str(before);
        out.push_str(&std::env::var(name).map_err(|_| format!("the environment has no {name}"))?);
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
        assert_eq!(expand("${NO_SUCH_VARIABLE}").unwrap_err(), "the environment has no NO_SUCH_VARIABLE");
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!((distance("kitten", "sitting"), distance("", "ab"), distance("a", "a")), (3, 2, 0));
    }
}
