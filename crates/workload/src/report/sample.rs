//! Runs made up for tests.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{About, BackendFigures, Kind, Outcome, Record, Recorder, Report, Slo};

pub(super) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A request due at `due` whose first token and end came so much later.
pub(super) fn answered(due: Duration, ttft: Duration, e2e: Duration, output_tokens: u32) -> Record {
    Record {
        request: 0,
        due,
        sent: due,
        first_token: Some(due + ttft),
        end: due + e2e,
        outcome: Outcome::Ok,
        prompt_tokens: 100,
        cached_tokens: 40,
        output_tokens,
        model: 0,
        tenant: 0,
        region: 0,
        backend: Some(0),
    }
}

/// A made-up run.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) seed: u64,
    pub(super) requests: u32,
    pub(super) duration: Duration,
    pub(super) backends: u16,
    pub(super) policy: &'static str,
    /// How many times slower than usual all is.
    pub(super) slowness: f64,
}

impl Default for Sample {
    fn default() -> Self {
        Self { seed: 1, requests: 4_000, duration: ms(400_000), backends: 4, policy: "p2c", slowness: 1.0 }
    }
}

impl Sample {
    /// The recorder after the run.
    pub(super) fn recorder(&self) -> Recorder {
        let mut rng = StdRng::seed_from_u64(self.seed);
        let mut recorder = Recorder::new(self.duration);
        for request in 0..self.requests {
            let record = self.request(request, &mut rng);
            if let (Some(first), true) = (record.first_token, record.output_tokens > 1) {
                self.gaps(&mut recorder, first, record.end, record.output_tokens - 1);
            }
            recorder.record(&record);
        }
        recorder
    }

    /// The report of the run.
    pub(super) fn report(&self) -> Report {
        self.recorder().finish(self.about())
    }

    fn gaps(&self, recorder: &mut Recorder, first: Duration, end: Duration, count: u32) {
        let gap = (end - first) / count;
        for number in 1..=count {
            let wobble = 0.7 + 0.6 * f64::from(number % 10) / 9.0;
            recorder.gap(first + gap * number, gap.mul_f64(wobble));
        }
    }

    fn request(&self, request: u32, rng: &mut StdRng) -> Record {
        let due = self.duration.mul_f64(f64::from(request) / f64::from(self.requests));
        let tide = 1.0 + 0.5 * (due.as_secs_f64() / self.duration.as_secs_f64() * 9.0).sin();
        let exponential = -rng.random_range(1e-6..1.0_f64).ln();
        let ttft = Duration::from_secs_f64((0.08 + 0.12 * exponential * tide) * self.slowness);
        let output_tokens = rng.random_range(1..120);
        let tpot = Duration::from_secs_f64((0.015 + 0.01 * rng.random::<f64>() * tide) * self.slowness);
        let failed = rng.random_range(0..100) == 0;
        let first_token = (!failed).then_some(due + ttft);
        Record {
            request,
            first_token,
            end: first_token.unwrap_or(due + ttft) + tpot * if failed { 0 } else { output_tokens - 1 },
            outcome: if failed { Outcome::Overloaded } else { Outcome::Ok },
            prompt_tokens: rng.random_range(50..4_000),
            output_tokens: if failed { 0 } else { output_tokens },
            model: (request % 2) as u16,
            tenant: (request % 3) as u16,
            region: (request % 2) as u16,
            backend: Some(rng.random_range(0..self.backends)),
            ..answered(due, ttft, ttft, 1)
        }
    }

    /// What the run is about.
    pub(super) fn about(&self) -> About {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let backends: Vec<String> = (0..self.backends).map(|number| format!("gpu-{number}")).collect();
        About {
            kind: Kind::Simulation,
            name: "two-regions".to_owned(),
            target: self.policy.to_owned(),
            policy: self.policy.to_owned(),
            seed: self.seed,
            slo: Slo { ttft_seconds: 0.5, tpot_seconds: 0.03 },
            models: names(&["llama-3.1-8b", "llama-3.3-70b"]),
            tenants: names(&["search", "chat", "batch"]),
            regions: names(&["eu-west-1", "us-east-1"]),
            fleet: backends.iter().enumerate().map(|(number, name)| self.backend(number, name)).collect(),
            backends,
            notes: vec!["made up for a test".to_owned()],
        }
    }

    fn backend(&self, number: usize, name: &str) -> BackendFigures {
        let place =
            if number.is_multiple_of(2) { ("aws", "eu-west-1", "a") } else { ("gcp", "us-east1", "b") };
        BackendFigures {
            name: name.to_owned(),
            cloud: place.0.to_owned(),
            region: place.1.to_owned(),
            zone: place.2.to_owned(),
            accelerator: "H100".to_owned(),
            requests: u64::from(self.requests) / u64::from(self.backends),
            busy: 0.4 + 0.1 * (number % 6) as f64,
            prefilled_tokens: 4_000_000 + 100_000 * number as u64,
            cached_tokens: 1_500_000,
            output_tokens: 230_000 + 10_000 * number as u64,
            preemptions: number as u64 % 3,
            peak_kv: 0.6 + 0.05 * (number % 7) as f64,
            committed_dollars: 2.5,
            on_demand_dollars: 0.8 * (number % 2) as f64,
        }
    }
}
