use std::cell::RefCell;
use std::time::Duration;

use plimsoll_types::Instant;

use crate::report::{Record, Recorder};

/// Where gaps and records of a run go.
pub(super) struct Gaps(RefCell<Recorder>);

impl Gaps {
    /// Nothing yet.
    pub(super) fn new(recorder: Recorder) -> Self {
        Self(RefCell::new(recorder))
    }

    /// So many gaps between tokens ended at `at`.
    pub(super) fn add(&self, at: Instant, gap: Duration, count: u64) {
        self.0.borrow_mut().gaps(at - Instant::ORIGIN, gap, count);
    }

    /// A request is over.
    pub(super) fn record(&self, record: &Record) {
        self.0.borrow_mut().record(record);
    }

    /// All that came.
    pub(super) fn take(&self) -> Recorder {
        self.0.replace(Recorder::new(Duration::ZERO))
    }
}
