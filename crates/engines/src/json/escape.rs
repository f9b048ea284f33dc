//! What a string with escapes says. Hot path: no allocation but for `out` to grow, no lock, no await.

/// Writes what `raw`, a string that a scanner has walked over, says; false where it cannot be said: a lone half of a
/// surrogate pair is legal in JSON and has no UTF-8.
pub(crate) fn unescape(raw: &[u8], out: &mut Vec<u8>) -> bool {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let Some((letter, after)) = letter(&rest[at + 1..]) else { return false };
        out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        rest = after;
    }
    out.extend_from_slice(rest);
    true
}

/// What stands behind a backslash: the letter that it means, and what follows.
fn letter(escape: &[u8]) -> Option<(char, &[u8])> {
    let (kind, after) = escape.split_first()?;
    let letter = match kind {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return code_point(after),
        other => char::from(*other),
    };
    Some((letter, after))
}

fn code_point(text: &[u8]) -> Option<(char, &[u8])> {
    let (first, after) = unit(text)?;
    if let Some(letter) = char::from_u32(first.into()) {
        return Some((letter, after));
    }
    let (second, after) = unit(after.strip_prefix(b"\\u")?)?;
    let letter = char::decode_utf16([first, second]).next()?.ok()?;
    Some((letter, after))
}

fn unit(text: &[u8]) -> Option<(u16, &[u8])> {
    let (digits, after) = text.split_first_chunk::<4>()?;
    let digits = std::str::from_utf8(digits).ok()?;
    Some((u16::from_str_radix(digits, 16).ok()?, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said(raw: &str) -> Option<String> {
        let mut out = Vec::new();
        unescape(raw.as_bytes(), &mut out).then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn escapes_are_resolved_and_a_lone_half_of_a_pair_is_not() {
        let all = r#"a\"\\\/\b\f\n\r\t\u00e9\u20AC\ud83d\udea2z"#;
        assert_eq!(said(all).as_deref(), Some("a\"\\/\u{8}\u{c}\n\r\t\u{e9}\u{20ac}\u{1f6a2}z"));
        for lone in [r"\ud83d", r"\ud83dx", r"\ud83d\n", r"\udea2", r"\ud83d\ud83d", r"\udea2\ud83d"] {
            assert_eq!(said(lone), None, "{lone}");
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_serde(raw in r#"([a-z\PC&&[^"\\]]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4}|\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}){0,8}"#) {
            let serde = serde_json::from_str::<String>(&format!("\"{raw}\"")).ok();
            prop_assert_eq!(said(&raw), serde);
        }
    }
}
