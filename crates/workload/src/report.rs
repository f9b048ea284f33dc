//! What came of a run: the same for a live gateway and for a simulation, so that they can be compared.
//!
//! ```text
//!   gap, record ──▶ Recorder ── About ──▶ Report ──▶ JSON, text, html
//!                      └──▶ csv             ├──▶ compare: two runs of one trace
//!                                           └──▶ policies: many runs, by policy and seed
//! ```
//!
//! The same records give the same report, byte for byte: nothing here looks at a clock or iterates in hash order.

mod compare;
mod csv;
mod figures;
mod fleet;
mod histogram;
mod html;
mod metric;
mod plot;
mod policies;
mod recorder;
#[cfg(test)]
mod sample;
mod slices;
mod table;
mod text;
mod units;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use compare::{Comparison, Difference, compare};
pub use csv::csv;
pub use figures::{Figures, Spread};
pub use fleet::{Fleet, PlaceFigures};
pub use histogram::Sparse;
pub use html::html;
pub use metric::{Change, Scale, Verdict};
pub use policies::{Policies, PolicyRow, Score};
pub use recorder::Recorder;
pub use slices::Slice;

/// The version of the JSON form; it changes when a reader of an older one would be misled.
pub const VERSION: u32 = 1;

/// What a request must keep to, to count as good.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Slo {
    /// Seconds to the first token, at most.
    pub ttft_seconds: f64,
    /// Seconds for each token after the first, in the mean of the request, at most.
    pub tpot_seconds: f64,
}

impl Default for Slo {
    /// What MLPerf Inference asks of Llama 2 70B in its server scenario.
    fn default() -> Self {
        Self { ttft_seconds: 2.0, tpot_seconds: 0.2 }
    }
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

/// Which kind of run a report tells of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A live gateway under load.
    #[default]
    Load,
    /// The shipped code over simulated backends.
    Simulation,
}

/// What a report is about.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct About {
    /// Which kind of run it was.
    pub kind: Kind,
    /// What was replayed: the name of a trace or a scenario.
    pub name: String,
    /// What it was replayed against: an address or a policy.
    pub target: String,
    /// The policy that picked backends, where it is known.
    pub policy: String,
    /// The seed of all that was random.
    pub seed: u64,
    /// What a request must keep to, to count as good.
    pub slo: Slo,
    /// The names that `model` of a record counts.
    pub models: Vec<String>,
    /// The names that `tenant` of a record counts.
    pub tenants: Vec<String>,
    /// The names that `region` of a record counts.
    pub regions: Vec<String>,
    /// The names that `backend` of a record counts.
    pub backends: Vec<String>,
    /// What each backend of a simulated fleet did.
    pub fleet: Vec<BackendFigures>,
    /// What a reader must know to believe the figures, a sentence each.
    pub notes: Vec<String>,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The version of this form.
    pub version: u32,
    /// Which kind of run it was.
    pub kind: Kind,
    /// What was replayed.
    pub name: String,
    /// What it was replayed against.
    pub target: String,
    /// The policy that picked backends, where it is known.
    pub policy: String,
    /// The seed of all that was random.
    pub seed: u64,
    /// What a request had to keep to, to count as good.
    pub slo: Slo,
    /// What a reader must know to believe the figures.
    pub notes: Vec<String>,
    /// The time that rates count: while requests arrived, so that one straggler does not thin them out; until the end
    /// where all arrived within a second.
    pub rate_seconds: f64,
    /// From the beginning to the end of the last request.
    pub elapsed_seconds: f64,
    /// All requests.
    pub total: Figures,
    /// The requests of each model, where there is more than one.
    pub by_model: Vec<Group>,
    /// The requests of each tenant, where there is more than one.
    pub by_tenant: Vec<Group>,
    /// The requests from each region, where there is more than one.
    pub by_region: Vec<Group>,
    /// The requests that each backend answered, where there is more than one.
    pub by_backend: Vec<Group>,
    /// The run in slices of time.
    pub slices: Vec<Slice>,
    /// Requests sent to each backend in each slice, where that is told.
    pub load: Vec<BackendLoad>,
    /// What the fleet did, where it was simulated.
    pub fleet: Option<Fleet>,
}

/// The requests that have something in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// The name of what they have in common.
    pub name: String,
    /// What they came to.
    pub figures: Figures,
}

/// The load of one backend over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackendLoad {
    /// Its name.
    pub name: String,
    /// Requests sent there in each slice.
    pub requests: Vec<u64>,
}

impl Report {
    /// Its JSON form.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("a report has no map whose keys are not strings")
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    /// If `json` is not a report of this [`VERSION`].
    pub fn from_json(json: &str) -> Result<Self, ReadError> {
        let version = serde_json::from_str::<Versioned>(json)?.version;
        if version == VERSION { Ok(serde_json::from_str(json)?) } else { Err(ReadError::Version(version)) }
    }

    /// What tells it from other reports on one page: its policy, or what it was replayed against.
    #[must_use]
    pub fn label(&self) -> &str {
        if self.policy.is_empty() { &self.target } else { &self.policy }
    }
}

/// A report cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not a report at all.
    #[error("not a report: {0}")]
    Json(#[from] serde_json::Error),
    /// Another version of this crate wrote it.
    #[error("a report of version {0}, of which this program knows only {VERSION}")]
    Version(u32),
}

/// As much of a report as every version has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}
