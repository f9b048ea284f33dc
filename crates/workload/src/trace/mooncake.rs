//! The traces of Mooncake (Qin et al., FAST 2025): one JSON object a line with `timestamp` in milliseconds,
//! `input_length`, `output_length` and `hash_ids`, the ids of the prompt's blocks of 512 tokens, the last one of which
//! may be cut short by the end of the prompt.
//!
//! The published timestamps stand on a grid of three seconds. Whoever wants arrivals instead of volleys reads with a
//! jitter of that length.

use std::time::Duration;

use serde::Deserialize;

use super::builder::{Builder, Row};
use super::read::{Form, LineReader};

/// Tokens of a block.
const BLOCK: u32 = 512;

/// How such a file is known and read.
pub(super) const FORM: Form =
    Form { recognises: |line| line.starts_with('{') && line.contains("\"input_length\""), start };

#[derive(Deserialize)]
struct Line {
    timestamp: f64,
    input_length: u64,
    output_length: u64,
    #[serde(default)]
    hash_ids: Vec<u64>,
}

fn start() -> LineReader {
    Box::new(read)
}

fn read(line: &str, builder: &mut Builder) -> Result<(), String> {
    let line: Line = serde_json::from_str(line).map_err(|error| why(&error))?;
    let at = at_seconds("timestamp", line.timestamp / 1e3)?;
    builder.set_block_tokens(BLOCK)?;
    builder.push(&Row {
        at,
        prompt_tokens: line.input_length,
        output_tokens: line.output_length,
        blocks: &line.hash_ids,
        ..Row::default()
    })
}

/// What is wrong with a line, without the line number of a parser that saw only this one.
pub(super) fn why(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    format!("{} at column {}", &text[..end], error.column())
}

/// A time from the beginning of the trace: neither negative nor, as those of a calendar are, longer than 31 years.
pub(super) fn at_seconds(name: &str, seconds: f64) -> Result<Duration, String> {
    if !(0.0..=1e9).contains(&seconds) {
        return Err(format!("{name}: {seconds} s is not between 0 and 1000000000 s after the beginning"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::super::{Options, read_from};
    use super::*;

    #[test]
    fn equal_ids_stay_equal_and_ids_beyond_the_prompt_are_dropped() {
        let text = "{\"timestamp\": 0, \"input_length\": 1030, \"output_length\": 5, \"hash_ids\": [0, 1, 2]}\n\
                    {\"timestamp\": 3000, \"input_length\": 600, \"output_length\": 0, \"hash_ids\": [0, 7, 8, 9]}\n";
        let (trace, problems) = read_from("m.jsonl", text.as_bytes(), &Options::default()).unwrap();
        assert!(problems.is_empty());
        assert_eq!(trace.block_tokens, 512);
        assert_eq!(trace.blocks_of(&trace.arrivals[0]), [0, 1, 2]);
        assert_eq!(trace.blocks_of(&trace.arrivals[1]), [0, 7]);
        assert_eq!(trace.duration(), Duration::from_secs(3));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said_with_its_column() {
        let text = "{\"timestamp\": 0, \"input_length\": 10, \"output_length\": 5}\n{\"timestamp\": 0, \"input_length\": -1}\n\
                    {\"timestamp\": -4, \"input_length\": 1, \"output_length\": 1}\n{\"timestamp\":";
        let (trace, problems) = read_from("m", text.as_bytes(), &Options::default()).unwrap();
        assert_eq!(trace.arrivals.len(), 1);
        let expected = [
            "m:2: invalid value: integer `-1`, expected u64 at column 35",
            "m:3: timestamp: -0.004 s is not between 0 and 1000000000 s after the beginning",
            "m:4: EOF while parsing a value at column 13",
        ];
        assert_eq!(problems.first, expected);
    }
}
