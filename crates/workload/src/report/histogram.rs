//! Counts of times in buckets no wider than one percent.
//!
//! Two layouts of the same counts: [`Dense`] to count into, [`Sparse`] to keep, to send and to draw again from.
//! Hot path: `Dense::add` is called once for every token; no allocation, a shift and an addition.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::figures::nanoseconds;

/// Each power of two is cut into `1 << CUT` buckets: 128 make them at most 0.8 % wide.
const CUT: u32 = 7;

/// Times count in units of 64 ns, below which nobody waits for a token.
const UNIT_SHIFT: u32 = 6;

/// The largest power of two of units that has buckets of its own, about 73 minutes; what is longer counts as that.
const POWERS: u32 = 36;

/// How many buckets there are.
pub(super) const BUCKETS: usize = ((POWERS - CUT + 1) as usize) << CUT;

/// The bucket that `nanoseconds` falls into.
fn bucket(nanoseconds: u64) -> usize {
    let units = (nanoseconds >> UNIT_SHIFT).min((1 << POWERS) - 1);
    let power = (units | ((1 << CUT) - 1)).ilog2() + 1 - CUT;
    if power == 0 {
        return units as usize;
    }
    let place = units >> (power - 1);
    ((power as usize) << CUT) + (place as usize) - (1 << CUT)
}

/// Where `bucket` begins, in seconds.
pub(super) fn begin(bucket: usize) -> f64 {
    let power = bucket >> CUT;
    let place = bucket & ((1 << CUT) - 1);
    let units = if power == 0 { place as u64 } else { ((place + (1 << CUT)) as u64) << (power - 1) };
    (units << UNIT_SHIFT) as f64 / 1e9
}

/// Counts in all buckets, empty or not.
#[derive(Debug, Clone)]
pub(super) struct Dense {
    counts: Box<[u64]>,
    sum_nanoseconds: u128,
    max: u64,
}

impl Default for Dense {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS].into_boxed_slice(), sum_nanoseconds: 0, max: 0 }
    }
}

impl Dense {
    /// Counts `time`, `count` times.
    pub(super) fn add(&mut self, time: Duration, count: u64) {
        let nanoseconds = nanoseconds(time);
        self.counts[bucket(nanoseconds)] += count;
        self.sum_nanoseconds += u128::from(nanoseconds) * u128::from(count);
        self.max = self.max.max(nanoseconds);
    }

    /// Whether nothing was counted.
    pub(super) fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| *count == 0)
    }

    /// The buckets that hold something.
    pub(super) fn sparse(&self) -> Sparse {
        let mut deltas = Vec::new();
        let mut last = 0;
        for (bucket, &count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            deltas.extend([(bucket - last) as u64, count]);
            last = bucket;
        }
        Sparse {
            count: self.counts.iter().sum(),
            sum_seconds: self.sum_nanoseconds as f64 / 1e9,
            max_seconds: self.max as f64 / 1e9,
            buckets: deltas,
        }
    }
}

/// The buckets that hold something, as a report keeps them.
///
/// A bucket holds times of 64 ns units: 128 buckets of one unit, and then 128 of equal width for each power of two.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sparse {
    /// How many times were counted.
    pub count: u64,
    /// Their sum, in seconds.
    pub sum_seconds: f64,
    /// The longest, in seconds.
    pub max_seconds: f64,
    /// Pairs: how many buckets after the one before, and the count in it.
    pub buckets: Vec<u64>,
}

