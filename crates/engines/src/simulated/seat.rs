use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use plimsoll_types::{Clock, Instant};

use super::gpu::{Decoding, Gpu, Prefilled, Ticket, Work};

/// A request's place on a GPU. Dropping it frees the GPU at once, whatever was under way.
pub(super) struct Seat {
    gpu: Arc<Gpu>,
    clock: Arc<dyn Clock>,
    ticket: Ticket,
    sequences: u32,
    share: Decoding,
}

impl Seat {
    /// A request arrives at `gpu` at `now`.
    pub(super) fn take(gpu: &Arc<Gpu>, clock: &Arc<dyn Clock>, work: Work, now: Instant) -> Self {
        let (sequences, share) = (work.sequences, Decoding::default());
        let ticket = gpu.enter(work, now);
        Self { gpu: Arc::clone(gpu), clock: Arc::clone(clock), ticket, sequences, share }
    }

    /// When the prefill ends, as in [`Gpu::prefilled`].
    pub(super) fn prefilled(&self, waker: &Waker) -> Option<Prefilled> {
        self.gpu.prefilled(self.ticket, waker)
    }

    /// Tokens were written, and `share` is what goes on. Gives how long the next step takes.
    pub(super) fn step(&mut self, share: Decoding) -> Duration {
        let before = std::mem::replace(&mut self.share, share);
        if before == Decoding::default() {
            self.gpu.decode(self.ticket, share)
        } else {
            self.gpu.step(before, share)
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.gpu.leave(self.ticket, self.sequences, self.share, self.clock.now());
    }
}
