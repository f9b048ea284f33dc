use plimsoll_batching::step::{Admission, Limits};
use plimsoll_engines::simulated::{gpu_model, known_gpu_models};
use plimsoll_types::{Key, Keys, Section, StepTime};

/// Backends that are all alike: in one place, with the same GPU and model.
#[derive(Debug, Clone)]
pub struct Group {
    /// Its name; its backends are numbered.
    pub name: String,
    /// How many backends it has.
    pub count: u64,
    /// Where they are.
    pub cloud: String,
    /// The region in that cloud.
    pub region: String,
    /// The zone in that region.
    pub zone: String,
    /// The models that they serve; none means all of the trace.
    pub models: Vec<String>,
    /// What they compute on, as in the table of GPUs.
    pub accelerator: String,
    /// The shape of the model there.
    pub shape: String,
    /// Over how many GPUs one backend's model is spread.
    pub tensor_parallel: u64,
    /// Data-parallel ranks behind the address of one backend.
    pub ranks: u64,
    /// The type of its weights.
    pub dtype: String,
    /// Step times in the place of the table's.
    pub step_time: StepTime,
    /// How many times as fast as that they are.
    pub speed: f64,
    /// Tokens whose keys and values memory holds; 0 means what the table says.
    pub kv_tokens: u64,
    /// Tokens of one block of that memory.
    pub block_tokens: u64,
    /// Sequences that run together.
    pub sequences: u64,
    /// Tokens of one step.
    pub step_tokens: u64,
    /// Tokens of one prompt in one step; 0 means as many as the step has.
    pub chunk_tokens: u64,
    /// When a waiting sequence is let in.
    pub admission: &'static str,
    /// Whether prompts share what they begin with.
    pub prefix_cache: bool,
    /// Requests that a gateway sends to one backend at a time.
    pub max_in_flight: u64,
    /// The round trip to gateways for which no other is given, in milliseconds.
    pub rtt_ms: f64,
    /// What an hour of one GPU costs on demand, in US dollars.
    pub on_demand_dollars: f64,
    /// What an hour of one committed GPU costs, in US dollars.
    pub committed_dollars: f64,
    /// How many of the backends are committed: paid for whether they are used or not.
    pub committed: u64,
}

/// The names of the admissions.
const ADMISSIONS: &[&str] = &["while_it_fits", "future_peak"];

impl Default for Group {
    fn default() -> Self {
        Self {
            name: String::new(),
            count: 1,
            cloud: String::new(),
            region: String::new(),
            zone: String::new(),
            models: Vec::new(),
            accelerator: "H200".into(),
            shape: "8B".into(),
            tensor_parallel: 1,
            ranks: 1,
            dtype: "bf16".into(),
            step_time: StepTime::default(),
            speed: 1.0,
            kv_tokens: 0,
            block_tokens: 16,
            sequences: 256,
            step_tokens: 8_192,
            chunk_tokens: 0,
            admission: ADMISSIONS[0],
            prefix_cache: true,
            max_in_flight: 1_024,
            rtt_ms: 1.0,
            on_demand_dollars: 0.0,
            committed_dollars: 0.0,
            committed: 0,
        }
    }
}

impl Group {
    /// How long steps take, as the table or the scenario has it.
    #[must_use]
    pub fn time(&self) -> StepTime {
        let given = Some(self.step_time).filter(StepTime::is_given);
        let table = || self.gpu().map(|gpu| gpu.time);
        given.or_else(table).unwrap_or_default().scaled(1.0 / self.speed)
    }

    /// What one rank can do at a time.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let table = || self.gpu().map_or(500_000, |gpu| u64::from(gpu.kv_tokens));
        let kv_tokens = if self.kv_tokens == 0 { table() } else { self.kv_tokens };
        Limits {
            step_tokens: small(self.step_tokens),
            chunk_tokens: if self.chunk_tokens == 0 { u32::MAX } else { small(self.chunk_tokens) },
            sequences: small(self.sequences),
            kv_blocks: small(kv_tokens / self.block_tokens),
            block_tokens: small(self.block_tokens),
            admission: if self.admission == ADMISSIONS[0] {
                Admission::WhileItFits
            } else {
                Admission::FuturePeak
            },
        }
    }

    /// Where it is, as round trips and faults name it: `cloud/region`.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}/{}", self.cloud, self.region)
    }

    /// GPUs of one backend.
    #[must_use]
    pub fn gpus(&self) -> f64 {
        (self.tensor_parallel * self.ranks) as f64
    }

    /// Blocks of memory of one backend, over all of its ranks.
    #[must_use]
    pub fn kv_blocks(&self) -> u32 {
        self.limits().kv_blocks.saturating_mul(u32::try_from(self.ranks).unwrap_or(u32::MAX))
    }

    fn gpu(&self) -> Option<&'static plimsoll_engines::simulated::GpuModel> {
        let spread = u32::try_from(self.tensor_parallel).ok()?;
        gpu_model(&self.accelerator, &self.shape, spread, &self.dtype)
    }

    fn check(&self, keys: &mut dyn Keys) {
        if self.name.is_empty() {
            keys.wrong("name", "is missing".into());
        }
        if !self.step_time.is_given() && self.gpu().is_none() {
            let (gpu, shape, spread, dtype) =
                (&self.accelerator, &self.shape, self.tensor_parallel, &self.dtype);
            keys.wrong(
                "accelerator",
                format!(
                    "the table has no {gpu} {shape} x{spread} {dtype}; give step_time, or one of {}",
                    known_gpu_models()
                ),
            );
        }
        if self.committed > self.count {
            keys.wrong("committed", format!("is {}, and there are {} backends", self.committed, self.count));
        }
    }
}

