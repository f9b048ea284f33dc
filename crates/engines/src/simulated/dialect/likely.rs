//! How likely tokens were, and how OpenAI writes that down.

use std::borrow::Cow;
use std::ops::Range;

use serde::ser::{Serialize, SerializeMap, Serializer};

/// How likely tokens were, each beside the likeliest in its place.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Likelihoods {
    /// What all of the candidates say.
    text: Vec<u8>,
    candidates: Vec<Candidate>,
    /// Where the candidates for each token end.
    ends: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq)]
struct Candidate {
    said: Range<usize>,
    logprob: f32,
}

impl Likelihoods {
    /// Adds a token: itself, then the likeliest in its place, each with its logarithm.
    pub(crate) fn push<'a>(&mut self, candidates: impl Iterator<Item = (&'a [u8], f32)>) {
        for (said, logprob) in candidates {
            let from = self.text.len();
            self.text.extend_from_slice(said);
            self.candidates.push(Candidate { said: from..self.text.len(), logprob });
        }
        self.ends.push(self.candidates.len());
    }

    /// Of each token, in order.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = Likelihood<'_>> {
        let mut from = 0;
        self.ends.iter().map(move |end| {
            let candidates = &self.candidates[from..*end];
            from = *end;
            Likelihood { text: &self.text, candidates }
        })
    }

    /// Whether nothing is known of any.
    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.candidates.clear();
        self.ends.clear();
    }
}

/// How likely one token was: itself first, then the likeliest in its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Likelihood<'a> {
    text: &'a [u8],
    candidates: &'a [Candidate],
}

impl<'a> Likelihood<'a> {
    fn rated(self) -> impl Iterator<Item = Rated<'a>> {
        self.candidates
            .iter()
            .map(|candidate| Rated { said: &self.text[candidate.said.clone()], logprob: candidate.logprob })
    }

    /// Whether it was not told.
    pub(crate) fn is_empty(self) -> bool {
        self.candidates.is_empty()
    }

    fn own(self) -> Rated<'a> {
        self.rated().next().unwrap_or(Rated { said: b"", logprob: 0.0 })
    }

    /// Adds it to others.
    pub(crate) fn add_to(self, all: &mut Likelihoods) {
        all.push(self.rated().map(|rated| (rated.said, rated.logprob)));
    }
}

/// A token and its logarithm.
#[derive(Clone, Copy)]
struct Rated<'a> {
    said: &'a [u8],
    logprob: f32,
}

impl<'a> Rated<'a> {
    fn text(self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.said)
    }

    /// JSON has no infinity: what cannot be is as good as never.
    fn logprob(self) -> f32 {
        self.logprob.max(-9_999.0)
    }
}

/// As chats have it: `{"content": [{"token", "logprob", "bytes", "top_logprobs"}]}`.
pub(crate) struct InChat<'a>(pub(crate) Vec<Likelihood<'a>>);

/// As completions have it: `tokens`, `token_logprobs`, `top_logprobs` and `text_offset` beside each other.
pub(crate) struct InCompletion<'a> {
    /// Of the tokens.
    pub(crate) tokens: Vec<Likelihood<'a>>,
    /// Characters before the first of them.
    pub(crate) offset: usize,
}

impl InCompletion<'_> {
    /// Characters up to the end of the last token.
    pub(crate) fn end(&self) -> usize {
        self.tokens.iter().fold(self.offset, |at, token| at + token.own().text().chars().count())
    }
}

impl Serialize for InChat<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("content", &Each(|| self.0.iter().map(|token| InPlace(*token))))?;
        map.serialize_entry("refusal", &())?;
        map.end()
    }
}

/// A token with those that could have stood in its place.
struct InPlace<'a>(Likelihood<'a>);

impl Serialize for InPlace<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(4))?;
        self.0.own().write(&mut map)?;
        map.serialize_entry("top_logprobs", &Each(|| self.0.rated().skip(1)))?;
        map.end()
    }
}

impl Rated<'_> {
    fn write<M: SerializeMap>(self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("token", &self.text())?;
        map.serialize_entry("logprob", &self.logprob())?;
        map.serialize_entry("bytes", self.said)
    }
}

impl Serialize for Rated<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        self.write(&mut map)?;
        map.end()
    }
}

impl Serialize for InCompletion<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let own = || self.tokens.iter().map(|token| token.own());
        let mut at = self.offset;
        let offsets: Vec<usize> = own()
            .map(|rated| {
                let end = at + rated.text().chars().count();
                std::mem::replace(&mut at, end)
            })
            .collect();
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("tokens", &Each(|| own().map(Rated::text)))?;
        map.serialize_entry("token_logprobs", &Each(|| own().map(Rated::logprob)))?;
        map.serialize_entry("top_logprobs", &Each(|| self.tokens.iter().map(|token| ByText(*token))))?;
        map.serialize_entry("text_offset", &offsets)?;
        map.end()
    }
}

/// Candidates by what they say.
struct ByText<'a>(Likelihood<'a>);

impl Serialize for ByText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.rated().skip(1).map(|rated| (rated.text(), rated.logprob())))
    }
}

/// A list that is made while it is written.
struct Each<F>(F);

impl<F: Fn() -> I, I: Iterator<Item: Serialize>> Serialize for Each<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{json, to_value};

    #[test]
    fn both_forms_are_openais() {
        let mut all = Likelihoods::default();
        all.push([(&b" a"[..], -0.5), (b" a", -0.5), (b" b", -1.0)].into_iter());
        all.push([(&b"\xe6"[..], -2.0)].into_iter());
        let content = json!([
            {"token": " a", "logprob": -0.5, "bytes": [32, 97], "top_logprobs": [
                {"token": " a", "logprob": -0.5, "bytes": [32, 97]},
                {"token": " b", "logprob": -1.0, "bytes": [32, 98]},
            ]},
            {"token": "\u{fffd}", "logprob": -2.0, "bytes": [230], "top_logprobs": []},
        ]);
        let chat = InChat(all.tokens().collect());
        assert_eq!(to_value(chat).unwrap(), json!({"content": content, "refusal": null}));
        let completion = InCompletion { tokens: all.tokens().collect(), offset: 7 };
        assert_eq!(completion.end(), 10);
        assert_eq!(
            to_value(completion).unwrap(),
            json!({"tokens": [" a", "\u{fffd}"], "token_logprobs": [-0.5, -2.0],
                "top_logprobs": [{" a": -0.5, " b": -1.0}, {}], "text_offset": [7, 9]})
        );
    }

    #[test]
    fn what_cannot_be_is_a_number_nevertheless() {
        let mut all = Likelihoods::default();
        all.push([(&b"x"[..], f32::NEG_INFINITY)].into_iter());
        let mut copied = Likelihoods::default();
        all.tokens().for_each(|token| token.add_to(&mut copied));
        assert_eq!(copied, all);
        let chat = to_value(InChat(copied.tokens().collect())).unwrap();
        assert_eq!(chat["content"][0]["logprob"], -9_999.0);
    }
}
