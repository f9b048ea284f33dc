//! What routing is told of a backend.

use std::time::Duration;

use plimsoll_engines::simulated;
use plimsoll_types::{BackendSpec, Prices, ServedModel, StepTime};

use super::BackendConfig;

impl BackendConfig {
    /// What routing is told of it, if it serves `models`.
    #[must_use]
    pub fn spec(&self, models: &[String]) -> BackendSpec {
        let alias =
            |name: &str| self.aliases.iter().find(|(model, _)| model == name).map(|(_, alias)| alias.clone());
        BackendSpec {
            name: self.name.clone(),
            locality: self.locality.clone(),
            residency: self.residency.clone(),
            accelerator: self.accelerator.clone(),
            models: models
                .iter()
                .map(|name| ServedModel { name: name.clone(), alias: alias(name) })
                .collect(),
            max_in_flight: u32::try_from(self.max_in_flight).unwrap_or(u32::MAX),
            commitment: Some(self.commitment.clone()).filter(|name| !name.is_empty()),
            weight: (self.weight < 1.0).then_some(self.weight as f32),
            alone: !self.batch,
            continues_chats: match self.continues_chats {
                "yes" => Some(true),
                "no" => Some(false),
                _ => self.url.starts_with("llama:").then_some(true),
            },
            identity: self.identity(),
            step_time: Some(self.step_time).filter(StepTime::is_given).or(self.gpu().map(|gpu| gpu.time)),
            kv_tokens: self.kv_tokens(),
            round_trip: (self.round_trip_ms > 0.0)
                .then(|| Duration::from_secs_f64(self.round_trip_ms / 1_000.0)),
            prices: self.prices(),
        }
    }

    /// Its row in the table of GPUs, if it is there.
    pub(super) fn gpu(&self) -> Option<&'static simulated::GpuModel> {
        let spread = u32::try_from(self.tensor_parallel).ok()?;
        simulated::gpu_model(&self.accelerator, &self.shape, spread, &self.dtype)
    }

    fn kv_tokens(&self) -> Option<u32> {
        let given = u32::try_from(self.kv_tokens).ok().filter(|tokens| *tokens > 0);
        given.or(self.gpu().map(|gpu| gpu.kv_tokens))
    }

    fn prices(&self) -> Prices {
        Prices {
            hour: self.gpu_hour_dollars * self.tensor_parallel as f64,
            committed: self.committed,
            million_prompt: self.million_prompt_dollars,
            million_answer: self.million_answer_dollars,
        }
    }

    /// Differs where another engine must be made: a hash, since secrets are part of it.
    fn identity(&self) -> String {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        let secrets = (&self.bearer.0, &self.api_key.0, &self.ca_file, &self.headers);
        let manners = (self.http2, self.connect_timeout, self.stream_options, self.cache_salt, self.orca);
        (self.connect_to, secrets, manners).hash(&mut hasher);
        format!("{}#{:x}", self.url, hasher.finish())
    }
}
