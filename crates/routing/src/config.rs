use std::time::Duration;

use plimsoll_types::{Key, Keys, Section};

use crate::{CommitmentConfig, DomainConfig, Slo, policy};

/// How backends are chosen and when they are taken out of service.
#[derive(Debug, Clone)]
pub struct Config {
    /// The policy of every pool.
    pub policy: &'static str,
    /// Failures in a row that eject a backend.
    pub consecutive_failures: u64,
    /// How long a first ejection lasts; each further one twice as long.
    pub base_ejection: Duration,
    /// The longest ejection.
    pub max_ejection: Duration,
    /// Share of recent requests that must fail to take a backend out of service.
    pub failure_share: f64,
    /// How many times as slow as its peers a backend must be to be taken out; 0 means that none is.
    pub slow_ratio: f64,
    /// By how long an answer of such a backend must be later than its peers'; zero means a quarter of `slo_ttft`, or 50 ms.
    pub slow_floor: Duration,
    /// Over how long a backend that comes or comes back is let in.
    pub slow_start: Duration,
    /// Share of a pool that must be in service; below it, ejections are ignored.
    pub panic_threshold: f64,
    /// How long a backend may be expected to read what it has got; zero means any time.
    pub line_prefill: Duration,
    /// Prompt tokens without a first token that one backend may have; 0 means any number.
    pub line_prompt_tokens: u64,
    /// The share of its memory that prompts and expected answers may take.
    pub line_kv_share: f64,
    /// Blocks of prompts of which it is remembered who has them.
    pub prefix_blocks: u64,
    /// Share of a domain whose members are out that takes the rest of it out too.
    pub domain_threshold: f64,
    /// Clouds, regions, zones and racks of which something is said.
    pub domains: Vec<DomainConfig>,
    /// What is paid for anyway.
    pub commitments: Vec<CommitmentConfig>,
    /// Seconds that a dollar is worth when backends with prices are compared.
    pub seconds_per_dollar: f64,
    /// Within what time a first token is promised; zero where nothing is.
    pub slo_ttft: Duration,
    /// Within what time each further token is promised; zero where nothing is.
    pub slo_itl: Duration,
}

impl Config {
    /// Seconds by which an answer is later that callers notice.
    pub(crate) fn slow_seconds(&self) -> f32 {
        match (self.slow_floor, self.slo_ttft) {
            (Duration::ZERO, Duration::ZERO) => 0.05,
            (Duration::ZERO, promised) => promised.as_secs_f32() / 4.0,
            (floor, _) => floor.as_secs_f32(),
        }
    }

    /// What is promised to callers.
    pub(crate) fn slo(&self) -> Slo {
        let seconds = |promised: Duration| match promised {
            Duration::ZERO => f32::INFINITY,
            promised => promised.as_secs_f32(),
        };
        Slo { ttft: seconds(self.slo_ttft), itl: seconds(self.slo_itl) }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            policy: policy::DEFAULT,
            consecutive_failures: 3,
            base_ejection: Duration::from_secs(1),
            max_ejection: Duration::from_secs(5),
            failure_share: 0.5,
            slow_ratio: 6.0,
            slow_floor: Duration::ZERO,
            slow_start: Duration::from_secs(10),
            panic_threshold: 0.5,
            line_prefill: Duration::from_millis(100),
            line_prompt_tokens: 0,
            line_kv_share: 0.95,
            domain_threshold: 0.5,
            domains: Vec::new(),
            commitments: Vec::new(),
            prefix_blocks: 1 << 20,
            seconds_per_dollar: 20.0,
            slo_ttft: Duration::ZERO,
            slo_itl: Duration::ZERO,
        }
    }
}

