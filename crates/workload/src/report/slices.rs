//! A run cut into slices of equal time: what a timeline shows and what `compare` draws again from.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Outcome, Record, Slo, figures::nanoseconds, histogram::Dense, histogram::Sparse};

/// Slices while requests arrive.
const SLICES: u32 = 40;

/// Slices at most, with those after the last arrival; what ends later counts in the last.
const AT_MOST: usize = 80;

/// The shortest slice.
const SHORTEST: Duration = Duration::from_millis(1);

/// One slice of time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// When it begins.
    pub begin_seconds: f64,
    /// How long it is: the same for all but the last.
    pub seconds: f64,
    /// Requests that were due in it.
    pub arrivals: u64,
    /// Of these, how many met the SLO.
    pub met_slo: u64,
    /// Of these, how many never got a full answer.
    pub lost: u64,
    /// Requests whose full answer ended in it.
    pub completions: u64,
    /// Requests that ended in it without a full answer.
    pub failures: u64,
    /// Tokens that came in it, spread evenly from the first token of an answer to its end.
    pub output_tokens: f64,
    /// Requests sent and not over, in the mean of the slice.
    pub in_flight: f64,
    /// Times to the first token, of requests due in it.
    pub ttft: Sparse,
    /// Gaps between tokens that ended in it.
    pub itl: Sparse,
    /// Times per token after the first, of requests due in it.
    pub tpot: Sparse,
    /// Times from due to the end, of requests due in it.
    pub e2e: Sparse,
}

/// Where the slices lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ruler {
    width: Duration,
    width_nanoseconds: u64,
}

impl Ruler {
    /// Cuts a run whose arrivals last for `duration`.
    pub(super) fn new(duration: Duration) -> Self {
        // One nanosecond more, so that the arrival at the very end of `duration` needs no slice of its own.
        let width = (duration / SLICES + Duration::from_nanos(1)).max(SHORTEST);
        Self { width, width_nanoseconds: nanoseconds(width) }
    }

    /// How many slices there may be.
    pub(super) const fn capacity() -> usize {
        AT_MOST
    }

    /// The slice that `at` lies in.
    pub(super) fn slice(&self, at: Duration) -> usize {
        let nanoseconds =
            at.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(at.subsec_nanos()));
        (nanoseconds / self.width_nanoseconds).min(AT_MOST as u64 - 1) as usize
    }

    /// The edges of `slice` in a run that ends at `end`.
    fn edges(&self, slice: usize, end: Duration) -> (Duration, Duration) {
        let begin = self.width * slice as u32;
        let full = begin + self.width;
        (begin, if slice + 1 == AT_MOST { full.max(end + Duration::from_nanos(1)) } else { full })
    }

    /// The slices of a run in which `records` happened and `gaps`, one histogram for each slice, were seen.
    pub(super) fn cut(&self, records: &[Record], gaps: &[Dense], slo: &Slo) -> Vec<Slice> {
        let end = records.iter().map(|record| record.end).max().unwrap_or_default();
        let last_gap = gaps.iter().rposition(|gaps| !gaps.is_empty()).unwrap_or(0);
        let count = self.slice(end).max(last_gap) + 1;
        let mut drafts: Vec<Draft> = (0..count).map(|slice| Draft::new(self.edges(slice, end))).collect();
        for record in records {
            self.count(&mut drafts, record, slo);
        }
        drafts.into_iter().zip(gaps).map(|(draft, gaps)| draft.finish(gaps)).collect()
    }

    fn count(&self, drafts: &mut [Draft], record: &Record, slo: &Slo) {
        let whole = record.outcome == Outcome::Ok;
        let last = drafts.len() - 1;
        let due = &mut drafts[self.slice(record.due).min(last)];
        due.slice.arrivals += 1;
        due.slice.met_slo += u64::from(record.meets(slo));
        due.slice.lost += u64::from(!whole);
        record.ttft().into_iter().for_each(|time| due.ttft.add(time, 1));
        record.tpot().into_iter().for_each(|time| due.tpot.add(time, 1));
        record.e2e().into_iter().for_each(|time| due.e2e.add(time, 1));
        let ended = self.slice(record.end);
        drafts[ended].slice.completions += u64::from(whole);
        drafts[ended].slice.failures += u64::from(!whole);
        for draft in &mut drafts[self.slice(record.sent).min(ended)..=ended] {
            let inside = record.end.min(draft.end).saturating_sub(record.sent.max(draft.begin));
            draft.slice.in_flight += inside.as_secs_f64();
            draft.slice.output_tokens += record.tokens_within(draft.begin, draft.end);
        }
    }

    /// How many of `records` were sent to each of `backends` in each of `slices`.
    pub(super) fn load(&self, records: &[Record], backends: usize, slices: usize) -> Vec<Vec<u64>> {
        let mut load = vec![vec![0; slices]; backends];
        for record in records {
            let row = record.backend.and_then(|backend| load.get_mut(usize::from(backend)));
            if let Some(count) = row.and_then(|row| row.get_mut(self.slice(record.sent))) {
                *count += 1;
            }
        }
        load
    }
}

