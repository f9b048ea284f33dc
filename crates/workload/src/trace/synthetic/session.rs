//! One caller: what is said at each turn, and when.

use super::Synthetic;
use crate::random::{Draw, mix};
use crate::trace::{Answer, Arrival};

/// What decides all of a session.
pub(super) struct Session {
    /// Decides the text of the prefix.
    group: u64,
    /// Decides what follows it: sessions that ask the same question have the same.
    content: u64,
    /// Decides who asks, and when.
    caller: Draw,
}

/// One request of a session.
pub(super) struct Turn {
    /// Seconds after the first.
    pub(super) after: f64,
    prompt_tokens: u32,
    output_tokens: u32,
}

impl Turn {
    /// The request, whose ids begin at `first` of the trace in blocks of `tokens`; when it arrives is left open.
    pub(super) fn arrival(&self, (first, tokens): (u64, u64), tenant: u16, region: u16) -> Arrival {
        Arrival {
            at: std::time::Duration::ZERO,
            prompt_tokens: self.prompt_tokens,
            output_tokens: self.output_tokens,
            first_block: first as u32,
            block_count: (u64::from(self.prompt_tokens) / tokens) as u32,
            model: 0,
            tenant,
            region,
            answer: Answer::default(),
        }
    }
}

impl Session {
    /// Session `number` of the trace of `seed`.
    pub(super) fn new(workload: &Synthetic, seed: u64, number: u64) -> Self {
        let mut caller = Draw::new(mix(seed, 0x7365_7373), number);
        // A session that is alone is a group of its own.
        let group = match workload.groups {
            0 => mix(seed, mix(number, 1)),
            groups => mix(seed, mix(caller.below(groups), 2)),
        };
        let content = match workload.questions {
            0 => mix(group, mix(number, 3)),
            questions => mix(group, mix(caller.below(questions), 4)),
        };
        Self { group, content, caller }
    }

    /// Draws who asks; the only one, if there is no choice.
    pub(super) fn tenant(&mut self, tenants: &[(String, f64)]) -> u16 {
        self.caller.weighted(tenants.iter().map(|(_, weight)| *weight)) as u16
    }

    /// The turns, in order: the first in any case, later ones as long as the context has room.
    pub(super) fn turns<'s>(&'s self, workload: &'s Synthetic) -> impl Iterator<Item = Turn> + 's {
        let mut content = Draw::new(self.content, 5);
        let mut pauses = self.caller.clone();
        let turns = workload.turns.whole(&mut content);
        let (mut context, mut after) = (workload.prefix_tokens, 0.0);
        (0..turns).map_while(move |turn| {
            let prompt = context + u64::from(workload.prompt.whole(&mut content));
            let output_tokens = workload.output.whole(&mut content);
            after += if turn == 0 { 0.0 } else { workload.think_s.draw(&mut pauses) };
            context = prompt + u64::from(output_tokens);
            let fits = turn == 0 || context <= workload.max_context;
            // The longest prefix and the longest prompt together are far from filling 32 bits.
            fits.then_some(Turn { after, prompt_tokens: prompt as u32, output_tokens })
        })
    }

    /// The id of the block that begins `index` blocks after the beginning.
    pub(super) fn block(&self, workload: &Synthetic, index: u64) -> u64 {
        let is_shared = (index + 1) * workload.block_tokens <= workload.prefix_tokens;
        mix(if is_shared { self.group } else { self.content }, index)
    }
}
