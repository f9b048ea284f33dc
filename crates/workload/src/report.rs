//! What came of a run: the same for a live gateway and for a simulation, so that they can be compared.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a request must keep to, to count as good.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Slo {
    /// Seconds to the first token, at most.
    pub ttft_seconds: f64,
    /// Seconds for each token after the first, in the mean of the request, at most.
    pub tpot_seconds: f64,
}

/// How a request ended, as its client saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All of the answer came.
    Ok,
    /// Refused for what it is: a status from 400 to 499 other than 429.
    Refused,
    /// Refused for want of room: 429 or 503.
    Overloaded,
    /// Another status, or an answer that is none.
    Failed,
    /// The answer broke off after it had begun.
    Broken,
    /// Nobody could be reached.
    Unreachable,
    /// It took too long.
    Timeout,
    /// The run ended before it did.
    Unfinished,
}

/// What became of one request, as its client saw it. Times count from the beginning of the run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Record {
    /// Which one of the trace.
    pub request: u32,
    /// When it was due.
    pub due: Duration,
    /// When it was really sent: later than due where the generator could not keep up.
    pub sent: Duration,
    /// When the first token came.
    pub first_token: Option<Duration>,
    /// When it was over.
    pub end: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// Tokens of the prompt, as the answer says or else as the trace does.
    pub prompt_tokens: u32,
    /// How many of them the backend had cached, as far as it says.
    pub cached_tokens: u32,
    /// Tokens of the answer that came.
    pub output_tokens: u32,
    /// Which model it asked for, who sent it and from where, as in the trace.
    pub model: u16,
    /// Who sent it.
    pub tenant: u16,
    /// Where it came from.
    pub region: u16,
    /// Which backend answered, where that is told.
    pub backend: Option<u16>,
}

/// What one backend of a simulated fleet did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BackendFigures {
    /// Its name.
    pub name: String,
    /// Its cloud.
    pub cloud: String,
    /// Its region.
    pub region: String,
    /// Its zone.
    pub zone: String,
    /// What it computes on.
    pub accelerator: String,
    /// Requests that were sent there.
    pub requests: u64,
    /// Share of the time in which it computed, from 0 to 1.
    pub busy: f64,
    /// Prompt tokens that it computed.
    pub prefilled_tokens: u64,
    /// Prompt tokens that it did not have to compute.
    pub cached_tokens: u64,
    /// Tokens that it wrote.
    pub output_tokens: u64,
    /// Sequences that lost their memory and were computed again.
    pub preemptions: u64,
    /// The largest share of its memory for keys and values that was held.
    pub peak_kv: f64,
    /// What it cost in committed capacity, in US dollars.
    pub committed_dollars: f64,
    /// What it cost on demand, in US dollars.
    pub on_demand_dollars: f64,
}
