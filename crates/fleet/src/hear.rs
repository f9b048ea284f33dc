//! Hears what a backend says of its load along with answers, on whichever core they come.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use plimsoll_engines::orca::{Listen, Said};
use plimsoll_routing::{Backend, Report, Reporting};
use plimsoll_types::{Clock, Instant};

use crate::load::Table;
use crate::metrics::Reports;

/// What one backend says so.
pub(crate) struct Hearer {
    pub(crate) backend: Arc<Backend>,
    pub(crate) table: Arc<Table>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Reports,
    /// When it was last said, and what of a report.
    pub(crate) last: Last,
}

/// The last report on an answer. Two that come at once may be mixed up, and are as good as each other.
#[derive(Debug, Default)]
pub(crate) struct Last {
    /// Nanoseconds; 0 before the first.
    at: AtomicU64,
    signals: AtomicU8,
}

impl Listen for Hearer {
    fn heard(&self, said: Said<'_>) {
        let Ok(figures) = said.figures() else { return self.metrics.malformed.increment(1) };
        let Some(reading) = self.table.read_figures(&figures) else {
            return self.metrics.unknown.increment(1);
        };
        self.metrics.ok.increment(1);
        let now = self.clock.now();
        match said.over {
            true => self.backend.reported_at_end(now, &reading.report),
            false => self.backend.reported(now, &reading.report),
        }
        self.backend.seen.reports(Reporting { engine: reading.engine, by: "answer" });
        self.last.note(now, &reading.report);
    }
}

impl Last {
    fn note(&self, now: Instant, report: &Report) {
        self.signals.store(signals(report), Relaxed);
        self.at.store(now.as_nanos().max(1), Relaxed);
    }

    /// Whether it need not be asked at `now`, where it is asked `every` so often and `asked` is when that last gave what:
    /// answers have said since all that it would say, or so much that the rest has time until it would begin to fade.
    pub(crate) fn spares(&self, now: Instant, every: Duration, asked: Option<&(Instant, Report)>) -> bool {
        let (at, Some((polled_at, polled))) = (self.at.load(Relaxed), asked) else { return false };
        if at == 0 || now - Instant::from_nanos(at) >= every {
            return false;
        }
        let missing = signals(polled) & !self.signals.load(Relaxed);
        missing == 0 || now - *polled_at < Report::FRESH.saturating_sub(every)
    }
}

/// One bit for each thing that a report says.
fn signals(report: &Report) -> u8 {
    let said = [
        report.waiting.is_some(),
        report.running.is_some(),
        report.kv_used.is_some(),
        report.unread_tokens.is_some(),
    ];
    said.into_iter().enumerate().map(|(bit, said)| u8::from(said) << bit).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Names;
    use plimsoll_types::{BackendSpec, TokioClock};

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn report(waiting: Option<u32>, running: Option<u32>) -> Report {
        Report { waiting, running, ..Report::default() }
    }

    #[test]
    fn who_says_with_answers_all_that_a_poll_gives_is_not_polled() {
        let (last, polled) = (Last::default(), (at(0), report(Some(1), Some(2))));
        assert!(!last.spares(at(900), SECOND, Some(&polled)), "nothing was said yet");
        last.note(at(8_000), &report(Some(1), Some(2)));
        assert!(!last.spares(at(8_900), SECOND, None), "what a poll would give is not known");
        assert!(last.spares(at(8_999), SECOND, Some(&polled)), "however long ago that was");
        assert!(!last.spares(at(9_000), SECOND, Some(&polled)));
    }

    #[test]
    fn who_says_a_part_is_polled_before_the_rest_fades() {
        let (last, polled) = (Last::default(), (at(1_000), report(Some(1), Some(2))));
        last.note(at(1_900), &report(Some(1), None));
        assert!(last.spares(at(1_950), SECOND, Some(&polled)));
        last.note(at(2_500), &report(Some(1), None));
        assert!(
            !last.spares(at(2_600), SECOND, Some(&polled)),
            "at the next round it would be older than two seconds"
        );
        let often = Duration::from_millis(250);
        assert!(last.spares(at(2_600), often, Some(&polled)));
        assert!(
            !last.spares(at(2_749), often, Some(&polled)) || at(2_749) - at(1_000) < Report::FRESH - often
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_is_taken_with_the_age_of_its_own_and_without_the_request_that_it_came_with() {
        let backend =
            Arc::new(Backend::new(0, BackendSpec { name: "heard".into(), ..BackendSpec::default() }));
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::start());
        let hearer = Hearer {
            backend: Arc::clone(&backend),
            table: Arc::new(Table::new(&Names::default())),
            clock: Arc::clone(&clock),
            metrics: Reports::new("heard"),
            last: Last::default(),
        };
        let hear = |value| hearer.heard(Said { value, binary: false, over: true });
        hear("TEXT named_metrics.num_requests_waiting=3, named_metrics.kv_cache_usage_perc=0.5");
        tokio::time::advance(Duration::from_millis(500)).await;
        let now = clock.now();
        assert!((backend.report_age(now).unwrap() - 0.5).abs() < 5e-3);
        assert_eq!(backend.others(now), (3.0, 0.0, 0.5));
        for garbage in ["TEXT nonsense", "TEXT cpu_utilization=0.9", ""] {
            hear(garbage);
        }
        assert!((backend.report_age(now).unwrap() - 0.5).abs() < 5e-3, "garbage is no report");
    }
}
