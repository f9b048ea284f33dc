//! Picks: which backend, what it had cached, and how right that was.

use super::{Metric, RATIO_BUCKETS};

/// Picks.
pub const PICKS: Metric = Metric::counter_of(
    "plimsoll_picks_total",
    &["model", "policy", "cloud", "region", "backend"],
    "Backends picked, by policy and place.",
);
/// What was cached of prompts, as routing thought.
pub const PREFIX_TOKENS: Metric = Metric::counter_of(
    "plimsoll_prefix_tokens_total",
    &["model"],
    "Prompt tokens that the picked backend was expected to have cached (estimated).",
);
/// Blocks that nobody could remember.
pub const PREFIX_REFUSED: Metric = Metric::counter_of(
    "plimsoll_prefix_refused_blocks_total",
    &[],
    "Blocks of prompts that were not remembered, since `routing.prefix_blocks` was reached: if this grows, that is too small for \
     the fleet.",
);
/// Whether picks follow caches.
pub const PREFIX_PICKS: Metric = Metric::counter_of(
    "plimsoll_prefix_picks_total",
    &["model", "outcome"],
    "Picks by where the prompt is cached: as much at the picked backend as anywhere (hit), more at another (elsewhere), \
     nothing anywhere (nowhere); as far as routing knows.",
);
/// Picks far away.
pub const SPILLOVERS: Metric = Metric::counter_of(
    "plimsoll_spillovers_total",
    &["model"],
    "Picks in another region than the one with the shortest way.",
);
/// What picks cost beyond the cheapest.
pub const PICK_REGRET: Metric = Metric::histogram_of(
    "plimsoll_pick_regret_seconds",
    &["model", "policy"],
    &[0.0001, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0],
    "What the picked backend was expected to cost beyond the cheapest candidate, by the cost of `expected_cost`; of one \
     pick in 64.",
);
/// How right routing was.
pub const TTFT_PREDICTION: Metric = Metric::histogram_of(
    "plimsoll_ttft_prediction_ratio",
    &["model"],
    RATIO_BUCKETS,
    "Time to first token of an attempt over what was expected when its backend was picked.",
);
