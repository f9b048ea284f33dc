//! The traces of Azure's LLM inference services: `TIMESTAMP,ContextTokens,GeneratedTokens`.
//!
//! Published in `Azure/AzurePublicDataset` with Splitwise (Patel et al., ISCA 2024) and DynamoLLM. A timestamp is a
//! date and a time of up to nine decimals; the earliest is the beginning of the trace. Nothing is told of prefixes.

use std::time::Duration;

use super::builder::{Builder, Row};
use super::lines::{shortened, unquoted, whole};
use super::read::{Form, LineReader};

/// How such a file is known and read.
pub(super) const FORM: Form =
    Form { recognises: |line| is_header(line) || time(first_field(line)).is_some(), start };

fn is_header(line: &str) -> bool {
    line.starts_with("TIMESTAMP,ContextTokens")
}

fn first_field(line: &str) -> &str {
    unquoted(line.split(',').next().unwrap_or_default())
}

fn start() -> LineReader {
    Box::new(|line, builder| if is_header(line) { Ok(()) } else { read(line, builder) })
}

fn read(line: &str, builder: &mut Builder) -> Result<(), String> {
    builder.count_from_the_earliest();
    let mut fields = line.split(',').map(unquoted);
    let mut field = |name: &str| fields.next().ok_or_else(|| format!("{name} is missing"));
    let stamp = field("TIMESTAMP")?;
    let at = time(stamp).ok_or_else(|| {
        format!("TIMESTAMP: {:?} is not a time like 2023-11-16 18:17:03.98", shortened(stamp))
    })?;
    let prompt_tokens = whole("ContextTokens", field("ContextTokens")?)?;
    let output_tokens = whole("GeneratedTokens", field("GeneratedTokens")?)?;
    builder.push(&Row { at, prompt_tokens, output_tokens, ..Row::default() })
}

/// `2023-11-16 18:17:03.9799600`, perhaps with the mark of UTC, as time since the first day of the calendar.
fn time(stamp: &str) -> Option<Duration> {
    let stamp = stamp.strip_suffix("+00:00").or_else(|| stamp.strip_suffix('Z')).unwrap_or(stamp);
    let (whole, fraction) = stamp.split_once('.').unwrap_or((stamp, "0"));
    let bytes = whole.as_bytes();
    let marks = [(4, b"-"), (7, b"-"), (13, b":"), (16, b":")];
    let marked = marks.iter().all(|(at, mark)| bytes.get(*at) == Some(&mark[0]));
    if bytes.len() != 19 || !marked || !matches!(bytes[10], b' ' | b'T') {
        return None;
    }
    let number = |from: usize, to: usize, most: u64| -> Option<u64> {
        bytes[from..to]
            .iter()
            .try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + u64::from(byte - b'0')))
            .filter(|number| *number <= most)
    };
    let (year, month, day) = (number(0, 4, 9_999)?, number(5, 7, 12)?, number(8, 10, 31)?);
    let (hour, minute, second) = (number(11, 13, 23)?, number(14, 16, 59)?, number(17, 19, 60)?);
    let seconds = days(year, month.max(1), day.max(1)) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(Duration::new(seconds, nanos(fraction)?))
}

fn nanos(fraction: &str) -> Option<u32> {
    let digits = fraction.as_bytes();
    let valid = digits.iter().all(u8::is_ascii_digit) && !digits.is_empty() && digits.len() <= 9;
    let padded = || (0..9).map(|at| digits.get(at).map_or(0, |digit| u32::from(digit - b'0')));
    valid.then(|| padded().fold(0, |number, digit| number * 10 + digit))
}

/// Days from a first of March before the year zero (Hinnant, *chrono-compatible low-level date algorithms*): the
/// calendar repeats itself after 400 years.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year + 400, month - 3) } else { (year + 399, month + 9) };
    year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1
}

#[cfg(test)]
mod tests {
    use super::super::{Options, read_from};
    use super::*;

    #[test]
    fn lines_become_requests_and_the_earliest_is_the_beginning() {
        let text = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:17:04.0319600,3180,8\r\n\
                    2023-11-16 18:17:03.9799600,4808,10\r\n2023-11-16 18:17:05,0,0\r\n";
        let (trace, problems) = read_from("azure.csv", text.as_bytes(), &Options::default()).unwrap();
        let read: Vec<_> =
            trace.arrivals.iter().map(|a| (a.at.as_millis(), a.prompt_tokens, a.output_tokens)).collect();
        assert_eq!(read, [(0, 4808, 10), (52, 3180, 8), (1020, 1, 1)]);
        assert!(problems.is_empty() && trace.block_tokens == 0);
    }

    #[test]
    fn a_broken_line_is_told_and_the_rest_is_read() {
        let text = "TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,2\n2024-05-10 00:00:00.009930+00:00,7\n\
                    2024-05-10 00:00:00.009930+00:00,7,x\n2024-05-10 00:00:00.009930+00:00,7,8\n";
        let (trace, problems) = read_from("a.csv", text.as_bytes(), &Options::default()).unwrap();
        assert_eq!(trace.arrivals.len(), 1);
        let expected = [
            "a.csv:2: TIMESTAMP: \"yesterday\" is not a time like 2023-11-16 18:17:03.98",
            "a.csv:3: GeneratedTokens is missing",
            "a.csv:4: GeneratedTokens: \"x\" is not a whole number",
        ];
        assert_eq!(problems.first, expected);
    }

    #[test]
    fn days_follow_each_other_across_leap_years() {
        assert_eq!(days(2024, 3, 1) - days(2024, 2, 28), 2);
        assert_eq!(days(2023, 3, 1) - days(2023, 2, 28), 1);
        assert_eq!(days(2024, 1, 1) - days(2023, 12, 31), 1);
        assert_eq!(days(2000, 1, 1) - days(1970, 1, 1), 10_957);
    }
}
