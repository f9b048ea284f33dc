//! What was sent where, for other gateways that ask.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use plimsoll_types::Instant;

/// Prompts that were sent to backends, as many of the last ones as there is room for.
///
/// Nothing is kept as long as nobody asks. Keeping costs a copy of the hashes of a prompt under a lock, and no allocation.
#[derive(Debug)]
pub struct Journal {
    /// Numbers that it has room for.
    room: usize,
    /// Nanoseconds until when somebody is expected to ask again; 0 before the first.
    until: AtomicU64,
    kept: Mutex<Kept>,
}

/// Numbers in a ring: of each prompt the slot of its backend and how many hashes follow, and the hashes.
#[derive(Debug, Default)]
struct Kept {
    ring: Box<[u64]>,
    /// Numbers that were ever kept, and where the oldest prompt begins that still is.
    end: u64,
    oldest: u64,
}

/// Who has not asked for so long will not ask again.
const ASKED: Duration = Duration::from_secs(60);
/// Hashes of one prompt that are told in the most: 500,000 tokens.
const MOST: usize = 4_096;

/// Prompts that were sent, and where to go on.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// The slot of the backend and what the prompt begins with.
    pub prompts: Vec<(usize, Vec<u64>)>,
    /// What to ask with for those that come next.
    pub next: u64,
}

impl Journal {
    /// A journal with room for so many numbers of eight bytes, which it takes when somebody asks.
    #[must_use]
    pub fn new(room: usize) -> Self {
        Self { room, until: AtomicU64::new(0), kept: Mutex::default() }
    }

    /// A prompt that begins with `blocks` was sent to the backend in `slot`. Hot path.
    pub(crate) fn sent(&self, slot: usize, blocks: &[u64], now: Instant) {
        if now.as_nanos() < self.until.load(Relaxed) {
            self.kept().keep(slot, &blocks[..blocks.len().min(MOST).min(self.room / 4)]);
        }
    }

    /// What was sent since the place in the journal that was given last time, or all that is kept.
    pub fn read(&self, since: Option<u64>, now: Instant) -> Sent {
        self.until.store((now + ASKED).as_nanos(), Relaxed);
        let mut kept = self.kept();
        if kept.ring.is_empty() {
            kept.ring = vec![0; self.room].into();
        }
        kept.since(since)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Kept {
    fn at(&self, place: u64) -> u64 {
        self.ring[(place % self.ring.len() as u64) as usize]
    }

    fn put(&mut self, number: u64) {
        let place = (self.end % self.ring.len() as u64) as usize;
        self.ring[place] = number;
        self.end += 1;
    }

    fn keep(&mut self, slot: usize, blocks: &[u64]) {
        let room = self.ring.len() as u64;
        while self.end + blocks.len() as u64 + 1 > self.oldest + room {
            self.oldest += 1 + (self.at(self.oldest) & u64::from(u32::MAX));
        }
        self.put((slot as u64) << 32 | blocks.len() as u64);
        blocks.iter().for_each(|hash| self.put(*hash));
    }

    fn since(&self, since: Option<u64>) -> Sent {
        let mut place = since.filter(|since| (self.oldest..=self.end).contains(since)).unwrap_or(self.oldest);
        let mut prompts = Vec::new();
        while place < self.end {
            let (slot, blocks) = ((self.at(place) >> 32) as usize, self.at(place) & u64::from(u32::MAX));
            prompts.push((slot, (place + 1..=place + blocks).map(|place| self.at(place)).collect()));
            place += 1 + blocks;
        }
        Sent { prompts, next: self.end }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_kept_until_somebody_asks_and_when_nobody_asks_any_more() {
        let at = |seconds: u64| Instant::ORIGIN + Duration::from_secs(seconds);
        let journal = Journal::new(100);
        journal.sent(1, &[7], at(1));
        assert_eq!(journal.read(None, at(2)), Sent::default());
        journal.sent(1, &[8, 9], at(3));
        let first = journal.read(Some(0), at(4));
        assert_eq!(first.prompts, [(1, vec![8, 9])]);
        journal.sent(2, &[], at(5));
        assert_eq!(journal.read(Some(first.next), at(6)).prompts, [(2, vec![])]);
        journal.sent(1, &[10], at(200));
        assert_eq!(journal.read(None, at(201)).prompts.len(), 2);
    }

    proptest! {
        #[test]
        fn who_asks_often_gets_everything_once_and_who_comes_late_the_last_ones(
            steps in proptest::collection::vec((0_usize..9, 0_usize..30, any::<bool>()), 1..200),
        ) {
            let journal = Journal::new(64);
            let (mut sent, mut asked) = (Vec::new(), 0);
            let mut next = journal.read(None, Instant::ORIGIN).next;
            for (slot, blocks, asks) in steps {
                let blocks: Vec<u64> = (0..blocks.min(16) as u64).map(|hash| hash * 1_000 + slot as u64).collect();
                journal.sent(slot, &blocks, Instant::ORIGIN);
                sent.push((slot, blocks));
                if asks {
                    let got = journal.read(Some(next), Instant::ORIGIN);
                    next = got.next;
                    // Of those that came since some may be gone; none comes twice, none in another order.
                    let since = &sent[asked..];
                    prop_assert!(!got.prompts.is_empty() && got.prompts.len() <= since.len());
                    prop_assert_eq!(&got.prompts[..], &since[since.len() - got.prompts.len()..]);
                    let numbers: usize = since.iter().map(|(_, blocks)| 1 + blocks.len()).sum();
                    prop_assert!(numbers > 64 || got.prompts.len() == since.len());
                    asked = sent.len();
                }
            }
            let all = journal.read(None, Instant::ORIGIN).prompts;
            prop_assert_eq!(&all[..], &sent[sent.len() - all.len()..]);
        }
    }
}
