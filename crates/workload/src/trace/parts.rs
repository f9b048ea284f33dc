//! Synthetic workloads beside and after each other, so that the traffic changes its kind during a run.
//!
//! ```text
//!   part 1: whole answers │████████████│
//!   part 2: streams       │            │████████████│
//!   part 3: embeddings    │      ██████████████     │
//! ```

use std::time::Duration;

use plimsoll_types::{Key, Keys, Section};

use super::builder::MOST_BLOCKS;
use super::{Arrival, Error, Synthetic, Trace};
use crate::random::mix;

/// A synthetic workload that lasts for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Seconds from the beginning of the trace.
    pub after_s: f64,
    /// Seconds that it lasts.
    pub for_s: f64,
    /// Its requests.
    pub synthetic: Synthetic,
}

impl Default for Part {
    fn default() -> Self {
        Self { after_s: 0.0, for_s: 60.0, synthetic: Synthetic::default() }
    }
}

/// The requests of all `parts`, sent by tenants of these weights; each part is drawn from a seed of its own, so that two
/// parts that are alike share no prompts.
///
/// # Errors
///
/// That the trace would have more requests or block ids than fit.
pub(super) fn generate(
    parts: &[Part],
    model: &str,
    tenants: &[(String, f64)],
    seed: u64,
) -> Result<Trace, Error> {
    let mut all = Trace::default();
    for (number, part) in (1..).zip(parts) {
        let (begin, length) = (Duration::from_secs_f64(part.after_s), Duration::from_secs_f64(part.for_s));
        let trace = part.synthetic.generate(model, tenants, length, mix(seed, number))?;
        if all.blocks.len() + trace.blocks.len() > MOST_BLOCKS {
            return Err(Error::TooLarge { what: "block ids", most: MOST_BLOCKS });
        }
        let first = all.blocks.len() as u32;
        let (mut arrivals, mut blocks) = (std::mem::take(&mut all.arrivals), std::mem::take(&mut all.blocks));
        arrivals.extend(trace.arrivals.iter().map(|arrival| Arrival {
            at: arrival.at + begin,
            first_block: first + arrival.first_block,
            ..*arrival
        }));
        blocks.extend_from_slice(&trace.blocks);
        all = Trace { name: "parts".into(), arrivals, blocks, ..trace };
    }
    all.arrivals.sort_by_key(|arrival| arrival.at);
    Ok(all)
}

/// What is wrong with `parts` together, if anything: a trace has blocks of one size, and its regions by `regions`.
pub(super) fn problem(parts: &[Part]) -> Option<&'static str> {
    let first = parts.first()?;
    if parts.iter().any(|part| part.synthetic.block_tokens != first.synthetic.block_tokens) {
        return Some("have different block_tokens: a trace has blocks of one size");
    }
    let located = parts.iter().any(|part| !part.synthetic.arrivals.regions.is_empty());
    located.then_some("have regions of their own: give regions beside parts")
}

impl Section for Part {
    fn keys(&mut self, keys: &mut dyn Keys) {
        let key = Key::new("after_s", "Seconds from the beginning of the trace.");
        keys.decimal(key, 0.0..=1e8, &mut self.after_s);
        keys.decimal(Key::new("for_s", "Seconds that it lasts."), 0.001..=1e8, &mut self.for_s);
        self.synthetic.keys(keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Answer, Source};

    fn source(text: &str) -> Result<Source, String> {
        Source::of_spec(text).map_err(|problems| problems[0].to_string())
    }

    fn load(text: &str) -> Trace {
        source(text).unwrap().load(1, std::path::Path::new("")).unwrap().0
    }

    #[test]
    fn parts_follow_each_other_each_with_its_kind_of_answer() {
        let trace = load(
            "{parts: [{answer: whole, for_s: 20}, {answer: embedding, after_s: 20, for_s: 10, arrivals: {rate: 30}}]}",
        );
        let count = |answer| trace.arrivals.iter().filter(|arrival| arrival.answer == answer).count();
        assert!((150..250).contains(&count(Answer::Whole)), "{}", count(Answer::Whole));
        assert!((230..370).contains(&count(Answer::Embedding)), "{}", count(Answer::Embedding));
        assert_eq!(count(Answer::Stream), 0);
        assert!(trace.arrivals.is_sorted_by_key(|arrival| arrival.at));
        let early = |answer| trace.arrivals.iter().filter(move |a| a.answer == answer && a.at.as_secs() < 20);
        assert_eq!(early(Answer::Embedding).count(), 0);
        assert_eq!(early(Answer::Whole).count(), count(Answer::Whole));
    }

    #[test]
    fn a_part_that_repeats_its_prompts_shares_none_with_the_next_part() {
        let repeats = "synthetic: shared_prefix, groups: 1, questions: 1, for_s: 20";
        let trace = load(&format!("{{parts: [{{{repeats}}}, {{{repeats}, after_s: 20}}]}}"));
        let blocks = |late: bool| -> std::collections::HashSet<u64> {
            let those = trace.arrivals.iter().filter(|arrival| (arrival.at.as_secs() >= 20) == late);
            those.flat_map(|arrival| trace.blocks_of(arrival).iter().copied()).collect()
        };
        // 7,200 tokens in blocks of 16.
        assert_eq!((blocks(false).len(), blocks(true).len()), (450, 450));
        assert!(blocks(false).is_disjoint(&blocks(true)));
    }

    #[test]
    fn parts_go_with_nothing_that_says_what_to_send_too() {
        let wrong = |text: &str| source(text).unwrap_err();
        let error = wrong("{synthetic: agents, parts: [{for_s: 1}]}");
        assert!(error.contains("parts: go with no file and no other synthetic workload"), "{error}");
        let error = wrong("{parts: [{for_s: 1}, {for_s: 1, block_tokens: 32}]}");
        assert!(error.contains("parts: have different block_tokens"), "{error}");
    }
}
