//! How one of several backends is chosen. Hot path: no allocation, no lock, no await.

mod least_in_flight;
mod least_tokens;
mod power_of_two;
mod random;
mod round_robin;

pub use least_in_flight::LeastInFlight;
pub use least_tokens::LeastTokens;
pub use power_of_two::PowerOfTwo;
pub use random::Random;
pub use round_robin::RoundRobin;

use rand::rngs::SmallRng;

use crate::{Candidates, RequestShape};

/// Chooses one of the backends that may serve a request.
///
/// Health, model and room are settled before a policy is asked: every candidate is a valid answer, and the answer is
/// an index into `candidates`.
pub trait Policy: Send + Sync {
    /// Picks a backend for `request`. Called once for every attempt: must not allocate.
    fn pick(&self, request: &RequestShape, candidates: Candidates<'_>, rng: &mut SmallRng) -> usize;
}

/// The names that a configuration may use.
pub const NAMES: &[&str] = &["power_of_two", "random", "round_robin", "least_in_flight", "least_tokens"];
/// The policy where none is named.
pub const DEFAULT: &str = "power_of_two";

/// The policy of a name in [`NAMES`].
///
/// # Panics
///
/// On another name: the configuration has checked it.
#[must_use]
pub fn named(name: &str) -> Box<dyn Policy> {
    match name {
        "power_of_two" => Box::new(PowerOfTwo),
        "random" => Box::new(Random),
        "round_robin" => Box::new(RoundRobin::default()),
        "least_in_flight" => Box::new(LeastInFlight),
        "least_tokens" => Box::new(LeastTokens),
        other => panic!("{other} is not among the policies that a configuration may name"),
    }
}
