//! Writes the text of a simulated answer: readable English that says that nobody thought it.
//!
//! What is written is decided by a seed alone, token by token, so nothing is kept but the sentence under way.

use smallvec::SmallVec;

use super::random::Draw;
use super::tokens;
use super::words::{ENDS, JOINTS, OBJECTS, OPENINGS, PLACES, PREAMBLE, SUBJECTS, THE, VERBS};

/// Median and spread of the natural length: an hour of conversations with a public LLM service
/// (AzureLLMInferenceTrace_conv, 2023) has a median of 129 tokens and a 90th percentile of 424.
const MEDIAN: f64 = 129.0;
const SPREAD: f64 = 0.9;
const LONGEST: f64 = 1_000.0;

/// How a text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It said all that it had to say.
    Natural,
    /// It came to the stop string of this index.
    Stop(usize),
    /// It came to the limit.
    Length,
}

/// What bounds a text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bounds {
    /// Most tokens.
    pub(crate) limit: u32,
    /// Strings before which it ends.
    pub(crate) stops: Vec<String>,
    /// Whether it goes on to the limit, having said all.
    pub(crate) endless: bool,
}

/// A text on its way to the end.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    draw: Draw,
    /// The rest of the phrase under way, and the phrases after it, last first.
    rest: &'static str,
    phrases: SmallVec<[&'static str; 16]>,
    /// Sentences left in this paragraph.
    sentences: usize,
    /// Tokens after which the next end of a sentence is the end.
    length: u32,
    limit: u32,
    written: u32,
    /// Bytes left until a stop string, and which.
    stop: Option<(usize, usize)>,
    end: Option<End>,
}

impl Writer {
    /// The text of `seed`.
    pub(super) fn new(seed: u64, bounds: &Bounds) -> Self {
        let mut draw = Draw::new(seed);
        let length = (MEDIAN * (SPREAD * draw.normal()).exp()).clamp(1.0, LONGEST) as u32;
        let mut writer = Self {
            draw,
            rest: PREAMBLE,
            phrases: SmallVec::new(),
            sentences: 3,
            length: if bounds.endless { u32::MAX } else { length },
            limit: bounds.limit.max(1),
            written: 0,
            stop: None,
            end: None,
        };
        writer.stop = writer.clone().find(&bounds.stops);
        if writer.stop.is_some_and(|(bytes, _)| bytes == 0) {
            writer.end = writer.stop.map(|(_, index)| End::Stop(index));
        }
        writer
    }

    /// How many tokens are still to come.
    pub(super) fn left(&self) -> u32 {
        if self.end.is_none() && self.stop.is_none() && self.limit <= self.length {
            return self.limit - self.written;
        }
        let mut ahead = self.clone();
        while ahead.next().is_some() {}
        ahead.written - self.written
    }

    /// How it ended, once it has.
    pub(super) fn end(&self) -> Option<End> {
        self.end
    }

    /// The next token, never empty; `None` after the end.
    pub(super) fn next(&mut self) -> Option<&'static str> {
        if self.end.is_some() {
            return None;
        }
        let (mut token, rest) = tokens::split(self.rest).expect("phrases are not empty");
        self.rest = rest;
        self.written += 1;
        let mut said_all = false;
        if rest.is_empty() {
            self.rest = self.phrases.pop().unwrap_or_else(|| {
                said_all = self.written >= self.length;
                self.sentence()
            });
        }
        if said_all {
            self.end = Some(End::Natural);
        } else if self.written >= self.limit {
            self.end = Some(End::Length);
        }
        if let Some((bytes, index)) = &mut self.stop {
            if *bytes <= token.len() {
                token = &token[..*bytes];
                self.end = Some(End::Stop(*index));
            }
            *bytes -= token.len();
        }
        Some(token)
    }

    /// Plans the next sentence and gives its first phrase.
    fn sentence(&mut self) -> &'static str {
        let draw = &mut self.draw;
        let mut plan: SmallVec<[&'static str; 16]> = SmallVec::new();
        let fresh = self.sentences == 0;
        if fresh {
            self.sentences = 3 + draw.below(4);
            plan.push(ENDS[1]);
        }
        self.sentences -= 1;
        if draw.below(3) == 0 {
            let opening = draw.one_of(OPENINGS);
            plan.extend([if fresh { opening.trim_start() } else { opening }, ",", THE[1]]);
        } else {
            plan.push(if fresh { THE[2] } else { THE[0] });
        }
        clause(draw, &mut plan);
        if draw.below(2) == 0 {
            plan.extend([draw.one_of(JOINTS), THE[1]]);
            clause(draw, &mut plan);
        }
        plan.push(ENDS[0]);
        plan.reverse();
        self.phrases = plan;
        self.phrases.pop().expect("a sentence has phrases")
    }

    /// Where the first of `stops` begins, in bytes, and which it is.
    fn find(mut self, stops: &[String]) -> Option<(usize, usize)> {
        if stops.is_empty() {
            return None;
        }
        let mut text = String::new();
        while let Some(token) = self.next() {
            text.push_str(token);
        }
        stops.iter().enumerate().filter_map(|(index, stop)| Some((text.find(stop.as_str())?, index))).min()
    }
}

