//! What a group of requests came to.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Outcome, Record, Slo, histogram::Sparse};

/// What a group of requests came to. Rates count while requests arrive ([`super::Report::rate_seconds`]); latencies
/// count from when a request was due, whenever it was sent, so that a stall is felt by all that it held up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// All of them, however they ended.
    pub requests: u64,
    /// How many ended in each way.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Tokens of their prompts.
    pub prompt_tokens: u64,
    /// How many of them were cached.
    pub cached_tokens: u64,
    /// Tokens of their answers.
    pub output_tokens: u64,
    /// Requests answered in full, for each second.
    pub requests_per_second: f64,
    /// Tokens written, for each second.
    pub tokens_per_second: f64,
    /// Requests that met the SLO.
    pub met_slo: u64,
    /// Requests that met the SLO, for each second.
    pub goodput: f64,
    /// Share of all requests that met the SLO; those without a full answer did not.
    pub attainment: f64,
    /// From due to the first token, of all that got one.
    pub ttft: Spread,
    /// Between two tokens of one stream; only known for the whole run.
    #[serde(default, skip_serializing_if = "Spread::is_empty")]
    pub itl: Spread,
    /// Mean time per token after the first, of full answers with two tokens or more that did not come as a whole.
    pub tpot: Spread,
    /// From due to the end, of full answers.
    pub e2e: Spread,
    /// From due to sent: how late the generator was.
    pub lateness: Spread,
}

/// How times spread, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// How many there are.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// What half of them do not exceed.
    pub p50: f64,
    /// What 90 % of them do not exceed.
    pub p90: f64,
    /// What 99 % of them do not exceed.
    pub p99: f64,
    /// What 99.9 % of them do not exceed.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Spread {
    /// Whether there are no times.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How `times` spread, exactly; they are left in another order.
    ///
    /// Each quantile is selected from what the one before left above it, which costs a few passes instead of a sort.
    pub(super) fn of(times: &mut [u64]) -> Self {
        if times.is_empty() {
            return Self::default();
        }
        let sum: u128 = times.iter().map(|time| u128::from(*time)).sum();
        let mut from = 0;
        let mut quantile = |q: f64| {
            let rank = (q * times.len() as f64).ceil().max(1.0) as usize - 1;
            let (_, time, _) = times[from..].select_nth_unstable(rank - from);
            let seconds = *time as f64 / 1e9;
            from = rank;
            seconds
        };
        let [p50, p90, p99, p999, max] = [0.5, 0.9, 0.99, 0.999, 1.0].map(&mut quantile);
        Self {
            count: times.len() as u64,
            mean: sum as f64 / 1e9 / times.len() as f64,
            p50,
            p90,
            p99,
            p999,
            max,
        }
    }

    /// How the times of `histogram` spread, right to one percent.
    pub(super) fn of_histogram(histogram: &Sparse) -> Self {
        let [p50, p90, p99, p999] = [0.5, 0.9, 0.99, 0.999].map(|q| histogram.quantile(q));
        let (count, mean, max) = (histogram.count, histogram.mean(), histogram.max_seconds);
        Self { count, mean, p50, p90, p99, p999, max }
    }
}

impl Record {
    /// From due to the first token.
    #[must_use]
    pub fn ttft(&self) -> Option<Duration> {
        Some(self.first_token?.saturating_sub(self.due))
    }

    /// Mean time per token after the first; none of an answer that broke off, has one token or came as a whole.
    #[must_use]
    pub fn tpot(&self) -> Option<Duration> {
        let after_first = self.output_tokens.checked_sub(1).filter(|tokens| *tokens > 0)?;
        let first = self.first_token.filter(|first| self.outcome == Outcome::Ok && *first < self.end)?;
        Some(self.end.saturating_sub(first) / after_first)
    }

    /// From due to the end; none of an answer that is not whole.
    #[must_use]
    pub fn e2e(&self) -> Option<Duration> {
        (self.outcome == Outcome::Ok).then(|| self.end.saturating_sub(self.due))
    }

    /// Whether it was answered in full and kept to `slo`. Where no token was seen to come first, all came at the end.
    #[must_use]
    pub fn meets(&self, slo: &Slo) -> bool {
        let Some(e2e) = self.e2e() else { return false };
        self.ttft().unwrap_or(e2e).as_secs_f64() <= slo.ttft_seconds
            && self.tpot().is_none_or(|tpot| tpot.as_secs_f64() <= slo.tpot_seconds)
    }

    /// How many of its tokens came in `from..to`, as if they came evenly from the first to the end.
    pub(super) fn tokens_within(&self, from: Duration, to: Duration) -> f64 {
        let begin = self.first_token.unwrap_or(self.end);
        let tokens = f64::from(self.output_tokens);
        if begin >= self.end {
            return if (from..to).contains(&self.end) { tokens } else { 0.0 };
        }
        let overlap = self.end.min(to).saturating_sub(begin.max(from));
        tokens * overlap.as_secs_f64() / (self.end - begin).as_secs_f64()
    }
}

