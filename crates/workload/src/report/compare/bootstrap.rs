//! Draws two runs again, slice by slice.

use rand::{RngExt, rngs::StdRng};

use super::super::{Report, Slice, Sparse, histogram};

/// Values of one draw.
pub(super) const VALUES: usize = 20;

/// What a draw came to; none where nothing was counted.
pub(super) type Values = [Option<f64>; VALUES];

/// Quantiles of each latency.
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

/// Both runs, ready to be drawn again.
pub(super) struct Draws {
    a: Run,
    b: Run,
    paired: bool,
}

impl Draws {
    /// Prepares both runs; a draw takes the same slices of both if both last equally long. Runs that have nothing in
    /// common are drawn as rightly so as apart.
    pub(super) fn new(a: &Report, b: &Report) -> Self {
        let equally_long = (a.rate_seconds - b.rate_seconds).abs() <= a.rate_seconds * 0.01;
        let (a, b) = (Run::new(a), Run::new(b));
        Self { paired: equally_long && a.drawn == b.drawn, a, b }
    }

    /// The values of the runs as they were.
    pub(super) fn all(&mut self) -> (Values, Values) {
        let (a, b) = (vec![1; self.a.slices.len()], vec![1; self.b.slices.len()]);
        (self.a.values(&a), self.b.values(&b))
    }

    /// The values of one draw.
    pub(super) fn draw(&mut self, rng: &mut StdRng) -> (Values, Values) {
        let a = self.a.weights(rng);
        let b = if self.paired {
            let drawn = a[..self.a.drawn].iter().copied();
            drawn.chain(std::iter::repeat_n(1, self.b.slices.len() - self.b.drawn)).collect()
        } else {
            self.b.weights(rng)
        };
        (self.a.values(&a), self.b.values(&b))
    }
}

/// One run, ready to be drawn again.
struct Run {
    slices: Vec<Slice>,
    /// Slices in which requests arrive: only these are drawn. The others hold what came after the last arrival; they
    /// count once in every draw.
    drawn: usize,
    latencies: [Latency; 4],
}

impl Run {
    fn new(report: &Report) -> Self {
        let slices = report.slices.clone();
        let drawn = slices.iter().take_while(|slice| slice.begin_seconds < report.rate_seconds).count();
        let of = |of: fn(&Slice) -> &Sparse| Latency::new(slices.iter().map(of));
        let latencies = [of(|s| &s.ttft), of(|s| &s.itl), of(|s| &s.tpot), of(|s| &s.e2e)];
        Self { slices, drawn, latencies }
    }

    /// How often a draw takes each slice.
    fn weights(&self, rng: &mut StdRng) -> Vec<u64> {
        let mut weights = vec![0; self.drawn];
        (0..self.drawn).for_each(|_| weights[rng.random_range(0..self.drawn)] += 1);
        weights.resize(self.slices.len(), 1);
        weights
    }

    fn values(&mut self, weights: &[u64]) -> Values {
        let mut values = [None; VALUES];
        for (number, latency) in self.latencies.iter_mut().enumerate() {
            values[number * 4..][..4].copy_from_slice(&latency.values(weights));
        }
        let drawn = || self.slices[..self.drawn].iter().zip(weights);
        let sum =
            |of: fn(&Slice) -> f64| drawn().map(|(slice, weight)| of(slice) * *weight as f64).sum::<f64>();
        let (seconds, arrivals) = (sum(|slice| slice.seconds), sum(|slice| slice.arrivals as f64));
        if seconds > 0.0 && arrivals > 0.0 {
            let met = sum(|slice| slice.met_slo as f64);
            values[16] = Some(met / seconds);
            values[17] = Some(met / arrivals);
            values[18] = Some(sum(|slice| slice.output_tokens) / seconds);
            values[19] = Some(sum(|slice| slice.lost as f64) / arrivals);
        }
        values
    }
}

/// One latency of a run, slice by slice, over the buckets that the run has anything in.
struct Latency {
    buckets: Vec<usize>,
    slices: Vec<Counts>,
    merged: Vec<u64>,
}

/// One latency in one slice.
struct Counts {
    sum_seconds: f64,
    count: u64,
    /// Places in `Latency::buckets` and the counts there.
    places: Vec<(usize, u64)>,
}

impl Latency {
    fn new<'a>(slices: impl Iterator<Item = &'a Sparse> + Clone) -> Self {
        let merged = Sparse::merge(slices.clone());
        let buckets: Vec<usize> = merged.iter().map(|(bucket, _)| bucket).collect();
        let place = |bucket| buckets.partition_point(|known| *known < bucket);
        let counts = |slice: &Sparse| Counts {
            sum_seconds: slice.sum_seconds,
            count: slice.count,
            places: slice.iter().map(|(bucket, count)| (place(bucket), count)).collect(),
        };
        let slices = slices.map(counts).collect();
        Self { merged: vec![0; buckets.len()], slices, buckets }
    }

    /// The mean and the quantiles of a draw that takes each slice `weights` times.
    fn values(&mut self, weights: &[u64]) -> [Option<f64>; 4] {
        self.merged.fill(0);
        let (mut sum, mut total) = (0.0, 0);
        for (slice, weight) in self.slices.iter().zip(weights).filter(|(_, weight)| **weight > 0) {
            sum += slice.sum_seconds * *weight as f64;
            total += slice.count * weight;
            slice.places.iter().for_each(|(place, count)| self.merged[*place] += count * weight);
        }
        if total == 0 {
            return [None; 4];
        }
        let buckets = || self.buckets.iter().copied().zip(self.merged.iter().copied());
        let [p50, p90, p99] = QUANTILES.map(|q| Some(histogram::quantile(buckets(), total, q)));
        [Some(sum / total as f64), p50, p90, p99]
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::super::super::sample::Sample;
    use super::*;

    #[test]
    fn a_draw_of_every_slice_once_is_the_run() {
        let report = Sample::default().report();
        let (values, _) = Draws::new(&report, &report).all();
        let total = &report.total;
        let expected = [
            (0, total.ttft.mean),
            (3, total.ttft.p99),
            (6, total.itl.p90),
            (8, total.tpot.mean),
            (15, total.e2e.p99),
            (17, total.attainment),
            (18, total.tokens_per_second),
        ];
        for (number, expected) in expected {
            let value = values[number].expect("the run has all values");
            assert!((value / expected - 1.0).abs() < 0.01, "{number}: {value} {expected}");
        }
    }

    #[test]
    fn a_draw_takes_as_many_slices_as_there_are() {
        let run = Run::new(&Sample::default().report());
        let weights = run.weights(&mut StdRng::seed_from_u64(3));
        assert_eq!(weights[..run.drawn].iter().sum::<u64>(), run.drawn as u64);
        assert!(weights[run.drawn..].iter().all(|weight| *weight == 1));
        assert_eq!(run.drawn, 40);
    }
}
