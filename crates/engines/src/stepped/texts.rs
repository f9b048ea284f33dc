use std::collections::VecDeque;
use std::sync::Arc;

use plimsoll_batching::step::Limits;

use super::mailbox::Post;
use crate::Failure;
use crate::executor::{Executor, Failed};

/// Texts that are to be made vectors of, in the order in which they came. They are read whole and between steps, as many at a
/// time as a step would have room for.
#[derive(Default)]
pub(super) struct Texts {
    waiting: VecDeque<Waiting>,
    /// Of the texts that were read together.
    vectors: Vec<f32>,
}

/// The texts of one request.
struct Waiting {
    post: Arc<Post>,
    texts: Vec<Vec<u32>>,
    /// How many have been read.
    read: usize,
}

impl Texts {
    pub(super) fn push(&mut self, post: Arc<Post>, texts: Vec<Vec<u32>>) {
        self.waiting.push_back(Waiting { post, texts, read: 0 });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Has the next ones read, which become vectors of so many numbers.
    pub(super) fn read(
        &mut self,
        executor: &mut dyn Executor,
        (limits, numbers): (&Limits, usize),
    ) -> Result<(), Failed> {
        self.waiting.retain(|waiting| !waiting.post.is_left());
        let batch = next(&self.waiting, limits);
        if batch.is_empty() {
            return Ok(());
        }
        self.vectors.clear();
        executor.embed(&batch, &mut self.vectors)?;
        if self.vectors.len() != batch.len() * numbers {
            return Err(Failed("the executor made other vectors than were asked of it"));
        }
        for vector in self.vectors.chunks_exact(numbers) {
            let Some(first) = self.waiting.front_mut() else { break };
            first.post.embed(vector);
            first.read += 1;
            if first.read == first.texts.len() {
                self.waiting.pop_front();
            }
        }
        Ok(())
    }

    /// Nobody is read any more.
    pub(super) fn fail(&mut self, failure: Failure) {
        self.waiting.drain(..).for_each(|waiting| waiting.post.fail(failure));
    }
}

/// Who waits longest, and who fits beside him.
fn next<'a>(waiting: &'a VecDeque<Waiting>, limits: &Limits) -> Vec<&'a [u32]> {
    let mut left = limits.step_tokens as usize;
    let texts = waiting.iter().flat_map(|waiting| &waiting.texts[waiting.read..]);
    let fits = |text: &&Vec<u32>| {
        let fits = text.len() <= left;
        left = left.saturating_sub(text.len());
        fits
    };
    texts.take_while(fits).take(limits.sequences as usize).map(Vec::as_slice).collect()
}
