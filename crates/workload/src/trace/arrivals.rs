use plimsoll_types::{Key, Keys, Section};

use crate::elementary::cos_of_turns;
use crate::random::Draw;

/// The processes by which requests arrive.
const PROCESSES: &[&str] = &["poisson", "gamma", "constant", "diurnal"];
/// Requests per second that may be asked for.
const FASTEST: f64 = 1e6;

/// When requests, or conversations, arrive.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrivals {
    /// `poisson`, `gamma`, `constant` or `diurnal`.
    pub process: &'static str,
    /// Requests per second in the mean, but for `diurnal`.
    pub rate: f64,
    /// Deviation over mean of the gaps of `gamma`: 1 is Poisson, above come bursts.
    pub cv: f64,
    /// Requests per second at the busiest hour of `diurnal`.
    pub peak: f64,
    /// Requests per second at the quietest.
    pub trough: f64,
    /// Seconds from one peak to the next.
    pub period_s: f64,
    /// Where requests come from; without any, from nowhere in particular.
    pub regions: Vec<Region>,
}

/// Callers who live by the same clock.
#[derive(Debug, Clone, PartialEq)]
pub struct Region {
    /// What it is called.
    pub name: String,
    /// Its weight among the regions.
    pub share: f64,
    /// Hours from the beginning of the trace to its busiest hour, when arrivals are `diurnal`.
    pub phase_h: f64,
}

impl Default for Region {
    fn default() -> Self {
        Self { name: String::new(), share: 1.0, phase_h: 0.0 }
    }
}

impl Default for Arrivals {
    fn default() -> Self {
        Self {
            process: "poisson",
            rate: 10.0,
            cv: 1.0,
            peak: 20.0,
            trough: 5.0,
            period_s: 86_400.0,
            regions: Vec::new(),
        }
    }
}

impl Section for Region {
    fn keys(&mut self, keys: &mut dyn Keys) {
        keys.text(Key::new("name", "What it is called."), &mut self.name);
        keys.decimal(Key::new("share", "Its weight among the regions."), 0.0..=1e6, &mut self.share);
        let key =
            Key::new("phase_h", "Hours from the beginning to its busiest hour, when arrivals are diurnal.");
        keys.decimal(key, -1e4..=1e4, &mut self.phase_h);
    }
}

impl Section for Arrivals {
    fn keys(&mut self, keys: &mut dyn Keys) {
        let key = Key::new(
            "process",
            "How requests arrive: independently (poisson), in bursts (gamma), evenly (constant), or independently at \
             a rate that follows the day (diurnal).",
        );
        keys.choice(key, PROCESSES, &mut self.process);
        let key = Key::new("rate", "Requests per second in the mean; not used by `diurnal`.");
        keys.decimal(key, 1e-6..=FASTEST, &mut self.rate);
        let key =
            Key::new("cv", "Deviation over mean of the gaps of `gamma`: 1 is Poisson, above come bursts.");
        keys.decimal(key, 0.01..=100.0, &mut self.cv);
        let key = Key::new("peak", "Requests per second at the busiest hour of `diurnal`.");
        keys.decimal(key, 1e-6..=FASTEST, &mut self.peak);
        let key = Key::new("trough", "Requests per second at the quietest hour of `diurnal`.");
        keys.decimal(key, 0.0..=FASTEST, &mut self.trough);
        let key = Key::new("period_s", "Seconds from one peak of `diurnal` to the next.");
        keys.decimal(key, 1.0..=1e9, &mut self.period_s);
        keys.list(Key::new("regions", "Where requests come from, by weight."), &mut self.regions);
        if self.process == "diurnal" && self.trough > self.peak {
            keys.wrong("trough", format!("{} is above peak, which is {}", self.trough, self.peak));
        }
        if !self.regions.is_empty() && self.regions.iter().all(|region| region.share <= 0.0) {
            keys.wrong("regions", "have no share above 0".into());
        }
    }
}

impl Arrivals {
    /// Requests per second in the mean of a period.
    #[must_use]
    pub fn mean_rate(&self) -> f64 {
        if self.process == "diurnal" { f64::midpoint(self.peak, self.trough) } else { self.rate }
    }

    /// The times of arrival after second `from`, without end, each with the index of its region. All rates are
    /// multiplied by `factor`.
    pub(crate) fn times(&self, from: f64, factor: f64, seed: u64) -> Times<'_> {
        Times { arrivals: self, factor, now: from, draw: Draw::new(seed, 0x6172_7269) }
    }

    /// The names of the regions, as a trace lists them.
    pub(crate) fn region_names(&self) -> Vec<String> {
        if self.regions.is_empty() {
            return vec![String::new()];
        }
        self.regions.iter().map(|region| region.name.clone()).collect()
    }

    /// Requests per second at second `at` from callers whose busiest second is `phase`.
    fn rate_at(&self, at: f64, phase: f64) -> f64 {
        let swing = (1.0 + cos_of_turns((at - phase) / self.period_s)) / 2.0;
        self.trough + (self.peak - self.trough) * swing
    }

    /// What of the rate at second `at` each region contributes.
    fn weights(&self, at: f64) -> impl Iterator<Item = f64> + Clone + '_ {
        let whole: f64 = self.regions.iter().map(|region| region.share).sum();
        let diurnal = self.process == "diurnal";
        self.regions.iter().map(move |region| {
            let rate = if diurnal { self.rate_at(at, region.phase_h * 3_600.0) } else { 1.0 };
            rate * region.share / whole
        })
    }
}

