//! JSON as Python writes it, which is what templates and the models behind them are used to.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

/// Writes `value` on one line, or with so many spaces for each level.
///
/// # Errors
///
/// Where the value is none that JSON has.
pub(crate) fn written(value: &impl Serialize, indent: Option<usize>) -> serde_json::Result<String> {
    let mut out = Vec::new();
    if let Some(spaces) = indent {
        let spaces = " ".repeat(spaces.min(16));
        let pretty = PrettyFormatter::with_indent(spaces.as_bytes());
        value.serialize(&mut Serializer::with_formatter(&mut out, pretty))?;
    } else {
        value.serialize(&mut Serializer::with_formatter(&mut out, Python))?;
    }
    Ok(String::from_utf8(out).expect("JSON is text"))
}

/// A space behind each comma and each colon.
struct Python;

impl Formatter for Python {
    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_is_written_as_python_does() {
        let value = json!({"a": [1, 2.5, "é<"], "b": {}, "c": null});
        assert_eq!(written(&value, None).unwrap(), r#"{"a": [1, 2.5, "é<"], "b": {}, "c": null}"#);
        assert_eq!(written(&json!({"a": [1]}), Some(2)).unwrap(), "{\n  \"a\": [\n    1\n  ]\n}");
    }
}