/// A slice that is being counted.
struct Draft {
    begin: Duration,
    end: Duration,
    slice: Slice,
    ttft: Dense,
    tpot: Dense,
    e2e: Dense,
}

impl Draft {
    fn new((begin, end): (Duration, Duration)) -> Self {
        let seconds = (end - begin).as_secs_f64();
        let slice = Slice { begin_seconds: begin.as_secs_f64(), seconds, ..Slice::default() };
        Self { begin, end, slice, ttft: Dense::default(), tpot: Dense::default(), e2e: Dense::default() }
    }

    fn finish(self, gaps: &Dense) -> Slice {
        Slice {
            in_flight: self.slice.in_flight / self.slice.seconds,
            ttft: self.ttft.sparse(),
            itl: gaps.sparse(),
            tpot: self.tpot.sparse(),
            e2e: self.e2e.sparse(),
            ..self.slice
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{answered, ms};
    use super::*;

    const SLO: Slo = Slo { ttft_seconds: 1.0, tpot_seconds: 1.0 };

    fn cut(records: &[Record]) -> Vec<Slice> {
        let gaps = vec![Dense::default(); Ruler::capacity()];
        Ruler::new(ms(4_000)).cut(records, &gaps, &SLO)
    }

    #[test]
    fn a_request_arrives_in_one_slice_and_ends_in_another() {
        let slices = cut(&[answered(ms(50), ms(100), ms(460), 11)]);
        assert_eq!(slices.len(), 6);
        assert_eq!((slices[0].arrivals, slices[0].completions), (1, 0));
        assert_eq!((slices[5].arrivals, slices[5].completions), (0, 1));
        assert_eq!(slices[0].ttft.count, 1);
        let in_flight: Vec<f64> =
            slices.iter().map(|slice| (slice.in_flight * 10.0).round() / 10.0).collect();
        assert_eq!(in_flight, [0.5, 1.0, 1.0, 1.0, 1.0, 0.1]);
    }

    #[test]
    fn the_last_arrival_lies_in_the_last_slice_of_the_arrivals() {
        for duration in [ms(4_000), Duration::from_nanos(123_456_789_123)] {
            assert_eq!(Ruler::new(duration).slice(duration), SLICES as usize - 1);
        }
    }

    #[test]
    fn tokens_are_spread_from_the_first_to_the_end() {
        let slices = cut(&[answered(ms(0), ms(100), ms(300), 20)]);
        let tokens: Vec<f64> = slices.iter().map(|slice| slice.output_tokens.round()).collect();
        assert_eq!(tokens, [0.0, 10.0, 10.0]);
    }

    #[test]
    fn what_ends_long_after_the_last_arrival_counts_in_a_longer_last_slice() {
        let slices = cut(&[answered(ms(0), ms(100), ms(60_000), 1_000)]);
        assert_eq!(slices.len(), Ruler::capacity());
        let last = slices.last().unwrap();
        assert_eq!(last.completions, 1);
        assert!(last.seconds > 50.0 && (last.in_flight - 1.0).abs() < 1e-6);
        let tokens: f64 = slices.iter().map(|slice| slice.output_tokens).sum();
        assert!((tokens - 1_000.0).abs() < 1e-6);
    }
}
