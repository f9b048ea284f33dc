//! What backends say of themselves, as far as it is not known here already. Hot path: no allocation, no lock, no await.

use std::time::Duration;

use plimsoll_types::Instant;

use crate::aged::{Aged, kept};

/// What an engine reports of its load, from its metrics or from a header field of an answer. What it does not say is
/// `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Report {
    /// Requests that wait for their prompts to be read.
    pub waiting: Option<u32>,
    /// Tokens of prompts that are still to be read, of those that wait and of those that run.
    pub unread_tokens: Option<u64>,
    /// Requests that are being read or written.
    pub running: Option<u32>,
    /// The share of memory for keys and values that is in use, from 0 to 1.
    pub kv_used: Option<f32>,
}

impl Report {
    /// How long a report counts in full.
    pub const FRESH: Duration = Duration::from_secs(FRESH_SECONDS as u64);
}

/// How much a report moves what is thought to run there: gateways that all follow the last one do all the same.
const RUNNING_WEIGHT: f32 = 0.3;
/// How much a report moves the mean share of others.
const SHARE_WEIGHT: f32 = 0.02;
/// Seconds without a report after which nothing is known of others.
const SHARE_SECONDS: f32 = 60.0;
/// Seconds after which a report begins to fade; polls come more often than that.
const FRESH_SECONDS: f32 = 2.0;
/// Seconds over which it fades then.
const FADE_SECONDS: f32 = 3.0;

/// The load of a backend that others put on it.
///
/// A report counts what this gateway sent too, and that is known here, exactly and at once. So what is kept of a report is
/// what is beyond it: the requests of other gateways and of callers that pass by. Nothing is counted twice, own dispatches
/// since the report count at once, and a report that is old or missing leaves the own counts.
///
/// What a pick reads stands first.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Others {
    waiting: Aged,
    unread: Aged,
    running: Aged,
    kv_used: Aged,
    /// Requests there in the mean, and how many of them this gateway sent.
    all: Aged,
    own: Aged,
    /// Requests that ran when that was last said, whose ever they were.
    ran: Aged,
}

impl Others {
    /// Bytes of what a pick reads.
    #[cfg(not(feature = "shuttle"))]
    pub(crate) const HOT: usize = std::mem::offset_of!(Self, all);

    /// A report came, while `own` requests of this gateway were in flight there, with so many tokens to be read.
    pub(crate) fn reported(&self, now: Instant, report: &Report, (own, own_tokens): (u32, u64)) {
        if let Some(unread) = report.unread_tokens {
            self.have_unread(now, unread.saturating_sub(own_tokens));
        }
        // Own requests are taken to be those that run, as far as it is said how many do: what is not said stays as it was.
        // Reports that come with answers say as a rule how many wait and not how many run: those that ran a moment ago do.
        let running = report.running.unwrap_or_else(|| self.ran_lately(now));
        let all = report.waiting.unwrap_or(0) + running;
        let others = all.saturating_sub(own);
        let wait = others.min(report.waiting.unwrap_or(0));
        if report.waiting.is_some() && report.running.is_some() {
            self.all.update(now, |before| mean(before, all));
            self.own.update(now, |before| mean(before, own));
        }
        if report.waiting.is_some() {
            self.waiting.update(now, |_| wait as f32);
        }
        if report.running.is_some() {
            self.ran.update(now, |_| running as f32);
            let running = (others - wait) as f32;
            self.running.update(now, |before| match before {
                Some((mean, age)) if age < FRESH_SECONDS => mean + (running - mean) * RUNNING_WEIGHT,
                _ => running,
            });
        }
        if let Some(used) = report.kv_used {
            self.kv_used.update(now, |_| used.clamp(0.0, 1.0));
        }
    }

    /// Requests that ran when that was last said, if that is not long ago.
    fn ran_lately(&self, now: Instant) -> u32 {
        self.ran.read(now).filter(|(_, age)| *age < FRESH_SECONDS).map_or(0, |(ran, _)| ran as u32)
    }

