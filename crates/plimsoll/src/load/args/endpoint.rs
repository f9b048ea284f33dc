//! Who is asked, and for what.

use std::path::Path;

use anyhow::{Context, bail};
use plimsoll_workload::load::{Asking, Target, TenantKeys};
use plimsoll_workload::prompts::{Form, Length};
use plimsoll_workload::report::Slo;

use super::{Asked, Put};

/// Where a gateway listens that was told nothing.
pub(super) const HERE: &str = "http://127.0.0.1:8080";

impl Put {
    /// The endpoint, and the keys for it.
    pub(crate) fn target(&self) -> anyhow::Result<Target> {
        let header = |field: &String| match field.split_once(':') {
            Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
            None => bail!("--header {field:?}: there is no colon between a name and a value"),
        };
        Ok(Target {
            url: self.url.clone().unwrap_or_else(|| HERE.to_owned()),
            keys: self.keys()?,
            headers: self.header.iter().map(header).collect::<anyhow::Result<_>>()?,
            http2: self.http2,
            ca_file: self.ca_file.clone(),
        })
    }

    fn keys(&self) -> anyhow::Result<TenantKeys> {
        let read = |file: &Path| std::fs::read_to_string(file).with_context(|| file.display().to_string());
        let default = match (&self.key, &self.key_file) {
            (Some(key), _) => Some(key.clone()),
            (None, Some(file)) => Some(read(file)?.trim().to_owned()),
            (None, None) => std::env::var("PLIMSOLL_KEY").ok(),
        };
        let mut keys = TenantKeys { default, ..TenantKeys::default() };
        if let Some(file) = &self.tenant_keys {
            keys.read(&read(file)?).map_err(|line| {
                anyhow::anyhow!("{}:{line}: should be the name of a tenant and its key", file.display())
            })?;
        }
        Ok(keys)
    }

    /// What is asked, of `model` if not of those of the trace.
    pub(crate) fn asking(&self, model: Option<String>) -> Asking {
        let form = match self.kind {
            Asked::Chat => Form::Chat,
            Asked::Completions => Form::Completion,
            Asked::Embeddings => Form::Embedding,
        };
        let length = if self.at_most { Length::AtMost } else { Length::Exactly };
        Asking { form, stream: !self.plain, length, model, seed: self.seed }
    }

    /// What a good answer keeps to.
    pub(crate) fn slo(&self) -> Slo {
        let or = |millis: Option<f64>, seconds: f64| millis.map_or(seconds, |millis| millis / 1e3);
        let default = Slo::default();
        Slo {
            ttft_seconds: or(self.slo_ttft_ms, default.ttft_seconds),
            tpot_seconds: or(self.slo_tpot_ms, default.tpot_seconds),
        }
    }
}