impl Sparse {
    /// The number of each bucket that holds something and the count in it, in ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, u64)> {
        self.buckets.chunks_exact(2).scan(0, |bucket, pair| {
            *bucket = (*bucket + pair[0] as usize).min(BUCKETS - 1);
            Some((*bucket, pair[1]))
        })
    }

    /// All of `parts` together.
    pub(super) fn merge<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = Dense::default();
        let mut merged = Self::default();
        for part in parts {
            merged.count += part.count;
            merged.sum_seconds += part.sum_seconds;
            merged.max_seconds = merged.max_seconds.max(part.max_seconds);
            part.iter().for_each(|(bucket, count)| all.counts[bucket] += count);
        }
        Self { buckets: all.sparse().buckets, ..merged }
    }

    /// The mean in seconds; zero where nothing was counted.
    pub(super) fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum_seconds / self.count as f64 }
    }

    /// The time that a share `q` of all does not exceed, in seconds: right to the width of a bucket.
    pub(super) fn quantile(&self, q: f64) -> f64 {
        quantile(self.iter(), self.count, q).min(self.max_seconds)
    }

    /// The share of all that lies at or below a time, as pairs of seconds and share: a pair where a bucket begins and
    /// one where it ends, so that it stays level over buckets that hold nothing.
    pub(super) fn cumulative(&self) -> Vec<(f64, f64)> {
        let share = |below: u64| below as f64 / self.count as f64;
        let step = |below: &mut u64, (bucket, count)| {
            let before = *below;
            *below += count;
            let end = begin(bucket + 1).min(self.max_seconds.max(begin(bucket)));
            Some([(begin(bucket), share(before)), (end, share(*below))])
        };
        self.iter().scan(0, step).flatten().collect()
    }
}

/// The time that a share `q` of `total` times in `buckets` does not exceed, in seconds; between the edges of its bucket
/// as if the times in there were evenly spread.
pub(super) fn quantile(buckets: impl Iterator<Item = (usize, u64)>, total: u64, q: f64) -> f64 {
    let rank = (q * total as f64).ceil().max(1.0);
    let mut below = 0.0;
    for (bucket, count) in buckets {
        if below + count as f64 >= rank {
            let inside = (rank - below - 0.5) / count as f64;
            return begin(bucket) + inside * (begin(bucket + 1) - begin(bucket));
        }
        below += count as f64;
    }
    0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sparse(times: impl IntoIterator<Item = Duration>) -> Sparse {
        let mut dense = Dense::default();
        times.into_iter().for_each(|time| dense.add(time, 1));
        dense.sparse()
    }

    #[test]
    fn a_bucket_begins_where_the_one_before_ends_and_is_at_most_one_percent_wide() {
        for number in 0..BUCKETS - 1 {
            let nanoseconds = (begin(number) * 1e9).round() as u64;
            assert_eq!(bucket(nanoseconds), number);
            if number > 0 {
                assert_eq!(bucket(nanoseconds - 1), number - 1);
            }
            if number >= 1 << CUT {
                assert!(begin(number + 1) / begin(number) <= 1.01);
            }
        }
    }

    #[test]
    fn what_is_longer_than_all_buckets_counts_in_the_last() {
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(bucket(0), 0);
    }

    #[test]
    fn quantiles_are_right_to_one_percent() {
        let times = sparse((1..=10_000).map(Duration::from_millis));
        for (q, seconds) in [(0.5, 5.0), (0.9, 9.0), (0.99, 9.9), (0.999, 9.99)] {
            assert!((times.quantile(q) / seconds - 1.0).abs() < 0.01, "{q}: {}", times.quantile(q));
        }
        assert!((times.mean() - 5.0005).abs() < 1e-9);
        assert_eq!(times.max_seconds, 10.0);
    }

    #[test]
    fn merged_parts_are_the_whole() {
        let low = sparse((1..=500).map(Duration::from_micros));
        let high = sparse((501..=1_000).map(Duration::from_micros));
        let all = sparse((1..=1_000).map(Duration::from_micros));
        let merged = Sparse::merge([&low, &high]);
        assert_eq!((merged.count, &merged.buckets), (all.count, &all.buckets));
        assert!((merged.sum_seconds - all.sum_seconds).abs() < 1e-9);
    }

    #[test]
    fn the_share_is_level_between_two_times() {
        let times = sparse([1, 1, 1, 100].map(Duration::from_millis));
        let shares: Vec<f64> = times.cumulative().into_iter().map(|(_, share)| share).collect();
        assert_eq!(shares, [0.0, 0.75, 0.75, 1.0]);
    }

    #[test]
    fn nothing_counted_is_zero_everywhere() {
        let none = Sparse::default();
        assert_eq!((none.mean(), none.quantile(0.99)), (0.0, 0.0));
        assert!(none.cumulative().is_empty());
    }
}