    /// Others have sent it so many tokens that are to be read: they or the engine say so.
    pub(crate) fn have_unread(&self, now: Instant, tokens: u64) {
        self.unread.update(now, |_| tokens as f32);
    }

    /// Seconds until the prompts of others that waited there have been read, each of which takes `prompt` seconds: those
    /// that it had to wait since are over.
    pub(crate) fn waiting_seconds(&self, now: Instant, prompt: f32) -> f32 {
        self.waiting.read(now).map_or(0.0, |(waiting, age)| (waiting * prompt - age).max(0.0))
    }

    /// Tokens of others that were to be read when it was last said, and how many seconds ago that was; nothing if it is
    /// not said, or by now something newer is known of those that wait.
    pub(crate) fn unread(&self, now: Instant) -> Option<(f32, f32)> {
        let (tokens, age) = self.unread.read(now)?;
        let newer = age > FRESH_SECONDS && self.waiting.read(now).is_some_and(|(_, newer)| newer < age);
        (!newer).then_some((tokens, age))
    }

    /// The share of its requests that others send, in the mean of many reports; nothing where reports have ended.
    pub(crate) fn share(&self, now: Instant) -> f32 {
        match (self.all.read(now), self.own.read(now)) {
            (Some((all, age)), Some((own, _))) if all > 0.0 && age < SHARE_SECONDS => {
                (1.0 - own / all).max(0.0)
            }
            _ => 0.0,
        }
    }

    /// Requests of others that waited there, for operators: how long that takes is what counts.
    pub(crate) fn waiting(&self, now: Instant) -> f32 {
        faded(self.waiting.read(now))
    }

    /// Requests of others that run there.
    pub(crate) fn running(&self, now: Instant) -> f32 {
        faded(self.running.read(now))
    }

    /// The share of memory that was in use; nothing if that is not known or long ago.
    pub(crate) fn kv_used(&self, now: Instant) -> f32 {
        faded(self.kv_used.read(now))
    }

    /// Whether it has ever been said what runs there.
    pub(crate) fn is_known(&self) -> bool {
        self.running.is_known()
    }

    /// Seconds since the last report.
    pub(crate) fn age(&self, now: Instant) -> Option<f32> {
        let ages = [self.waiting.read(now), self.running.read(now), self.kv_used.read(now)]
            .into_iter()
            .flatten()
            .map(|(_, age)| age);
        ages.min_by(f32::total_cmp)
    }
}

/// The mean of reports so far, with one more.
fn mean(before: Option<(f32, f32)>, of: u32) -> f32 {
    let mean = before.map_or(0.0, |(mean, _)| mean);
    mean + (of as f32 - mean) * SHARE_WEIGHT
}

