//! What a fleet did and what it cost.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{BackendFigures, figures::share};

/// What a simulated fleet did, in all, by place and by backend.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Fleet {
    /// All backends together.
    pub total: PlaceFigures,
    /// By cloud and region, in the order of their names.
    pub places: Vec<PlaceFigures>,
    /// By backend, in the order of the fleet.
    pub backends: Vec<BackendFigures>,
}

/// What the backends of one place did together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PlaceFigures {
    /// Cloud and region; empty for all of them.
    pub name: String,
    /// How many backends there are.
    pub backends: u64,
    /// Requests that were sent there.
    pub requests: u64,
    /// Share of the time in which they computed, in the mean.
    pub utilisation: f64,
    /// Prompt tokens computed.
    pub prefilled_tokens: u64,
    /// Prompt tokens that did not have to be computed.
    pub cached_tokens: u64,
    /// Share of the prompt tokens that did not have to be computed.
    pub cache_hit: f64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Sequences that lost their memory and were computed again.
    pub preemptions: u64,
    /// The largest share of a backend's memory for keys and values that was held.
    pub peak_kv: f64,
    /// What committed capacity cost, in US dollars.
    pub committed_dollars: f64,
    /// What was paid on demand, in US dollars.
    pub on_demand_dollars: f64,
    /// Both, in US dollars.
    pub dollars: f64,
    /// US dollars for a million tokens written; zero where none was.
    pub dollars_per_million_tokens: f64,
}

impl Fleet {
    /// Sums up `backends`; none where there are none.
    pub(super) fn of(backends: &[BackendFigures]) -> Option<Self> {
        let mut by_place: BTreeMap<String, Vec<&BackendFigures>> = BTreeMap::new();
        for backend in backends {
            by_place.entry(place(backend)).or_default().push(backend);
        }
        let places: Vec<_> =
            by_place.into_iter().map(|(name, those)| PlaceFigures::of(name, &those)).collect();
        let all: Vec<_> = backends.iter().collect();
        (!backends.is_empty()).then(|| Self {
            total: PlaceFigures::of(String::new(), &all),
            places,
            backends: backends.to_vec(),
        })
    }
}

/// Cloud and region, whichever are known.
fn place(backend: &BackendFigures) -> String {
    let known = [&backend.cloud, &backend.region].into_iter().filter(|part| !part.is_empty());
    known.map(String::as_str).collect::<Vec<_>>().join(" ")
}

impl PlaceFigures {
    fn of(name: String, backends: &[&BackendFigures]) -> Self {
        let count = |of: fn(&BackendFigures) -> u64| backends.iter().map(|backend| of(backend)).sum::<u64>();
        let sum = |of: fn(&BackendFigures) -> f64| backends.iter().map(|backend| of(backend)).sum::<f64>();
        let (prefilled, cached) = (count(|b| b.prefilled_tokens), count(|b| b.cached_tokens));
        let (committed, on_demand) = (sum(|b| b.committed_dollars), sum(|b| b.on_demand_dollars));
        let (output, dollars) = (count(|b| b.output_tokens), committed + on_demand);
        Self {
            name,
            backends: backends.len() as u64,
            requests: count(|b| b.requests),
            utilisation: sum(|b| b.busy) / backends.len().max(1) as f64,
            prefilled_tokens: prefilled,
            cached_tokens: cached,
            cache_hit: share(cached, prefilled + cached),
            output_tokens: output,
            preemptions: count(|b| b.preemptions),
            peak_kv: backends.iter().map(|backend| backend.peak_kv).fold(0.0, f64::max),
            committed_dollars: committed,
            on_demand_dollars: on_demand,
            dollars,
            dollars_per_million_tokens: if output == 0 { 0.0 } else { dollars * 1e6 / output as f64 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_sums_up_its_backends() {
        let backend = |region: &str, busy, output_tokens| BackendFigures {
            cloud: "aws".to_owned(),
            region: region.to_owned(),
            busy,
            output_tokens,
            prefilled_tokens: 300,
            cached_tokens: 100,
            committed_dollars: 2.0,
            on_demand_dollars: 1.0,
            ..BackendFigures::default()
        };
        let fleet =
            Fleet::of(&[backend("west", 0.5, 10), backend("east", 0.1, 20), backend("west", 0.7, 30)])
                .expect("there are backends");
        let names: Vec<_> = fleet.places.iter().map(|place| (place.name.as_str(), place.backends)).collect();
        assert_eq!(names, [("aws east", 1), ("aws west", 2)]);
        assert!((fleet.places[1].utilisation - 0.6).abs() < 1e-9);
        assert_eq!((fleet.total.output_tokens, fleet.total.dollars, fleet.total.cache_hit), (60, 9.0, 0.25));
        assert!((fleet.total.dollars_per_million_tokens - 150_000.0).abs() < 1e-6);
    }

    #[test]
    fn a_run_without_a_fleet_has_none() {
        assert_eq!(Fleet::of(&[]), None);
    }
}