impl Section for Config {
    fn keys(&mut self, keys: &mut dyn Keys) {
        let key = Key::new("policy", "How a backend is chosen among those that can serve a request.");
        keys.choice(key, policy::NAMES, &mut self.policy);
        let key = Key::new("consecutive_failures", "Failures in a row that take a backend out of service.");
        keys.number(key, 1..=1_000, &mut self.consecutive_failures);
        let key = Key::new(
            "base_ejection_ms",
            "How long a backend is out at first, in milliseconds; each failed return doubles it.",
        );
        keys.millis(key, 100..=600_000, &mut self.base_ejection);
        let key = Key::new("max_ejection_ms", "The longest that a backend is out before it is tried again.");
        keys.millis(key, 100..=3_600_000, &mut self.max_ejection);
        let key = Key::new(
            "failure_share",
            "Share of its last 20 or so requests that must fail to take a backend out of service, though none in a row; 1 \
             means that only failures in a row do.",
        );
        keys.decimal(key, 0.05..=1.0, &mut self.failure_share);
        let key = Key::new(
            "slow_ratio",
            "A backend that takes so many times as long as the median of its peers, for first tokens or for further ones and \
             beside what was predicted of each, gets one request in a while until it is half as slow. Peers are the backends of a model \
             with the same `accelerator`, three at least. 0 means that nobody is taken out for that.",
        );
        keys.decimal(key, 0.0..=1_000.0, &mut self.slow_ratio);
        if self.slow_ratio != 0.0 && self.slow_ratio < 2.0 {
            keys.wrong("slow_ratio", format!("{} is neither 0 nor 2 and more", self.slow_ratio));
        }
        let key = Key::new(
            "slow_floor_ms",
            "By how many milliseconds an answer of such a backend must be later than its peers' in the mean, so that callers notice \
             it. 0 means a quarter of `slo_ttft_ms`, or 50 where nothing is promised.",
        );
        keys.millis(key, 0..=600_000, &mut self.slow_floor);
        let key = Key::new(
            "slow_start_ms",
            "Over how long a backend that comes, or comes back into service, is let in: what a request costs there counts ten \
             times at first, and once at the end. 0 means at once.",
        );
        keys.millis(key, 0..=3_600_000, &mut self.slow_start);
        let key = Key::new(
            "panic_threshold",
            "Share of a pool that must be in service; below it, ejections are ignored, because all backends failing \
             at once is rarely the backends' fault.",
        );
        keys.decimal(key, 0.0..=1.0, &mut self.panic_threshold);
        let key = Key::new(
            "domain_threshold",
            "Where more than this share of a rack, zone, region or cloud is out, and at least two backends, the rest of it is \
             taken out too, and let back in one request at a time; 1 lets each fail by itself.",
        );
        keys.decimal(key, 0.1..=1.0, &mut self.domain_threshold);
        let key = Key::new("domains", "Clouds, regions, zones and racks of which something is to be said.");
        keys.list(key, &mut self.domains);
        let key = Key::new(
            "commitments",
            "What is paid for whether it is used or not: using it costs nothing more until nothing of it is left.",
        );
        keys.list(key, &mut self.commitments);
        for (index, commitment) in self.commitments.iter().enumerate() {
            if self.commitments[..index].iter().any(|other| other.name == commitment.name) {
                keys.wrong("commitments", format!("two are named {:?}", commitment.name));
            }
        }
        let key = Key::new(
            "line_prefill_ms",
            "The line of a backend: how long it may be expected to read what it has got, beside the way there and back. At the \
             line requests wait here, for whichever backend is first below it. 0 means any time.",
        );
        keys.millis(key, 0..=600_000, &mut self.line_prefill);
        let key = Key::new(
            "line_prompt_tokens",
            "The line of a backend: prompt tokens that it may have got and not read yet. 0 means any number.",
        );
        keys.number(key, 0..=1 << 30, &mut self.line_prompt_tokens);
        let key = Key::new(
            "line_kv_share",
            "The line of a backend: the share of its memory that prompts and expected answers may take, where `kv_tokens` \
             is known. 0 means any.",
        );
        keys.decimal(key, 0.0..=10.0, &mut self.line_kv_share);
        let key = Key::new(
            "prefix_blocks",
            "Blocks of about 128 prompt tokens of which it is remembered which backends have them cached; some 50 bytes each.",
        );
        keys.number(key, 1_024..=1 << 28, &mut self.prefix_blocks);
        let key = Key::new(
            "seconds_per_dollar",
            "Seconds of waiting that a dollar is worth when backends with prices are compared; 0 lets money not count.",
        );
        keys.decimal(key, 0.0..=1e6, &mut self.seconds_per_dollar);
        let key = Key::new(
            "slo_ttft_ms",
            "Within how many milliseconds a first token is promised: backends that are expected to keep that go before those \
             that are not, whatever they cost. 0 means that nothing is promised.",
        );
        keys.millis(key, 0..=3_600_000, &mut self.slo_ttft);
        let key = Key::new(
            "slo_itl_ms",
            "The same of each further token: within how many milliseconds of the one before it.",
        );
        keys.millis(key, 0..=60_000, &mut self.slo_itl);
        if self.max_ejection < self.base_ejection {
            keys.wrong("max_ejection_ms", "is below base_ejection_ms".into());
        }
    }
}