fn faded(value: Option<(f32, f32)>) -> f32 {
    match value {
        None => 0.0,
        Some((value, age)) if age <= FRESH_SECONDS => value,
        Some((value, age)) => value * kept(age - FRESH_SECONDS, FADE_SECONDS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(seconds)
    }

    fn report(waiting: u32, running: u32) -> Report {
        Report { waiting: Some(waiting), running: Some(running), ..Report::default() }
    }

    #[test]
    fn only_what_this_gateway_did_not_send_is_kept() {
        let others = Others::default();
        others.reported(at(1), &report(5, 10), (12, 0));
        assert_eq!((others.waiting_seconds(at(1), 2.0), others.running(at(1))), (6.0, 0.0));
        others.reported(at(9), &report(5, 10), (2, 0));
        assert_eq!((others.waiting_seconds(at(9), 2.0), others.running(at(9))), (10.0, 8.0));
        others.reported(at(19), &report(1, 1), (7, 0));
        assert_eq!((others.waiting_seconds(at(19), 2.0), others.running(at(19))), (0.0, 0.0));
    }

    #[test]
    fn who_waited_when_it_was_reported_has_been_read_since() {
        let others = Others::default();
        others.reported(at(1), &report(4, 0), (0, 0));
        assert!((others.waiting_seconds(at(2), 0.5) - 1.0).abs() < 0.002);
        assert_eq!(others.waiting_seconds(at(4), 0.5), 0.0);
    }

    #[test]
    fn one_report_among_many_moves_what_runs_a_little() {
        let others = Others::default();
        others.reported(at(1), &report(0, 10), (0, 0));
        others.reported(at(2), &report(0, 20), (0, 0));
        assert_eq!(others.running(at(2)), 13.0);
    }

    #[test]
    fn an_old_report_fades_until_only_the_own_counts_are_left() {
        let others = Others::default();
        others.reported(at(1), &Report { kv_used: Some(0.5), ..report(0, 100) }, (0, 0));
        assert!(others.running(at(3)) > 99.9);
        assert!(others.running(at(6)) < 40.0);
        assert!(others.running(at(60)) < 0.01 && others.kv_used(at(60)) < 0.01);
        assert!((others.age(at(6)).unwrap() - 5.0).abs() < 0.002);
    }

    #[test]
    fn what_is_not_said_changes_nothing() {
        let others = Others::default();
        others.reported(at(1), &report(0, 8), (0, 0));
        others.reported(at(2), &Report { kv_used: Some(0.9), ..Report::default() }, (0, 0));
        assert_eq!((others.running(at(2)), others.kv_used(at(2))), (8.0, 0.9));
        others.reported(at(2), &Report { waiting: Some(3), ..Report::default() }, (1, 0));
        assert_eq!((others.waiting(at(2)), others.running(at(2))), (3.0, 8.0));
    }

    #[test]
    fn own_requests_are_not_taken_for_those_of_others_that_wait_though_it_is_not_said_how_many_run() {
        let (waiting, others) = (Report { waiting: Some(14), ..Report::default() }, Others::default());
        others.reported(at(1), &waiting, (30, 0));
        assert_eq!(others.waiting(at(1)), 0.0, "nothing is known of what runs, so all may be own");
        others.reported(at(2), &report(14, 16), (30, 0));
        others.reported(at(3), &waiting, (30, 0));
        assert_eq!(others.waiting(at(3)), 0.0, "16 of the own run and 14 wait");
        others.reported(at(3), &waiting, (12, 0));
        assert_eq!(others.waiting(at(3)), 14.0, "all own ones run");
        others.reported(at(9), &waiting, (12, 0));
        assert_eq!(others.waiting(at(9)), 2.0, "who ran long ago runs no more");
    }

    #[test]
    fn tokens_to_be_read_are_known_beyond_the_own_ones() {
        let others = Others::default();
        assert_eq!(others.unread(at(1)), None);
        others.reported(at(1), &Report { unread_tokens: Some(9_000), ..report(1, 1) }, (1, 4_000));
        let (tokens, age) = others.unread(at(3)).unwrap();
        assert!(tokens == 5_000.0 && (age - 2.0).abs() < 0.002, "{tokens} {age}");
        others.reported(at(4), &Report { unread_tokens: Some(9_000), ..report(1, 1) }, (2, 10_000));
        assert_eq!(others.unread(at(4)), Some((0.0, 0.0)));
    }

    #[test]
    fn the_share_of_others_is_that_of_many_reports_and_nothing_when_they_end() {
        let others = Others::default();
        assert_eq!(others.share(at(0)), 0.0);
        (0..500).for_each(|second| others.reported(at(second), &report(2, 6), (2, 0)));
        assert!((others.share(at(500)) - 0.75).abs() < 0.01, "{}", others.share(at(500)));
        assert_eq!(others.share(at(600)), 0.0);
        // What was sent and has not arrived makes nobody's share negative.
        (0..500).for_each(|second| others.reported(at(600 + second), &report(0, 2), (3, 0)));
        assert_eq!(others.share(at(1_100)), 0.0);
    }
}
