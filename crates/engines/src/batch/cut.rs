//! One request into several: parts that are joined with others, or not, like any request.

use std::ops::Range;

use bytes::BufMut;
use plimsoll_batching::budget::{Budget, Fill, Size};
use plimsoll_types::{Kind, Request};

use super::Joinable;
use super::join::{put_number, rewrite, with_prompt};
use super::joinable::Holds;
use super::lists::{ADDED, BYTES_PER_TOKEN, List};
use crate::json::Scanner;

/// Whether a body may hold more texts or tokens than that. Most do not, and are not read for it.
#[must_use]
pub fn may_exceed(kind: Kind, body: &[u8], budget: Budget) -> bool {
    // What is read beside every text counts as often: then only reading tells.
    let texts = memchr::memchr_iter(b',', body).count() + 1;
    let tokens = (body.len() / BYTES_PER_TOKEN + ADDED * texts).max(texts);
    kind != Kind::Embedding || texts > budget.items as usize || tokens > budget.tokens as usize
}

/// Cuts a request into parts of about the same size, each within `budget` unless a single text of it is not; the parts
/// together have its texts, in their order. Only one of which every part is answered as it is: prompts that are continued
/// are not cut, for the sake of their number in the answer.
#[must_use]
pub fn cut(request: &Request, read: &Joinable, budget: Budget) -> Vec<Request> {
    let Some(texts) = Texts::of(request, read).filter(|_| read.kind != Kind::Completion) else {
        return Vec::new();
    };
    let tokens: u32 = texts.tokens.iter().sum();
    texts.groups(budget).map(|group| texts.part((request, read), (group, tokens))).collect()
}

/// The texts of a request.
struct Texts {
    /// Where each stands, by the numbers of the holes.
    at: Vec<Vec<Range<usize>>>,
    /// Tokens of each, with what stands beside it.
    tokens: Vec<u32>,
}

impl Texts {
    fn of(request: &Request, read: &Joinable) -> Option<Self> {
        let mut tokens = vec![0_u32; read.items as usize];
        let mut at = Vec::new();
        for hole in &read.holes {
            let mut places = Vec::new();
            if let Holds::Texts(_) = hole.holds {
                // What was read once can be read again.
                let mut scanner = Scanner::new(&request.body).again_from(hole.value.start);
                List::read_each(&mut scanner, |at, count| {
                    tokens[places.len()] += count as u32;
                    places.push(at);
                })
                .ok()??;
            }
            at.push(places);
        }
        let beside = (read.tokens - tokens.iter().sum::<u32>()) / read.items.max(1);
        tokens.iter_mut().for_each(|tokens| *tokens += beside);
        Some(Self { at, tokens })
    }

    /// Which go together.
    fn groups(&self, budget: Budget) -> impl Iterator<Item = Range<usize>> {
        let size = |tokens: u32| Size { items: 1, tokens, longest: tokens };
        let whole = self.tokens.iter().fold(Fill::default(), |fill, tokens| fill.with(size(*tokens)));
        let parts =
            (whole.items.div_ceil(budget.items)).max(whole.tokens.div_ceil(budget.tokens.into()) as u32);
        let (items, enough) =
            (whole.items.div_ceil(parts.max(1)), whole.tokens.div_ceil(parts.max(1).into()));
        let mut from = 0;
        std::iter::from_fn(move || {
            let begins = from;
            let mut fill = Fill::default();
            while let Some(tokens) = self.tokens.get(from) {
                let more = fill.with(size(*tokens));
                let one_more = more.fits(budget) && fill.items < items && fill.tokens < enough;
                if from > begins && !one_more {
                    break;
                }
                (fill, from) = (more, from + 1);
            }
            (begins < from).then_some(begins..from)
        })
    }

    fn part(&self, (request, read): (&Request, &Joinable), (group, all): (Range<usize>, u32)) -> Request {
        let tokens: u32 = self.tokens[group.clone()].iter().sum();
        let part = rewrite((request, read), |out, number| match &read.holes[number].holds {
            Holds::One(_) => out.put_slice(&request.body[read.holes[number].value.clone()]),
            Holds::Top => put_number(out, group.len()),
            Holds::Texts(_) => {
                let texts = &self.at[number][group.clone()];
                out.put_u8(b'[');
                out.put_slice(&request.body[texts[0].start..texts[texts.len() - 1].end]);
                out.put_u8(b']');
            }
        });
        let share = u64::from(request.envelope.prompt_tokens) * u64::from(tokens) / u64::from(all.max(1));
        with_prompt(part, u32::try_from(share).unwrap_or(u32::MAX))
    }
}
