//! Cuts text into tokens and puts it together again.
//!
//! A token is a word of [`words`](super::words) with its leading space, up to four ASCII characters of anything else,
//! or one other character: about four bytes each, as with real vocabularies. Its number holds the text itself, so
//! that no table is needed to read it back:
//!
//! ```text
//!   2^7L + L ASCII characters of seven bits each, L from 1 to 4 · 256 + index of a word · 2^30 + any other character
//! ```

use std::collections::HashMap;
use std::sync::LazyLock;

use super::random::mix;
use super::words;

/// Tokens of a block of the prefix cache.
pub(super) const BLOCK: u32 = 16;

const LONGEST: usize = 4;
const FIRST_WORD: u32 = 256;
const FIRST_CHAR: u32 = 1 << 30;

struct Vocabulary {
    words: Vec<&'static str>,
    numbers: HashMap<&'static str, u32>,
}

/// The words longer than four bytes, in order.
static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(|| {
    let mut words: Vec<&str> = words::all().flat_map(runs).filter(|run| run.len() > LONGEST).collect();
    words.sort_unstable();
    words.dedup();
    let numbers = (FIRST_WORD..).zip(&words).map(|(number, word)| (*word, number)).collect();
    Vocabulary { words, numbers }
});

/// The first token of `text` and the rest; `None` where nothing is left.
pub(super) fn split(text: &str) -> Option<(&str, &str)> {
    let run = first_run(text)?;
    let whole = run.len() <= LONGEST || !run.is_ascii() || VOCABULARY.numbers.contains_key(run);
    Some(text.split_at(if whole { run.len() } else { LONGEST }))
}

/// The tokens of `text`, in order.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (token, after) = split(rest)?;
        rest = after;
        Some(token)
    })
}

/// How many tokens the models of the embedded fleet make of `text`.
#[must_use]
pub fn count(text: &str) -> usize {
    tokens(text).count()
}

/// The numbers of the tokens of `text`.
pub(super) fn numbers(text: &str) -> impl Iterator<Item = u32> {
    tokens(text).map(number)
}

fn number(token: &str) -> u32 {
    if token.len() > LONGEST {
        return VOCABULARY.numbers.get(token).copied().expect("only words are that long");
    }
    match token.chars().next() {
        Some(first) if !first.is_ascii() => FIRST_CHAR | u32::from(first),
        _ => token.bytes().fold(1, |number, byte| number << 7 | u32::from(byte)),
    }
}

/// Appends the text of a token to `text`; false where there is no such token.
pub(super) fn decode(number: u32, text: &mut String) -> bool {
    if number >= FIRST_CHAR {
        let char = char::from_u32(number & !FIRST_CHAR).filter(|char| !char.is_ascii());
        text.extend(char);
        return char.is_some();
    }
    // The highest bit stands at 7 times the length.
    let length = number.checked_ilog2().map_or(0, |bits| if bits % 7 == 0 { bits / 7 } else { 0 });
    if (1..=4).contains(&length) {
        text.extend((0..length).rev().map(|at| char::from((number >> (7 * at) & 0x7f) as u8)));
        return true;
    }
    let word = number.checked_sub(FIRST_WORD).and_then(|index| VOCABULARY.words.get(index as usize));
    text.extend(word.copied());
    word.is_some()
}

fn runs(text: &'static str) -> impl Iterator<Item = &'static str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (run, after) = rest.split_at(first_run(rest)?.len());
        rest = after;
        Some(run)
    })
}

/// A word, number, run of signs or run of white space with the one space before it, or a character beyond ASCII.
fn first_run(text: &str) -> Option<&str> {
    let first = text.chars().next()?;
    if !first.is_ascii() {
        return Some(&text[..first.len_utf8()]);
    }
    let bytes = text.as_bytes();
    let start = usize::from(bytes[0] == b' ' && bytes.get(1).is_some_and(u8::is_ascii_graphic));
    let class = class(bytes[start]);
    let length =
        bytes[start..].iter().take_while(|byte| byte.is_ascii() && self::class(**byte) == class).count();
    Some(&text[..start + length])
}

fn class(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' => 0,
        b'0'..=b'9' => 1,
        b' ' | b'\t' | b'\n' | b'\r' => 2,
        _ => 3,
    }
}

/// What a GPU needs to know of a prompt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Prompt {
    /// How many tokens it has.
    pub(super) tokens: u32,
    /// For each whole block, a number that depends on all text up to its end.
    pub(super) blocks: Vec<u64>,
    /// A number that depends on all of it.
    pub(super) hash: u64,
}

impl Prompt {
    /// The prompt that says `text`.
    pub(super) fn of_text(text: &str) -> Self {
        Self::of_numbers(numbers(text))
    }

    /// The prompt of these tokens.
    pub(super) fn of_numbers(numbers: impl Iterator<Item = u32>) -> Self {
        let mut prompt = Self::default();
        for number in numbers {
            prompt.tokens += 1;
            prompt.hash = mix(prompt.hash, u64::from(number));
            if prompt.tokens.is_multiple_of(BLOCK) {
                prompt.blocks.push(prompt.hash);
            }
        }
        prompt
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_of_the_fleet_are_one_token_and_others_are_cut() {
        let cut: Vec<&str> = tokens("This answer is simulated: 12345 unheard-of words").collect();
        let expected = [
            "This",
            " answer",
            " is",
            " simulated",
            ":",
            " 123",
            "45",
            " unh",
            "eard",
            "-",
            "of",
            " wor",
            "ds",
        ];
        assert_eq!(cut, expected);
    }

    #[test]
    fn there_is_room_for_every_word() {
        assert!(VOCABULARY.words.len() + (FIRST_WORD as usize) < 1 << 14);
    }

    #[test]
    fn numbers_that_are_no_token_are_told() {
        for number in [0, 127, 300_000, u32::MAX, FIRST_CHAR, FIRST_CHAR | 0xd800, FIRST_WORD + 9_999] {
            assert!(!decode(number, &mut String::new()), "{number}");
        }
    }

    #[test]
    fn prompts_that_begin_alike_share_their_first_blocks_only() {
        let (a, b) =
            ("the same words ".repeat(20), "the same words ".repeat(20) + "and more".repeat(20).as_str());
        let (a, b) = (Prompt::of_text(&a), Prompt::of_text(&b));
        assert!(a.blocks.len() < b.blocks.len());
        assert_eq!(a.blocks[..a.blocks.len() - 1], b.blocks[..a.blocks.len() - 1]);
        assert!(!a.blocks.contains(b.blocks.last().unwrap()));
        assert_ne!(a.hash, b.hash);
    }

    proptest! {
        #[test]
        fn text_survives_the_way_to_numbers_and_back(text in "\\PC*|[ -~\\n]*|[a-zé漢🚢 ]*") {
            let mut back = String::new();
            for number in numbers(&text) {
                prop_assert!(number < 1 << 31 && decode(number, &mut back));
            }
            prop_assert_eq!(back, text);
        }
    }
}
