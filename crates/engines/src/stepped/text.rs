use memchr::memmem::find;

/// Text on its way from a model to a caller: what may still turn into a stop string, or is half a character, is held.
#[derive(Debug, Default)]
pub(super) struct Text {
    held: Vec<u8>,
    stops: Vec<String>,
}

impl Text {
    /// Text that ends before any of `stops`.
    pub(super) fn new(stops: Vec<String>) -> Self {
        Self { held: Vec::new(), stops }
    }

    /// Takes in what the model wrote and appends to `out` what can be said. If a stop string has come, its index: what
    /// stood before it has been said, and nothing may follow.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut String) -> Option<usize> {
        self.held.extend_from_slice(bytes);
        let first = |(index, stop): (usize, &String)| Some((find(&self.held, stop.as_bytes())?, index));
        if let Some((at, index)) = self.stops.iter().enumerate().filter_map(first).min() {
            self.held.truncate(at);
            self.finish(out);
            return Some(index);
        }
        let may_stop = self.stops.iter().map(|stop| overlap(&self.held, stop.as_bytes())).max().unwrap_or(0);
        let said = say(&self.held[..self.held.len() - may_stop], out);
        self.held.drain(..said);
        None
    }

    /// Says what is left: nothing follows that could change it.
    pub(super) fn finish(&mut self, out: &mut String) {
        let said = say(&self.held, out);
        if said < self.held.len() {
            out.push(char::REPLACEMENT_CHARACTER);
        }
        self.held.clear();
    }
}

/// How many bytes at the end of `text` begin `stop`.
fn overlap(text: &[u8], stop: &[u8]) -> usize {
    let most = text.len().min(stop.len().saturating_sub(1));
    (1..=most).rev().find(|length| text.ends_with(&stop[..*length])).unwrap_or(0)
}

/// Appends the whole characters of `bytes`, and a mark for what is none; gives how many bytes that were.
fn say(bytes: &[u8], out: &mut String) -> usize {
    let mut at = 0;
    loop {
        let error = match std::str::from_utf8(&bytes[at..]) {
            Ok(text) => {
                out.push_str(text);
                return bytes.len();
            }
            Err(error) => error,
        };
        let valid = at + error.valid_up_to();
        out.push_str(std::str::from_utf8(&bytes[at..valid]).unwrap_or_default());
        let Some(wrong) = error.error_len() else { return valid };
        out.push(char::REPLACEMENT_CHARACTER);
        at = valid + wrong;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(stops: &[&str], pieces: &[&[u8]]) -> (Vec<String>, Option<usize>) {
        let mut text = Text::new(stops.iter().map(|stop| (*stop).to_owned()).collect());
        let mut said = Vec::new();
        for piece in pieces {
            let mut out = String::new();
            let stop = text.push(piece, &mut out);
            said.push(out);
            if stop.is_some() {
                return (said, stop);
            }
        }
        let mut out = String::new();
        text.finish(&mut out);
        said.push(out);
        (said, None)
    }

    #[test]
    fn a_character_is_said_when_it_is_whole() {
        assert_eq!(written(&[], &[b"a\xe6", b"\xbc", b"\xa2b"]).0, ["a", "", "漢b", ""]);
        assert_eq!(written(&[], &[b"a\xff", b"\xe6"]).0, ["a\u{fffd}", "", "\u{fffd}"]);
    }

    #[test]
    fn what_may_become_a_stop_string_is_held_until_it_is_known() {
        assert_eq!(written(&["END"], &[b"so E", b"N", b"code"]).0, ["so ", "", "ENcode", ""]);
        assert_eq!(written(&["x", "END"], &[b"so E", b"ND x"]), (vec!["so ".into(), String::new()], Some(1)));
        assert_eq!(written(&["aab"], &[b"aa", b"ab"]), (vec![String::new(), "a".into()], Some(0)));
    }

    proptest! {
        #[test]
        fn however_it_is_cut_a_text_ends_before_its_first_stop_string(text in "[ab漢]{0,30}", stop in "[ab漢]{1,3}", cut in 1_usize..5) {
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(cut).collect();
            let (said, found) = written(&[&stop], &pieces);
            let expected = text.split(stop.as_str()).next().unwrap_or_default();
            prop_assert_eq!(said.concat(), expected);
            prop_assert_eq!(found.is_some(), text.contains(&stop));
        }
    }
}
