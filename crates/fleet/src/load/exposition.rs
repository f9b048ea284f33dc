//! Prometheus' text form, as far as gauges need it. Lines that are not in it are passed over.

/// One line with a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample<'t> {
    pub(super) name: &'t str,
    /// What stands between the braces.
    labels: &'t str,
    pub(super) value: f64,
}

/// All lines with values.
pub(super) fn samples(text: &str) -> impl Iterator<Item = Sample<'_>> {
    text.lines().filter_map(sample)
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let line = line.trim_start();
    if line.starts_with('#') {
        return None;
    }
    let end = line.find(['{', ' ', '\t'])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => {
            let end = closing_brace(inside)?;
            (&inside[..end], &inside[end + 1..])
        }
        None => ("", rest),
    };
    // A time may follow the value.
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    (!name.is_empty()).then_some(Sample { name, labels, value })
}

/// Where the labels end: a brace inside a value is not the end.
fn closing_brace(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    text.bytes().position(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'}' => return !quoted,
            _ => {}
        }
        false
    })
}

impl<'t> Sample<'t> {
    /// One without labels.
    pub(super) fn plain(name: &'t str, value: f64) -> Self {
        Self { name, labels: "", value }
    }

    /// The value of a label as it is written, with its escapes.
    pub(super) fn label(&self, name: &str) -> Option<&'t str> {
        let mut rest = self.labels;
        loop {
            let (this, after) = rest.split_once("=\"")?;
            let (mut end, mut escaped) = (None, false);
            for (at, byte) in after.bytes().enumerate() {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => {
                        end = Some(at);
                        break;
                    }
                    _ => {}
                }
            }
            let end = end?;
            if this.trim_start_matches([',', ' ']) == name {
                return Some(&after[..end]);
            }
            rest = &after[end + 1..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_may_hold_braces_quotes_and_commas() {
        let sample = sample(r#"a:b{x="{1}",path="a\"b,}",rank="0"} 3e2 1700000000"#).unwrap();
        assert_eq!((sample.name, sample.value), ("a:b", 300.0));
        assert_eq!(sample.label("path"), Some(r#"a\"b,}"#));
        assert_eq!((sample.label("rank"), sample.label("no")), (Some("0"), None));
    }

    #[test]
    fn what_is_no_sample_is_passed_over() {
        for line in ["", "# HELP a b", "a", "a{", "a{x=\"1\" 2", "a one", "{x=\"1\"} 2", " "] {
            assert_eq!(sample(line), None, "{line:?}");
        }
        assert_eq!(samples("a 1\nnonsense\nb\t2\r\n").map(|sample| sample.value).sum::<f64>(), 3.0);
    }
}