/// Times of arrival in seconds, each with the index of a region.
pub(crate) struct Times<'a> {
    arrivals: &'a Arrivals,
    factor: f64,
    now: f64,
    draw: Draw,
}

impl Iterator for Times<'_> {
    type Item = (f64, u16);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.now += self.gap();
            if self.is_kept() {
                return Some((self.now, self.region()));
            }
        }
    }
}

impl Times<'_> {
    fn gap(&mut self) -> f64 {
        let arrivals = self.arrivals;
        let gap = match arrivals.process {
            "constant" => 1.0 / arrivals.rate,
            "gamma" => {
                let square = arrivals.cv * arrivals.cv;
                self.draw.gamma(1.0 / square) * square / arrivals.rate
            }
            "diurnal" => self.draw.exponential() / arrivals.peak,
            _ => self.draw.exponential() / arrivals.rate,
        };
        gap / self.factor
    }

    /// Thinning (Lewis and Shedler, 1979): arrivals at the peak rate, of which those that the hour does not have are
    /// dropped.
    fn is_kept(&mut self) -> bool {
        let arrivals = self.arrivals;
        if arrivals.process != "diurnal" {
            return true;
        }
        // Without regions the day begins at its quietest.
        let rate = match arrivals.regions[..] {
            [] => arrivals.rate_at(self.now, arrivals.period_s / 2.0),
            _ => arrivals.weights(self.now).sum(),
        };
        self.draw.unit() * arrivals.peak < rate
    }

    fn region(&mut self) -> u16 {
        match self.arrivals.regions.len() {
            0 | 1 => 0,
            _ => self.draw.weighted(self.arrivals.weights(self.now)) as u16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(arrivals: &Arrivals) -> (f64, f64) {
        let times: Vec<f64> = arrivals.times(0.0, 1.0, 3).take(40_000).map(|(at, _)| at).collect();
        let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        (1.0 / mean, variance.sqrt() / mean)
    }

    #[test]
    fn every_process_has_its_rate_and_its_burstiness() {
        for (process, cv) in [("poisson", 1.0), ("gamma", 3.0), ("gamma", 0.5), ("constant", 0.0)] {
            let arrivals = Arrivals { process, cv, rate: 20.0, ..Arrivals::default() };
            let (rate, measured) = gaps(&arrivals);
            assert!((rate - 20.0).abs() < 1.0, "{process} {cv}: rate {rate}");
            assert!((measured - cv).abs() < 0.1 * cv.max(0.1), "{process} {cv}: cv {measured}");
        }
    }

    #[test]
    fn each_region_is_busiest_at_its_own_hour() {
        let region = |name: &str, phase_h| Region { name: name.into(), phase_h, ..Region::default() };
        let arrivals = Arrivals {
            process: "diurnal",
            peak: 2.0,
            trough: 0.2,
            regions: vec![region("eu", 6.0), region("us", 18.0)],
            ..Arrivals::default()
        };
        let mut hours = [[0_u32; 24]; 2];
        for (at, region) in arrivals.times(0.0, 1.0, 1).take_while(|(at, _)| *at < 86_400.0) {
            hours[usize::from(region)][(at / 3_600.0) as usize] += 1;
        }
        let around = |region: usize, hour: usize| hours[region][hour - 1] + hours[region][hour];
        // Half of the peak rate each, for two hours.
        assert!(around(0, 6).abs_diff(7_200) < 400 && around(1, 18).abs_diff(7_200) < 400, "{hours:?}");
        assert!(around(0, 18).abs_diff(720) < 250 && around(1, 6).abs_diff(720) < 250, "{hours:?}");
        let all: u32 = hours.iter().flatten().sum();
        assert!((f64::from(all) / 86_400.0 - arrivals.mean_rate()).abs() < 0.05, "{all}");
    }

    #[test]
    fn regions_without_a_day_come_by_their_shares() {
        let region = |share| Region { share, ..Region::default() };
        let arrivals = Arrivals { regions: vec![region(1.0), region(3.0)], ..Arrivals::default() };
        let first = arrivals.times(0.0, 1.0, 1).take(10_000).filter(|(_, region)| *region == 0).count();
        assert!(first.abs_diff(2_500) < 150, "{first}");
    }
}
