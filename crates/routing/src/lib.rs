//! Chooses the backend that will serve a request.
//!
//! A pick is arithmetic over a snapshot: no I/O, no clock, no lock, no allocation. The caller brings the time and the
//! randomness, so every decision can be replayed in a test.
//!
//! ```text
//!   Fleet ── pool of the model ── in service, not tried yet ──▶ Candidates ── policy ──▶ Dispatched ──▶ caller
//!     ▲                                                                                    │
//!     └───────── load and outcome, given back by the guard ◀───────────────────────────────┘
//! ```
//!
//! What is in flight is counted at dispatch and given back when [`Dispatched`] is dropped, whatever happened. Start
//! reading at [`policy::Policy`]; a new policy is one new file in `policy/` and one line in `policy.rs`.

pub mod affinity;
mod aged;
mod answers;
mod backend;
mod candidates;
mod capacity;
mod commitment;
mod config;
mod cost;
mod dispatched;
mod domain;
mod explanation;
mod gray;
mod journal;
mod latency;
mod learned;
mod line;
mod load;
mod metrics;
mod outlier;
mod pace;
mod places;
pub mod policy;
mod prefixes;
mod reported;
mod ring;
mod router;
mod seen;
mod snapshot;
mod speed;
mod sync;
mod tally;

pub use backend::Backend;
pub use candidates::{Answer, Candidates, RequestShape};
pub use commitment::{Commitment, CommitmentConfig};
pub use config::Config;
pub use cost::{Conditions, Cost, Slo, Tier};
pub use dispatched::{Dispatched, Verdict};
pub use domain::{Domain, DomainConfig, DomainState, domain_names};
pub use explanation::{Expected, Explanation};
pub use gray::{BesidePeers, Found};
pub use journal::{Journal, Sent};
pub use learned::Learned;
pub use line::Line;
pub use load::Load;
pub use outlier::{Outlier, Service};
pub use pace::{Pace, Writing};
pub use places::{Allowed, MOST_LABELS};
pub use reported::Report;
pub use router::{PickError, Router};
pub use seen::{Probed, Reporting, Seen};
pub use snapshot::{Fleet, Pool};