impl Section for Group {
    fn keys(&mut self, keys: &mut dyn Keys) {
        keys.text(Key::new("name", "Its name; its backends are numbered."), &mut self.name);
        keys.number(Key::new("count", "How many backends it has."), 1..=10_000, &mut self.count);
        keys.text(Key::new("cloud", "The cloud that they are in."), &mut self.cloud);
        keys.text(Key::new("region", "The region in that cloud."), &mut self.region);
        keys.text(Key::new("zone", "The zone in that region."), &mut self.zone);
        keys.texts(
            Key::new("models", "The models that they serve; none means all of the trace."),
            &mut self.models,
        );
        keys.text(
            Key::new("accelerator", "What they compute on, as in the table of GPUs."),
            &mut self.accelerator,
        );
        keys.text(Key::new("shape", "The shape of the model there."), &mut self.shape);
        let key = Key::new("tensor_parallel", "Over how many GPUs the model of one backend is spread.");
        keys.number(key, 1..=64, &mut self.tensor_parallel);
        let key = Key::new(
            "ranks",
            "Data-parallel ranks behind the address of one backend: each has its own model and memory, and reads prompts by \
             itself.",
        );
        keys.number(key, 1..=64, &mut self.ranks);
        keys.text(Key::new("dtype", "The type of the weights."), &mut self.dtype);
        keys.section(Key::new("step_time", "Step times in the place of the table's."), &mut self.step_time);
        keys.decimal(
            Key::new("speed", "How many times as fast as that they are."),
            0.001..=1_000.0,
            &mut self.speed,
        );
        let key =
            Key::new("kv_tokens", "Tokens whose keys and values memory holds; 0 means what the table says.");
        keys.number(key, 0..=1_000_000_000, &mut self.kv_tokens);
        keys.number(
            Key::new("block_tokens", "Tokens of one block of that memory."),
            1..=4_096,
            &mut self.block_tokens,
        );
        keys.number(Key::new("sequences", "Sequences that run together."), 1..=65_536, &mut self.sequences);
        keys.number(Key::new("step_tokens", "Tokens of one step."), 1..=1_048_576, &mut self.step_tokens);
        let key =
            Key::new("chunk_tokens", "Tokens of one prompt in one step; 0 means as many as the step has.");
        keys.number(key, 0..=1_048_576, &mut self.chunk_tokens);
        let key = Key::new(
            "admission",
            "When a waiting sequence is let in: `while_it_fits` as vLLM V1 does it, `future_peak` when memory will \
             suffice at the worst moment to come.",
        );
        keys.choice(key, ADMISSIONS, &mut self.admission);
        keys.flag(
            Key::new("prefix_cache", "Whether prompts share what they begin with."),
            &mut self.prefix_cache,
        );
        let key = Key::new("max_in_flight", "Requests that one gateway sends to one backend at a time.");
        keys.number(key, 1..=1_000_000, &mut self.max_in_flight);
        let key = Key::new("rtt_ms", "The round trip to gateways for which `round_trips` has none.");
        keys.decimal(key, 0.0..=10_000.0, &mut self.rtt_ms);
        let key = Key::new("on_demand_dollars", "What an hour of one GPU costs on demand.");
        keys.decimal(key, 0.0..=1_000.0, &mut self.on_demand_dollars);
        keys.decimal(
            Key::new("committed_dollars", "What an hour of one committed GPU costs."),
            0.0..=1_000.0,
            &mut self.committed_dollars,
        );
        let key =
            Key::new("committed", "How many of the backends are committed: paid for whether used or not.");
        keys.number(key, 0..=10_000, &mut self.committed);
        self.check(keys);
    }
}