impl Figures {
    /// What `records` came to, where `window` is the time that rates count.
    pub(super) fn of<'a>(records: impl Iterator<Item = &'a Record>, slo: &Slo, window: Duration) -> Self {
        let mut figures = Self::default();
        let mut times = Times::default();
        let mut in_window = (0_u64, 0.0);
        for record in records {
            figures.count(record, slo);
            times.push(record);
            in_window.0 += u64::from(record.outcome == Outcome::Ok && record.end <= window);
            in_window.1 += record.tokens_within(Duration::ZERO, window);
        }
        let seconds = window.as_secs_f64().max(1e-9);
        figures.requests_per_second = in_window.0 as f64 / seconds;
        figures.tokens_per_second = in_window.1 / seconds;
        figures.goodput = figures.met_slo as f64 / seconds;
        figures.attainment = share(figures.met_slo, figures.requests);
        figures.ttft = Spread::of(&mut times.ttft);
        figures.tpot = Spread::of(&mut times.tpot);
        figures.e2e = Spread::of(&mut times.e2e);
        figures.lateness = Spread::of(&mut times.lateness);
        figures
    }

    fn count(&mut self, record: &Record, slo: &Slo) {
        self.requests += 1;
        *self.outcomes.entry(record.outcome).or_default() += 1;
        self.prompt_tokens += u64::from(record.prompt_tokens);
        self.cached_tokens += u64::from(record.cached_tokens);
        self.output_tokens += u64::from(record.output_tokens);
        self.met_slo += u64::from(record.meets(slo));
    }

    /// How many ended so.
    #[must_use]
    pub fn ended(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(&outcome).copied().unwrap_or(0)
    }

    /// How many did not get a full answer.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.requests - self.ended(Outcome::Ok)
    }

    /// Share of the prompt tokens that were cached.
    #[must_use]
    pub fn cache_hit(&self) -> f64 {
        share(self.cached_tokens, self.prompt_tokens)
    }
}

/// The times of a group, in nanoseconds.
#[derive(Default)]
struct Times {
    ttft: Vec<u64>,
    tpot: Vec<u64>,
    e2e: Vec<u64>,
    lateness: Vec<u64>,
}

impl Times {
    fn push(&mut self, record: &Record) {
        self.ttft.extend(record.ttft().map(nanoseconds));
        self.tpot.extend(record.tpot().map(nanoseconds));
        self.e2e.extend(record.e2e().map(nanoseconds));
        self.lateness.push(nanoseconds(record.sent.saturating_sub(record.due)));
    }
}

/// `time` in nanoseconds, without a wide multiplication.
pub(super) fn nanoseconds(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(time.subsec_nanos()))
}

/// `part` of `whole`, zero where there is no whole.
pub(super) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{answered, ms};
    use super::*;

    const SLO: Slo = Slo { ttft_seconds: 0.2, tpot_seconds: 0.05 };

    #[test]
    fn quantiles_of_known_times_are_exact() {
        let mut times: Vec<u64> = (1..=1_000).rev().map(|time| time * 1_000_000_000).collect();
        let spread = Spread::of(&mut times);
        assert_eq!((spread.p50, spread.p90, spread.p99), (500.0, 900.0, 990.0));
        assert_eq!((spread.p999, spread.max, spread.mean), (999.0, 1_000.0, 500.5));
        assert_eq!(Spread::of(&mut [7]).p50, 7e-9);
        assert_eq!(Spread::of(&mut []), Spread::default());
    }

    #[test]
    fn a_stall_of_one_second_shows_up_in_the_tail_in_full() {
        // A hundred requests are due every 10 ms; the generator stands still for the second from 1 s on.
        let records: Vec<Record> = (0..1_000)
            .map(|number| {
                let mut record = answered(ms(number * 10), ms(20), ms(100), 11);
                let held =
                    if (1_000..2_000).contains(&(number * 10)) { ms(2_000 - number * 10) } else { ms(0) };
                record.sent += held;
                record.first_token = record.first_token.map(|first| first + held);
                record.end += held;
                record
            })
            .collect();
        let figures = Figures::of(records.iter(), &SLO, ms(10_000));
        assert_eq!(figures.ttft.max, 1.02);
        assert!(figures.ttft.p99 > 0.9, "{}", figures.ttft.p99);
        assert_eq!(figures.lateness.max, 1.0);
    }

    #[test]
    fn a_request_is_good_if_it_is_whole_and_keeps_both_times() {
        let good = answered(ms(0), ms(200), ms(700), 11);
        assert!(good.meets(&SLO));
        assert!(!answered(ms(0), ms(201), ms(701), 11).meets(&SLO));
        assert!(!answered(ms(0), ms(200), ms(711), 11).meets(&SLO));
        assert!(!Record { outcome: Outcome::Broken, ..good }.meets(&SLO));
        assert!(answered(ms(0), ms(150), ms(150), 1).meets(&SLO));
    }

    #[test]
    fn refused_and_failed_requests_count_as_misses() {
        let good = answered(ms(0), ms(100), ms(300), 11);
        let refused = Record { outcome: Outcome::Overloaded, first_token: None, output_tokens: 0, ..good };
        let figures = Figures::of([good, refused, refused, refused].iter(), &SLO, ms(2_000));
        assert_eq!((figures.attainment, figures.goodput, figures.failures()), (0.25, 0.5, 3));
        assert_eq!(figures.ttft.count, 1);
    }

    #[test]
    fn rates_count_only_what_comes_while_requests_arrive() {
        let long = answered(ms(0), ms(1_000), ms(3_000), 100);
        let figures = Figures::of([long].iter(), &SLO, ms(2_000));
        assert_eq!((figures.tokens_per_second, figures.requests_per_second), (25.0, 0.0));
    }
}
