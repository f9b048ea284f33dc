//! What this gateway has sent to a backend and not got back. Hot path: no allocation, no lock, no await.

use std::time::Duration;

use plimsoll_types::Instant;

use crate::sync::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Own dispatches: counted the moment they leave, so that a burst does not follow a stale report to one backend.
/// Every core writes here.
#[derive(Debug, Default)]
pub struct Load {
    in_flight: AtomicU32,
    waiting: AtomicU32,
    queued_tokens: AtomicU64,
    queued_nanos: AtomicU64,
    context: AtomicU64,
    /// Nanoseconds when a token came, to within [`SEEN`].
    seen: AtomicU64,
    /// Nanoseconds that reading the prompts of the whole answers in flight was predicted to take.
    whole_nanos: AtomicU64,
    /// Nanoseconds when it is expected to have read those prompts.
    busy_until: AtomicU64,
}

/// How finely it is remembered when tokens came: a line that all cores read is not to be written for each token.
const SEEN: Duration = Duration::from_millis(100);

/// What one request adds to the load of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// Prompt tokens to read.
    pub(crate) tokens: u64,
    /// Nanoseconds that reading them is predicted to take.
    pub(crate) nanos: u64,
    /// Tokens of prompt and answer that memory will hold.
    pub(crate) context: u64,
}

impl Load {
    /// Requests not yet answered to the end.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Requests whose first token has come: those that decode.
    #[must_use]
    pub fn decoding(&self) -> u32 {
        // Two counters are not read at one instant.
        self.in_flight().saturating_sub(self.waiting.load(Relaxed))
    }

    /// Prompt tokens to read of requests whose first token has not come.
    #[must_use]
    pub fn queued_tokens(&self) -> u64 {
        self.queued_tokens.load(Relaxed)
    }

    /// Seconds that reading them is predicted to take, plus the rest of reading the prompts of whole answers.
    #[must_use]
    pub fn queued_seconds(&self, now: Instant) -> f32 {
        (self.queued_nanos.load(Relaxed) + self.whole_nanos_left(now)) as i64 as f32 * 1e-9
    }

    /// Nanoseconds of reading that remain of the prompts of whole answers: never more than the predictions of those in
    /// flight add up to.
    pub(crate) fn whole_nanos_left(&self, now: Instant) -> u64 {
        match self.busy_until.load(Relaxed).saturating_sub(now.as_nanos()) {
            // As a rule, and one look less.
            0 => 0,
            left => left.min(self.whole_nanos.load(Relaxed)),
        }
    }

    /// Requests whose prompt is still to be read, for all that is seen from here.
    #[must_use]
    pub fn unread(&self) -> u32 {
        self.waiting.load(Relaxed)
    }

    /// Tokens of prompts and expected answers of all that is in flight.
    #[must_use]
    pub fn context(&self) -> u64 {
        self.context.load(Relaxed)
    }

    /// Time since a token came; `None` before the first.
    #[must_use]
    pub fn since_token(&self, now: Instant) -> Option<Duration> {
        let seen = self.seen.load(Relaxed);
        (seen != 0).then(|| now - Instant::from_nanos(seen))
    }

    /// A token came.
    pub(crate) fn wrote(&self, now: Instant) {
        let (now, seen) = (now.as_nanos(), self.seen.load(Relaxed));
        if seen == 0 || now.saturating_sub(seen) > SEEN.as_nanos() as u64 {
            self.seen.store(now.max(1), Relaxed);
        }
    }

    /// Counts a request in whose first token will be seen.
    pub(crate) fn enter(&self, share: Share) {
        self.in_flight.fetch_add(1, Relaxed);
        self.waiting.fetch_add(1, Relaxed);
        self.queued_tokens.fetch_add(share.tokens, Relaxed);
        self.context.fetch_add(share.context, Relaxed);
        self.queued_nanos.fetch_add(share.nanos, Relaxed);
    }

    /// Counts in a request whose answer comes as a whole. The end of its prefill cannot be observed, so its prompt counts
    /// as read after the predicted time, or when the answer arrives if that is earlier.
    pub(crate) fn enter_whole(&self, share: Share, now: Instant) {
        self.in_flight.fetch_add(1, Relaxed);
        self.context.fetch_add(share.context, Relaxed);
        // What has ended takes its time with it: without this bound the sum of predictions would outlive the requests.
        let left = self.whole_nanos_left(now);
        self.whole_nanos.fetch_add(share.nanos, Relaxed);
        // Two cores that write at once lose one of two, which lasts no longer than the two requests.
        self.busy_until.store(now.as_nanos() + left + share.nanos, Relaxed);
    }

    /// The whole answer is there.
    pub(crate) fn whole_started(&self, share: Share) {
        self.whole_nanos.fetch_sub(share.nanos, Relaxed);
    }

    /// Its prompt has been read.
    pub(crate) fn started(&self, share: Share) {
        self.waiting.fetch_sub(1, Relaxed);
        self.queued_tokens.fetch_sub(share.tokens, Relaxed);
        self.queued_nanos.fetch_sub(share.nanos, Relaxed);
    }

    /// It is over; its prompt had been read.
    pub(crate) fn leave(&self, share: Share) {
        self.context.fetch_sub(share.context, Relaxed);
        self.in_flight.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_tokens_came_is_known_to_within_a_tenth_of_a_second() {
        let at = |millis: u64| Instant::ORIGIN + Duration::from_millis(millis);
        let load = Load::default();
        assert_eq!(load.since_token(at(900)), None);
        for millis in 1_000..1_250 {
            load.wrote(at(millis));
        }
        assert!(load.since_token(at(1_250)).unwrap() <= Duration::from_millis(101));
    }
}
