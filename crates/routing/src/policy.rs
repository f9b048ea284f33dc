//! How one of several backends is chosen. Hot path: no allocation, no lock, no await.

mod expected_cost;
mod least_in_flight;
mod least_tokens;
mod peak_ewma;
mod power_of_two;
mod prefix_affinity;
mod prefix_hash;
mod prequal;
mod random;
mod round_robin;

pub use expected_cost::ExpectedCost;
pub use least_in_flight::LeastInFlight;
pub use least_tokens::LeastTokens;
pub use peak_ewma::PeakEwma;
pub use power_of_two::PowerOfTwo;
pub use prefix_affinity::PrefixAffinity;
pub use prefix_hash::PrefixHash;
pub use prequal::Prequal;
pub use random::Random;
pub use round_robin::RoundRobin;

use rand::RngExt;
use rand::rngs::SmallRng;

use crate::{Candidates, RequestShape};

/// Chooses one of the backends that may serve a request.
///
/// Health, model and room are settled before a policy is asked: every candidate is a valid answer, and the answer is
/// an index into `candidates`.
pub trait Policy: Send + Sync {
    /// Picks a backend for `request`. Called once for every attempt: must not allocate.
    fn pick(&self, request: &RequestShape<'_>, candidates: Candidates<'_>, rng: &mut SmallRng) -> usize;
}

/// The names that a configuration may use.
pub const NAMES: &[&str] = &[
    "expected_cost",
    "power_of_two",
    "random",
    "round_robin",
    "least_in_flight",
    "least_tokens",
    "peak_ewma",
    "prequal",
    "prefix_affinity",
    "prefix_hash",
];
/// The policy where none is named.
pub const DEFAULT: &str = "expected_cost";

/// Those that go by what backends have cached of a prompt: for the others nobody looks.
const KNOWING: &[&str] = &["expected_cost", "prefix_affinity"];
/// Those that go by where a prompt is at home.
const HASHING: &[&str] = &["expected_cost", "prefix_hash"];

/// Whether a policy goes by what backends have cached.
#[must_use]
pub fn knows_prefixes(name: &str) -> bool {
    KNOWING.contains(&name)
}

/// Whether a policy goes by where prompts are at home.
pub(crate) fn knows_homes(name: &str) -> bool {
    HASHING.contains(&name)
}

/// Whether a policy goes by what a prompt begins with, so that it is worth reading.
#[must_use]
pub fn reads_prompts(name: &str) -> bool {
    knows_prefixes(name) || knows_homes(name)
}

/// The policy of a name in [`NAMES`].
///
/// # Panics
///
/// On another name: the configuration has checked it.
#[must_use]
pub fn named(name: &str) -> Box<dyn Policy> {
    match name {
        "expected_cost" => Box::new(ExpectedCost),
        "power_of_two" => Box::new(PowerOfTwo),
        "peak_ewma" => Box::new(PeakEwma),
        "prequal" => Box::new(Prequal),
        "prefix_affinity" => Box::new(PrefixAffinity),
        "prefix_hash" => Box::new(PrefixHash),
        "random" => Box::new(Random),
        "round_robin" => Box::new(RoundRobin::default()),
        "least_in_flight" => Box::new(LeastInFlight),
        "least_tokens" => Box::new(LeastTokens),
        other => panic!("{other} is not among the policies that a configuration may name"),
    }
}

/// Two of `count` candidates, another one each if there are two.
fn two(count: usize, rng: &mut SmallRng) -> (usize, usize) {
    let a = rng.random_range(0..count);
    // One of the others: shifting past `a` keeps the two apart.
    let b = if count > 1 { (a + rng.random_range(1..count)) % count } else { a };
    (a, b)
}
