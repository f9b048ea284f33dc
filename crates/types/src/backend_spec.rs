use std::time::Duration;

use crate::{Locality, Prices, StepTime};

/// One running instance of an engine, as the configuration or a source of backends describes it.
///
/// How to reach it is the business of the engine that talks to it; this is what routing and operators want to know.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BackendSpec {
    /// Its name: unique in the fleet, a metric label, never shown to callers.
    pub name: String,
    /// Where it is.
    pub locality: Locality,
    /// Labels of where data that goes there stays, such as `eu`.
    pub residency: Vec<String>,
    /// What it computes on, such as `H200`; empty where not said.
    pub accelerator: String,
    /// The models that it serves.
    pub models: Vec<ServedModel>,
    /// Whether it goes on with a chat whose last message is the beginning of an answer (`continue_final_message`); `None`
    /// where that is to be known by what it says of itself.
    pub continues_chats: Option<bool>,
    /// How long its steps take, where that is known: from a table, or measured by `plimsoll load --calibrate`.
    pub step_time: Option<StepTime>,
    /// Tokens whose keys and values its memory holds, where that is known.
    pub kv_tokens: Option<u32>,
    /// The network there and back, where that is known beforehand.
    pub round_trip: Option<Duration>,
    /// What using it costs.
    pub prices: Prices,
    /// The name of the commitment that pays for it, as long as something of that is left.
    pub commitment: Option<String>,
    /// Requests that it may work on at a time.
    pub max_in_flight: u32,
    /// How much it is wanted beside others, up to 1; `None` as much as any.
    pub weight: Option<f32>,
    /// Whether requests must not be joined on their way to it.
    pub alone: bool,
    /// What tells this backend from another of the same name: its address and how to talk to it. Two specs that
    /// differ here are two backends, which share nothing that was learned.
    pub identity: String,
}

impl BackendSpec {
    /// The places that a request may ask to be served in: its labels, its cloud and its region.
    pub fn places(&self) -> impl Iterator<Item = &str> {
        let at = [&self.locality.cloud, &self.locality.region];
        self.residency.iter().chain(at).map(String::as_str).filter(|place| !place.is_empty())
    }
}

/// A model of a backend, by the name callers use and the name that backend uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedModel {
    /// What callers put into `model`.
    pub name: String,
    /// What the backend calls it, where that differs (a deployment, a path, a LoRA adapter).
    pub alias: Option<String>,
}

impl ServedModel {
    /// A model whose name at the backend is the name that callers use.
    #[must_use]
    pub fn plain(name: impl Into<String>) -> Self {
        Self { name: name.into(), alias: None }
    }
}
