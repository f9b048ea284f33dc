//! Lines of a file, one at a time in one buffer: a trace of gigabytes needs the memory of its longest line.

use std::io::{self, BufRead, Read};

use super::Problems;

/// The longest line: a prompt of 16 M tokens has a million block ids of up to 20 digits.
const LONGEST: u64 = 32 << 20;

/// Calls `each` with every line that is neither blank nor a comment, and writes down those it refuses.
pub(super) fn for_each(
    file: &str,
    mut reader: impl BufRead,
    problems: &mut Problems,
    mut each: impl FnMut(&str) -> Result<(), String>,
) -> io::Result<()> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if reader.by_ref().take(LONGEST).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.len() as u64 == LONGEST && line.last() != Some(&b'\n') {
            reader.skip_until(b'\n')?;
            problems.add(file, number, "the line is longer than 32 MiB");
            continue;
        }
        let used = match std::str::from_utf8(&line) {
            Ok(text) if is_content(text) => each(clean(text)),
            Ok(_) => Ok(()),
            Err(_) => Err("the line is not UTF-8".into()),
        };
        if let Err(why) = used {
            problems.add(file, number, &why);
        }
    }
    Ok(())
}

/// The line without what surrounds it: white space and the mark that some editors put before the first one.
pub(super) fn clean(line: &str) -> &str {
    line.trim_start_matches('\u{feff}').trim()
}

/// Whether a line says something.
pub(super) fn is_content(line: &str) -> bool {
    let line = clean(line);
    !line.is_empty() && !line.starts_with('#')
}

/// A field of a line of comma-separated values, without its quotes.
pub(super) fn unquoted(field: &str) -> &str {
    let field = field.trim();
    field.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(field)
}

/// A whole number, or why it is none.
pub(super) fn whole(name: &str, field: &str) -> Result<u64, String> {
    // Pandas writes whole numbers of a column with gaps as 12.0.
    let digits = field.strip_suffix(".0").unwrap_or(field);
    digits.parse().map_err(|_| format!("{name}: {:?} is not a whole number", shortened(field)))
}

/// At most the first forty characters: a message is for reading.
pub(super) fn shortened(text: &str) -> &str {
    text.char_indices().nth(40).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_told_with_its_line() {
        let mut problems = Problems::default();
        let mut seen = Vec::new();
        let text = b"\xef\xbb\xbfa\r\n\n# a comment\nb\n\xff\nc";
        for_each("t.csv", text.as_slice(), &mut problems, |line| {
            seen.push(line.to_owned());
            if line == "b" { Err("is b".into()) } else { Ok(()) }
        })
        .unwrap();
        assert_eq!(seen, ["a", "b", "c"]);
        assert_eq!(problems.first, ["t.csv:4: is b", "t.csv:5: the line is not UTF-8"]);
    }

    #[test]
    fn a_thousand_problems_are_counted_and_twenty_told() {
        let mut problems = Problems::default();
        for_each("t", "x\n".repeat(1_000).as_bytes(), &mut problems, |_| Err("is wrong".into())).unwrap();
        assert_eq!((problems.count, problems.first.len()), (1_000, 20));
        assert_eq!(problems.to_string(), "1000 broken lines, the first: t:1: is wrong");
    }
}
