use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use plimsoll_batching::step::SequenceId;

use super::mailbox::Post;
use super::text::Text;
use crate::executor::{Number, Output, Sampling, Token};
use crate::simulated::text::End;

/// One answer being written, as the thread of an executor knows it.
pub(super) struct Sequence {
    pub(super) id: SequenceId,
    pub(super) number: Number,
    /// The prompt and what was written so far: after a preemption it is all read again.
    pub(super) tokens: Vec<u32>,
    /// Tokens of the prompt.
    pub(super) prompt: usize,
    pub(super) sampling: Sampling,
    pub(super) post: Arc<Post>,
    pub(super) choice: u32,
    pub(super) text: Text,
    /// Whether it has been let in before.
    pub(super) begun: bool,
}

impl Sequence {
    pub(super) fn has_written_nothing(&self) -> bool {
        self.tokens.len() == self.prompt
    }

    /// Takes in the token that was written, the `last` that may be; gives how it ended, if it did.
    pub(super) fn write(&mut self, token: &Token, output: &Output, last: bool) -> Option<End> {
        self.tokens.push(token.id);
        let said_all = token.end && !self.sampling.endless;
        let text = &mut self.text;
        let tells = self.sampling.likely.is_some();
        self.post.write(self.choice, |mail| {
            let out = &mut mail.text;
            if tells {
                mail.likely.push(output.likely(token));
            }
            if let Some(index) = text.push(output.text(token), out) {
                return Some(End::Stop(index));
            }
            let end = if said_all { Some(End::Natural) } else { last.then_some(End::Length) };
            if end.is_some() {
                text.finish(out);
            }
            end
        })
    }
}

/// Names blocks of tokens by all that stands in them and before them. The key is drawn for each process, so that
/// nobody can write a prompt whose blocks bear the names of another's.
#[derive(Default)]
pub(super) struct Names {
    key: RandomState,
}

impl Names {
    /// The name of each full block of `tokens`.
    pub(super) fn of(&self, tokens: &[u32], block_tokens: u32) -> Vec<u64> {
        let blocks = tokens.chunks_exact(block_tokens.max(1) as usize);
        blocks
            .scan(0, |before, block| {
                *before = self.key.hash_one((*before, block));
                Some(*before)
            })
            .collect()
    }
}
