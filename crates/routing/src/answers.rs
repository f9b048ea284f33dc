//! How long answers take until what a deadline is about: the first token of a stream, all of a whole answer.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use plimsoll_types::{Instant, Trust};

/// How far one observation moves the quantile of answers to their predictions.
const STEP: f32 = 0.05;
/// How long the last answer tells of the next.
const LASTS: Duration = Duration::from_secs(10);
/// Answers before anything is said.
const FEW: u32 = 8;

/// What was seen of the answers of one kind in one pool.
#[derive(Debug, Default)]
pub(crate) struct Answers(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// When the last answer came.
    at: Instant,
    /// How many times as long as predicted nine of ten take.
    times: f32,
    /// The same of one of ten.
    fastest: f32,
    count: u32,
    trust: Trust,
}

impl Answers {
    /// An answer took `took` seconds that was predicted to take `predicted` on an idle backend. True if that makes it news
    /// that predictions are off.
    pub(crate) fn answered(&self, now: Instant, predicted: f32, took: f32) -> bool {
        // Another core is at it, and has an answer that says as much.
        let Ok(mut seen) = self.0.try_lock() else { return false };
        seen.at = now;
        let times = (took / predicted.max(1e-4)).clamp(1e-3, 1e3);
        if seen.count == 0 {
            (seen.times, seen.fastest) = (times, times);
        }
        let expected = seen.times * predicted;
        let step = if times > seen.times { STEP * 0.9 } else { -STEP * 0.1 };
        seen.times *= 1.0 + step;
        let step = if times > seen.fastest { STEP * 0.1 } else { -STEP * 0.9 };
        seen.fastest *= 1.0 + step;
        seen.count = seen.count.saturating_add(1);
        seen.trust.compare(expected, took)
    }

    /// How long an answer takes that is predicted to take `predicted` seconds on an idle backend, by what nine of ten took;
    /// `None` as long as that was not confirmed, and once no answer has come for a while: what refuses requests must not keep
    /// away what would correct it.
    pub(crate) fn expected(&self, now: Instant, predicted: f32) -> Option<Duration> {
        let seen = self.seen();
        if now - seen.at > LASTS {
            return None;
        }
        let seconds = match seen.trust.observed() {
            Some(observed) => observed,
            None if seen.count >= FEW && seen.trust.is_believed() => seen.times * predicted,
            None => return None,
        };
        Duration::try_from_secs_f32(seconds).ok()
    }

    /// How long an answer takes at least, by what one of ten took; `None` as [`Self::expected`], and where predictions are not
    /// believed: what an idle backend may serve is refused only if it is hopeless.
    pub(crate) fn least(&self, now: Instant, predicted: f32) -> Option<Duration> {
        let seen = self.seen();
        let known = now - seen.at <= LASTS && seen.count >= FEW && seen.trust.is_believed();
        known.then(|| Duration::try_from_secs_f32(seen.fastest * predicted).ok())?
    }

    /// How many times as long as predicted answers take.
    pub(crate) fn error(&self) -> f32 {
        self.seen().trust.error()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // A few numbers, each of which is good by itself.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nine_of_ten_answers_keep_to_is_expected_once_it_was_seen_and_as_long_as_answers_come() {
        let (answers, now) = (Answers::default(), Instant::ORIGIN + Duration::from_secs(100));
        assert_eq!(answers.expected(now, 0.1), None);
        for number in 0..500 {
            answers.answered(now, 0.1, if number % 20 == 0 { 0.4 } else { 0.2 });
        }
        let expected = answers.expected(now, 0.1).unwrap().as_secs_f32();
        assert!((0.18..0.4).contains(&expected), "{expected}");
        assert!((0.36..0.8).contains(&answers.expected(now, 0.2).unwrap().as_secs_f32()));
        assert!(answers.least(now, 0.1).unwrap() <= Duration::from_millis(205));
        assert_eq!(answers.expected(now + Duration::from_secs(11), 0.1), None, "it would refuse for ever");
    }
}
