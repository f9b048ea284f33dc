//! The backends of the configuration: what the file says of each, and what the house makes of it.

mod check;
mod engine;
mod keys;
mod members;
mod spec;
mod watch;

pub(crate) use members::{Addresses, Targets};

use std::net::IpAddr;
use std::time::Duration;

use plimsoll_engines::orca;
use plimsoll_types::{Locality, StepTime};

use super::secret::Secret;

/// Where engines have their metrics.
const METRICS: &str = "/metrics";
/// What may be said of whether a backend goes on with chats.
const CONTINUES_CHATS: &[&str] = &["auto", "yes", "no"];

/// One backend, as it stands in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendConfig {
    /// Its name.
    pub name: String,
    /// Its address.
    pub url: String,
    /// The models that it serves; none means that it is asked.
    pub models: Vec<String>,
    /// Its own names for models.
    pub aliases: Vec<(String, String)>,
    /// Where it is.
    pub locality: Locality,
    /// Labels of where data stays there.
    pub residency: Vec<String>,
    /// What it computes on.
    pub accelerator: String,
    /// The shape of the model, as the table of GPUs has it.
    pub shape: String,
    /// Over how many GPUs the model is spread.
    pub tensor_parallel: u64,
    /// The type of the weights.
    pub dtype: String,
    /// Step times in the place of the table's.
    pub step_time: StepTime,
    /// Tokens whose keys and values memory holds; 0 means what the table says, if it knows.
    pub kv_tokens: u64,
    /// The network there and back, in milliseconds; 0 means that it is not known.
    pub round_trip_ms: f64,
    /// What an hour of one GPU costs, in US dollars.
    pub gpu_hour_dollars: f64,
    /// Whether it is paid for anyway.
    pub committed: bool,
    /// The commitment that pays for it.
    pub commitment: String,
    /// What a million prompt tokens cost.
    pub million_prompt_dollars: f64,
    /// What a million tokens of answers cost.
    pub million_answer_dollars: f64,
    /// Requests at a time.
    pub max_in_flight: u64,
    /// Whether to speak HTTP/2.
    pub http2: bool,
    /// A token for it.
    bearer: Secret,
    /// A key for it, sent as `api-key`.
    api_key: Secret,
    /// Header fields for it.
    pub headers: Vec<(String, String)>,
    /// Certificates to trust.
    pub ca_file: String,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// Whether it understands `stream_options`.
    pub stream_options: bool,
    /// Whether it understands `cache_salt`.
    pub cache_salt: bool,
    /// Where it publishes KV events.
    pub kv_events: String,
    /// Where it repeats them.
    pub kv_replay: String,
    /// Whether it takes several texts in one call.
    pub batch: bool,
    /// Whether it goes on with chats that broke elsewhere: auto, yes or no.
    pub continues_chats: &'static str,
    /// Whether each address of its host is a backend of its own.
    pub resolve: bool,
    /// Which of them this is.
    connect_to: Option<IpAddr>,
    /// How much it is wanted beside others.
    pub weight: f64,
    /// The path that says whether it is well; empty where it has none.
    pub health: String,
    /// The path or address of its metrics; empty where it has none.
    pub metrics: String,
    /// In which form it is asked to say its load along with answers.
    pub orca: &'static str,
}

impl Default for BackendConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: String::new(),
            models: Vec::new(),
            aliases: Vec::new(),
            locality: Locality::default(),
            residency: Vec::new(),
            accelerator: String::new(),
            shape: String::new(),
            tensor_parallel: 1,
            dtype: "bf16".into(),
            step_time: StepTime::default(),
            kv_tokens: 0,
            round_trip_ms: 0.0,
            gpu_hour_dollars: 0.0,
            committed: false,
            commitment: String::new(),
            million_prompt_dollars: 0.0,
            million_answer_dollars: 0.0,
            max_in_flight: 1_024,
            http2: false,
            bearer: Secret::default(),
            api_key: Secret::default(),
            headers: Vec::new(),
            ca_file: String::new(),
            connect_timeout: Duration::from_secs(3),
            stream_options: true,
            cache_salt: false,
            kv_events: String::new(),
            kv_replay: String::new(),
            batch: true,
            continues_chats: CONTINUES_CHATS[0],
            resolve: false,
            connect_to: None,
            weight: 1.0,
            health: "/health".into(),
            metrics: METRICS.into(),
            orca: orca::Asked::NAMES[0],
        }
    }
}

impl BackendConfig {
    /// A backend at `url` of which nothing else is known.
    #[must_use]
    pub fn at(name: String, url: String) -> Self {
        Self { name, url, ..Self::default() }
    }
}