fn clause(draw: &mut Draw, plan: &mut SmallVec<[&'static str; 16]>) {
    plan.extend([draw.one_of(SUBJECTS), draw.one_of(VERBS), draw.one_of(OBJECTS)]);
    if draw.below(2) == 0 {
        plan.push(draw.one_of(PLACES));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(seed: u64, bounds: &Bounds) -> (String, u32, End) {
        let (mut writer, mut text, mut count) = (Writer::new(seed, bounds), String::new(), 0);
        while let Some(token) = writer.next() {
            assert!(!token.is_empty());
            text.push_str(token);
            count += 1;
        }
        (text, count, writer.end().unwrap())
    }

    fn to(limit: u32) -> Bounds {
        Bounds { limit, ..Bounds::default() }
    }

    #[test]
    fn a_text_says_that_it_is_simulated_and_ends_with_a_sentence() {
        for seed in 0..200 {
            let (text, _, end) = written(seed, &to(10_000));
            assert!(text.starts_with("This answer is simulated: ") && text.ends_with('.'), "{text}");
            assert_eq!(end, End::Natural);
            assert!(!text.contains("  ") && !text.contains("\n "), "{text}");
        }
    }

    #[test]
    fn tokens_counted_again_are_as_many_as_were_written() {
        for seed in 0..200 {
            let (text, count, _) = written(seed, &to(10_000));
            assert_eq!(tokens::tokens(&text).count() as u32, count, "{text}");
        }
    }

    #[test]
    fn lengths_spread_as_those_of_real_conversations() {
        let mut lengths: Vec<u32> = (0..1_000).map(|seed| written(seed, &to(10_000)).1).collect();
        lengths.sort_unstable();
        assert!((110..170).contains(&lengths[500]), "{}", lengths[500]);
        assert!((350..550).contains(&lengths[900]), "{}", lengths[900]);
    }

    #[test]
    fn the_limit_ends_a_text_and_only_an_endless_one_always_reaches_it() {
        assert_eq!(written(3, &to(5)).1, 5);
        assert_eq!(written(3, &to(5)).2, End::Length);
        let endless = Bounds { limit: 3_000, endless: true, ..Bounds::default() };
        assert_eq!((written(3, &endless).1, written(3, &endless).2), (3_000, End::Length));
    }

    #[test]
    fn how_much_is_to_come_is_known_from_the_beginning() {
        let stops = vec!["tide".to_owned()];
        let endless = Bounds { limit: 300, stops: Vec::new(), endless: true };
        let stopped = Bounds { limit: 10_000, stops, endless: false };
        for seed in 0..100 {
            for bounds in [to(10_000), to(40), endless.clone(), stopped.clone()] {
                let mut writer = Writer::new(seed, &bounds);
                assert_eq!(writer.left(), written(seed, &bounds).1);
                if writer.next().is_some() {
                    assert_eq!(writer.left(), written(seed, &bounds).1 - 1);
                }
            }
        }
    }

    #[test]
    fn a_text_ends_before_the_stop_string_that_comes_first() {
        let stops = vec!["filler".to_owned(), "mulat".to_owned()];
        let (text, count, end) = written(3, &Bounds { limit: 100, stops, endless: false });
        assert_eq!((text.as_str(), count, end), ("This answer is si", 4, End::Stop(1)));
        let (text, count, end) =
            written(3, &Bounds { limit: 100, stops: vec!["This".into()], endless: false });
        assert_eq!((text.as_str(), count, end), ("", 0, End::Stop(0)));
        let (text, _, end) = written(3, &Bounds { limit: 4, stops: vec!["filler".into()], endless: false });
        assert_eq!((text.as_str(), end), ("This answer is simulated", End::Length));
    }
}
