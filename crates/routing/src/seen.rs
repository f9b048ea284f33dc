//! What whoever watches a backend has seen of it last: for operators, and for nothing that is decided here.

use std::sync::{Mutex, MutexGuard, PoisonError};

use plimsoll_types::Instant;

/// The last that was seen of one backend.
#[derive(Debug, Default)]
pub struct Seen {
    probe: Mutex<Option<(Instant, Probed)>>,
    report: Mutex<Option<Reporting>>,
}

/// What a probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probed {
    /// In a word, as metrics count it.
    pub outcome: &'static str,
    /// In a sentence, which names nobody.
    pub why: &'static str,
}

/// Who says how loaded it is, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reporting {
    /// The engine whose names it uses.
    pub engine: &'static str,
    /// Whether it was asked for that, or said so with an answer.
    pub by: &'static str,
}

impl Seen {
    /// A probe found this.
    pub fn probed(&self, now: Instant, found: Probed) {
        *locked(&self.probe) = Some((now, found));
    }

    /// It said how loaded it is.
    pub fn reports(&self, reporting: Reporting) {
        *locked(&self.report) = Some(reporting);
    }

    /// What the last probe found, and when.
    #[must_use]
    pub fn last_probe(&self) -> Option<(Instant, Probed)> {
        *locked(&self.probe)
    }

    /// Who said last how loaded it is.
    #[must_use]
    pub fn reporting(&self) -> Option<Reporting> {
        *locked(&self.report)
    }
}

/// Nothing between lock and unlock can leave it half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
