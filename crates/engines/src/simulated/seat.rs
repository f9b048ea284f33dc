use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use plimsoll_batching::step::Refusal;
use plimsoll_types::{Clock, Instant};

use super::gpu::{Gpu, Received, Ticket, Work, Written};

/// A request's place on a GPU. Dropping it frees the GPU at once, whatever was under way.
pub(super) struct Seat {
    gpu: Arc<Gpu>,
    clock: Arc<dyn Clock>,
    ticket: Ticket,
}

impl Seat {
    /// A request is on its way to `gpu` and will be there at `arrives`.
    pub(super) fn take(
        gpu: &Arc<Gpu>,
        clock: &Arc<dyn Clock>,
        work: Work,
        arrives: Instant,
    ) -> Result<Self, Refusal> {
        let ticket = gpu.enter(work, arrives)?;
        Ok(Self { gpu: Arc::clone(gpu), clock: Arc::clone(clock), ticket })
    }

    /// What was written next, as in [`Gpu::receive`].
    pub(super) fn receive(
        &self,
        one_way: Duration,
        written: &mut Written,
        waker: &Waker,
    ) -> Result<Received, Instant> {
        self.gpu.receive(self.ticket, (self.clock.now(), one_way), written, waker)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.gpu.leave(self.ticket, self.clock.now());
    }
}
