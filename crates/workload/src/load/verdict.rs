//! Whether the generator itself was the bottleneck: figures that measure it and not the endpoint must say so.

use std::time::Duration;

use crate::report::Record;

/// The 99th percentile of lateness from which on the generator is not believed.
const LATE: Duration = Duration::from_millis(10);
/// The share of a core from which on a thread counts as saturated.
const BUSY: f64 = 0.9;

/// What must be said of the generator, if anything: how late it sent, in the time of the report, and how busy its
/// busiest thread was while it sent.
pub(super) fn of(records: &[Record], busiest: f64, max_in_flight: usize) -> Option<String> {
    let late = lateness(records)?;
    let mut causes = Vec::new();
    if late > LATE {
        let millis = late.as_secs_f64() * 1e3;
        causes.push(format!(
            "1 % of the requests left {millis:.1} ms late or more, which counts as their latency"
        ));
    }
    if busiest > BUSY {
        causes.push(format!(
            "a thread used {:.0} % of its core: use more --threads or less load",
            100.0 * busiest
        ));
    } else if late > LATE {
        causes.push(format!(
            "they waited for room among --max-in-flight {max_in_flight}, or this machine was busy"
        ));
    }
    (!causes.is_empty()).then(|| format!("the generator itself was a bottleneck: {}", causes.join("; ")))
}

/// The 99th percentile of how late requests were sent.
fn lateness(records: &[Record]) -> Option<Duration> {
    let mut late: Vec<Duration> =
        records.iter().map(|record| record.sent.saturating_sub(record.due)).collect();
    let last = late.len().checked_sub(1)?;
    let (_, p99, _) = late.select_nth_unstable(last * 99 / 100);
    Some(*p99)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Outcome;

    fn sent_late(millis: impl Iterator<Item = u64>) -> Vec<Record> {
        let record = |late| Record {
            request: 0,
            due: Duration::from_secs(1),
            sent: Duration::from_millis(1_000 + late),
            first_token: None,
            end: Duration::from_secs(2),
            outcome: Outcome::Ok,
            prompt_tokens: 1,
            cached_tokens: 0,
            output_tokens: 1,
            model: 0,
            tenant: 0,
            region: 0,
            backend: None,
        };
        millis.map(record).collect()
    }

    #[test]
    fn a_generator_in_time_is_not_mentioned() {
        assert_eq!(of(&[], 1.0, 10), None);
        assert_eq!(of(&sent_late((0..200).map(|n| u64::from(n == 7) * 500)), 0.5, 10), None);
    }

    #[test]
    fn a_generator_that_is_late_or_saturated_says_so_and_what_to_do() {
        let late = of(&sent_late(0..200), 0.5, 64).unwrap();
        assert!(late.contains("197.0 ms") && late.contains("--max-in-flight 64"), "{late}");
        let busy = of(&sent_late((0..200).map(|_| 0)), 0.97, 64).unwrap();
        assert!(busy.contains("97 % of its core") && !busy.contains("late"), "{busy}");
    }
}
