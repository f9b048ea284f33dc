//! Collects what happens in a run.
//!
//! Hot path: [`Recorder::gap`] is called for every token; one division, one addition, and no allocation: the counts are
//! boxed slices, which cannot grow.

use std::time::Duration;

use super::histogram::{Dense, Sparse};
use super::{About, BackendLoad, Figures, Fleet, Group, Record, Report, Spread, VERSION, slices::Ruler};

/// A run whose arrivals last less than this is one burst: its rates count to its end.
const BURST: Duration = Duration::from_secs(1);

/// Collects what happens in a run.
#[derive(Debug)]
pub struct Recorder {
    duration: Duration,
    ruler: Ruler,
    gaps: Vec<Dense>,
    records: Vec<Record>,
}

impl Recorder {
    /// For a run whose arrivals last for `duration`.
    #[must_use]
    pub fn new(duration: Duration) -> Self {
        let gaps = vec![Dense::default(); Ruler::capacity()];
        Self { duration, ruler: Ruler::new(duration), gaps, records: Vec::new() }
    }

    /// A gap between two tokens of one stream, which ended at `at`.
    pub fn gap(&mut self, at: Duration, gap: Duration) {
        self.gaps(at, gap, 1);
    }

    /// The same for `count` gaps.
    pub fn gaps(&mut self, at: Duration, gap: Duration, count: u64) {
        self.gaps[self.ruler.slice(at)].add(gap, count);
    }

    /// A request is over.
    pub fn record(&mut self, record: &Record) {
        self.records.push(*record);
    }

    /// The requests that are over, in the order of their ends.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The run was stopped at `at`: rates count until then, if arrivals should have lasted longer.
    pub fn stop(&mut self, at: Duration) {
        self.duration = self.duration.min(at);
    }

    /// The report of the run.
    #[must_use]
    pub fn finish(self, about: About) -> Report {
        let end = self.records.iter().map(|record| record.end).max().unwrap_or_default();
        let window = if self.duration < BURST { end } else { self.duration };
        let slices = self.ruler.cut(&self.records, &self.gaps, &about.slo);
        let mut total = Figures::of(self.records.iter(), &about.slo, window);
        total.itl = Spread::of_histogram(&Sparse::merge(slices.iter().map(|slice| &slice.itl)));
        let by = |names: &[String], of: fn(&Record) -> Option<u16>| self.groups(names, of, &about, window);
        Report {
            version: VERSION,
            kind: about.kind,
            rate_seconds: window.as_secs_f64(),
            elapsed_seconds: end.as_secs_f64(),
            total,
            by_model: by(&about.models, |record| Some(record.model)),
            by_tenant: by(&about.tenants, |record| Some(record.tenant)),
            by_region: by(&about.regions, |record| Some(record.region)),
            by_backend: by(&about.backends, |record| record.backend),
            load: self.load(&about.backends, slices.len()),
            slices,
            fleet: Fleet::of(&about.fleet),
            name: about.name,
            target: about.target,
            policy: about.policy,
            seed: about.seed,
            slo: about.slo,
            notes: about.notes,
        }
    }

    /// The figures of each group that has requests, where there is more than one such group.
    fn groups(
        &self,
        names: &[String],
        of: fn(&Record) -> Option<u16>,
        about: &About,
        window: Duration,
    ) -> Vec<Group> {
        let mut counts = vec![0_usize; usize::from(u16::MAX) + 1];
        self.records.iter().filter_map(of).for_each(|group| counts[usize::from(group)] += 1);
        let groups: Vec<u16> = (0..=u16::MAX).filter(|group| counts[usize::from(*group)] > 0).collect();
        if groups.len() < 2 {
            return Vec::new();
        }
        let mut members: Vec<Vec<u32>> = counts.into_iter().map(Vec::with_capacity).collect();
        for (number, record) in self.records.iter().enumerate() {
            of(record).into_iter().for_each(|group| members[usize::from(group)].push(number as u32));
        }
        let figures = |group: u16| {
            let those = members[usize::from(group)].iter().map(|number| &self.records[*number as usize]);
            Group { name: name(names, group), figures: Figures::of(those, &about.slo, window) }
        };
        groups.into_iter().map(figures).collect()
    }

