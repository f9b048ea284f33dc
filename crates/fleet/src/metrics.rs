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
    pub(crate) spared: Counter,
}

/// Handles of what one backend says along with answers.
pub(crate) struct Reports {
    pub(crate) ok: Counter,
    pub(crate) unknown: Counter,
    pub(crate) malformed: Counter,
}

impl Reports {
    pub(crate) fn new(backend: &str) -> Self {
        let of = |outcome| catalog::LOAD_REPORTS.counter(&[backend, outcome]);
        Self { ok: of("ok"), unknown: of("unknown"), malformed: of("malformed") }
    }
}

/// Handles of one backend's KV events.
pub(crate) struct Events {
    pub(crate) taken: Counter,
    pub(crate) lost: Counter,
    pub(crate) malformed: Counter,
}

impl Events {
    pub(crate) fn new(backend: &str) -> Self {
        let of = |outcome| catalog::KV_EVENTS.counter(&[backend, outcome]);
        Self { taken: of("taken"), lost: of("lost"), malformed: of("malformed") }
    }
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
        Self {
            ok: of("ok"),
            unknown: of("unknown"),
            none: of("none"),
            failed: of("failed"),
            spared: of("spared"),
        }
    }
}
