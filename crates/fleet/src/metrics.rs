use plimsoll_telemetry::{Counter, catalog};

/// Handles of one backend's probes.
pub(crate) struct Probes {
    pub(crate) alive: Counter,
    pub(crate) refused: Counter,
    pub(crate) failed: Counter,
    pub(crate) silent: Counter,
}

/// Handles of one backend's polls.
pub(crate) struct Polls {
    pub(crate) ok: Counter,
    pub(crate) unknown: Counter,
    pub(crate) none: Counter,
    pub(crate) failed: Counter,
}

impl Probes {
    pub(crate) fn new(backend: &str) -> Self {
        let of = |outcome| catalog::PROBES.counter(&[backend, outcome]);
        Self { alive: of("alive"), refused: of("refused"), failed: of("failed"), silent: of("silent") }
    }
}

impl Polls {
    pub(crate) fn new(backend: &str) -> Self {
        let of = |outcome| catalog::POLLS.counter(&[backend, outcome]);
        Self { ok: of("ok"), unknown: of("unknown"), none: of("none"), failed: of("failed") }
    }
}