    fn load(&self, backends: &[String], slices: usize) -> Vec<BackendLoad> {
        let told = self.records.iter().any(|record| record.backend.is_some());
        let rows = self.ruler.load(&self.records, if told { backends.len() } else { 0 }, slices);
        let named = backends.iter().zip(rows);
        named.map(|(name, requests)| BackendLoad { name: name.clone(), requests }).collect()
    }
}

/// The name that `number` stands for, or the number itself where there is no name.
pub(super) fn name(names: &[String], number: u16) -> String {
    match names.get(usize::from(number)) {
        Some(name) if !name.is_empty() => name.clone(),
        _ => format!("#{number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{Sample, answered, ms};
    use super::super::{ReadError, Report};
    use super::*;

    #[test]
    fn the_same_records_give_the_same_bytes() {
        assert_eq!(Sample::default().report().json(), Sample::default().report().json());
    }

    #[test]
    fn a_report_survives_the_way_through_json() {
        let report = Sample::default().report();
        let read = Report::from_json(&report.json()).unwrap();
        assert_eq!(read.text(), report.text());
        assert_eq!(read.slices.len(), report.slices.len());
        assert_eq!(read.slices[7].ttft.buckets, report.slices[7].ttft.buckets);
        assert_eq!(
            read.fleet.map(|fleet| fleet.total.requests),
            report.fleet.map(|fleet| fleet.total.requests)
        );
    }

    #[test]
    fn a_report_of_another_version_is_refused_by_its_number() {
        let error = Report::from_json("{\"version\":7}").unwrap_err();
        assert!(matches!(error, ReadError::Version(7)), "{error}");
        assert!(matches!(Report::from_json("{}"), Err(ReadError::Json(_))));
    }

    #[test]
    fn groups_and_slices_sum_up_to_the_whole() {
        let report = Sample::default().report();
        for groups in [&report.by_model, &report.by_tenant, &report.by_region, &report.by_backend] {
            assert_eq!(groups.iter().map(|group| group.figures.requests).sum::<u64>(), report.total.requests);
        }
        let slices = &report.slices;
        assert_eq!(slices.iter().map(|slice| slice.arrivals).sum::<u64>(), report.total.requests);
        assert_eq!(slices.iter().map(|slice| slice.met_slo).sum::<u64>(), report.total.met_slo);
        assert_eq!(slices.iter().map(|slice| slice.lost).sum::<u64>(), report.total.failures());
        assert_eq!(slices.iter().map(|slice| slice.itl.count).sum::<u64>(), report.total.itl.count);
        let sent: u64 = report.load.iter().flat_map(|backend| &backend.requests).sum();
        assert_eq!(sent, report.total.requests);
    }

    #[test]
    fn one_model_is_no_group() {
        let mut recorder = Recorder::new(ms(1_000));
        recorder.record(&answered(ms(0), ms(10), ms(20), 2));
        let report =
            recorder.finish(About { models: vec!["one".to_owned(), "two".to_owned()], ..About::default() });
        assert!(report.by_model.is_empty() && report.by_backend.is_empty());
    }

    #[test]
    fn a_run_in_which_nothing_happened_has_a_report() {
        let report = Recorder::new(Duration::ZERO).finish(About::default());
        assert_eq!((report.total.requests, report.total.goodput, report.slices.len()), (0, 0.0, 1));
        assert!(!report.text().contains("NaN"));
    }

    #[test]
    fn a_run_that_was_stopped_counts_its_rates_until_then() {
        let mut recorder = Recorder::new(ms(60_000));
        (0..10).for_each(|_| recorder.record(&answered(ms(0), ms(10), ms(2_000), 2)));
        recorder.stop(ms(2_000));
        recorder.stop(ms(90_000));
        assert_eq!(recorder.finish(About::default()).total.requests_per_second, 5.0);
    }

    #[test]
    fn a_burst_counts_its_rates_to_its_end() {
        let mut recorder = Recorder::new(Duration::ZERO);
        (0..10).for_each(|_| recorder.record(&answered(ms(0), ms(10), ms(2_000), 2)));
        assert_eq!(recorder.finish(About::default()).total.requests_per_second, 5.0);
    }
}
