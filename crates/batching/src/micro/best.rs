//! How many texts a call should hold: what a token costs is measured by the size of calls. Hot path: no allocation.
//!
//! Most engines are the cheaper the more they compute at a time. Some are not: one that computes texts of several callers
//! as one long text pays for every pair of them, and a call of 64 takes longer than eight of 8. Which is so here is seen by
//! trying: of some fifty calls a few are half as large as is best so far, and a few twice.

use std::time::Duration;

/// Sizes that are told apart: doublings, up to as many texts as a call may hold.
const CLASSES: usize = 13;
/// What calls before count at each new one of their size.
const FADE: f64 = 0.9;
/// Calls, faded, before a size is believed.
const ENOUGH: f64 = 2.5;
/// How much cheaper a smaller size must be: what is as cheap in one call as in two needs no second.
const BETTER: f64 = 0.9;
/// Calls of one size in a row, so that they have only their like beside them; and rows until the same is tried again.
const ROW: u32 = 6;
const ROWS: u32 = 8;

#[derive(Debug, Default)]
pub(super) struct Best {
    classes: [Class; CLASSES],
    calls: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Class {
    weight: f64,
    tokens: f64,
    seconds: f64,
}

/// The size of a call of so many texts.
pub(super) fn class(items: u32) -> usize {
    (items.max(1).ilog2() as usize).min(CLASSES - 1)
}

impl Best {
    /// A call of a size took so long for so many tokens.
    pub(super) fn took(&mut self, class: usize, tokens: u64, time: Duration) {
        let Class { weight, tokens: sum, seconds } = &mut self.classes[class];
        *weight = *weight * FADE + 1.0;
        *sum = *sum * FADE + tokens as f64;
        *seconds = *seconds * FADE + time.as_secs_f64();
    }

    /// A call leaves.
    pub(super) fn leaves(&mut self) {
        self.calls = self.calls.wrapping_add(1);
    }

    /// Texts that the next call should hold at most, if it may hold `most`.
    pub(super) fn items(&self, most: u32) -> u32 {
        let known = || (0..=class(most)).rev().filter_map(|class| Some((class, self.cost(class)?)));
        let Some(largest) = known().next() else { return most };
        let cheaper =
            |best: (usize, f64), one: (usize, f64)| if one.1 < BETTER * best.1 { one } else { best };
        let (best, _) = known().fold(largest, cheaper);
        let now = match self.calls / ROW % ROWS {
            1 => best.saturating_sub(1),
            5 => best + 1,
            _ => best,
        };
        if now >= largest.0 { most } else { 1 << now }
    }

    /// Seconds for a token.
    fn cost(&self, class: usize) -> Option<f64> {
        let Class { weight, tokens, seconds } = self.classes[class];
        (weight >= ENOUGH && tokens > 0.0).then(|| seconds / tokens)
    }
}
