//! What no key of a backend can check by itself.

use plimsoll_engines::simulated;
use plimsoll_types::Keys;

use super::BackendConfig;
use super::watch::{is_path, tcp};

impl BackendConfig {
    /// Says all that is wrong with it.
    pub(super) fn check(&self, keys: &mut dyn Keys) {
        if self.name.is_empty() {
            keys.wrong("name", "is missing".into());
        }
        if self.url.is_empty() {
            return keys.wrong("url", "is missing".into());
        }
        self.check_prices(keys);
        self.check_address(keys);
        self.check_shape(keys);
        self.check_watched(keys);
        for (model, _) in &self.aliases {
            if !self.models.contains(model) {
                keys.wrong("aliases", format!("{model:?} is not among models"));
            }
        }
    }

    fn check_prices(&self, keys: &mut dyn Keys) {
        if self.gpu_hour_dollars > 0.0 && self.million_prompt_dollars + self.million_answer_dollars > 0.0 {
            keys.wrong(
                "gpu_hour_dollars",
                "is given beside prices of tokens: it is paid one way or the other".into(),
            );
        }
        let has_prices =
            self.gpu_hour_dollars + self.million_prompt_dollars + self.million_answer_dollars > 0.0;
        if !self.commitment.is_empty() && (self.committed || !has_prices) {
            let why = "needs prices, for when nothing of it is left, and no `committed`, which has no end";
            keys.wrong("commitment", why.into());
        }
    }

    fn check_address(&self, keys: &mut dyn Keys) {
        if let Some(wrong) = self.wrong_service() {
            keys.wrong(wrong.0, wrong.1.into());
        } else if let Some(invalid) = self.unreachable() {
            keys.wrong(invalid.key, invalid.why);
        }
        if self.executor().is_some() && self.resolve {
            keys.wrong(
                "resolve",
                "is of no use to an executor, which computes for one gateway; list each".into(),
            );
        }
    }

    fn check_shape(&self, keys: &mut dyn Keys) {
        if !self.shape.is_empty() && self.gpu().is_none() {
            let known = simulated::known_gpu_models();
            let why = format!(
                "is not in the table with this accelerator, tensor_parallel and dtype; leave it out and give step_time, or \
                 take one of {known}"
            );
            keys.wrong("shape", why);
        }
    }

    fn check_watched(&self, keys: &mut dyn Keys) {
        if !self.health.is_empty() && !is_path(&self.health) {
            keys.wrong("health", "is not a path, such as /health".into());
        }
        if let Err(why) = self.metrics_elsewhere() {
            keys.wrong("metrics", why);
        }
        for (key, address) in [("kv_events", &self.kv_events), ("kv_replay", &self.kv_replay)] {
            if !address.is_empty() && tcp(address).is_none() {
                keys.wrong(key, format!("{address:?} is not tcp://HOST:PORT"));
            }
        }
        if self.kv_events.is_empty() && !self.kv_replay.is_empty() {
            keys.wrong("kv_replay", "says again what nobody listens to: give kv_events too".into());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::problems;

    #[test]
    fn the_address_of_an_executor_is_a_socket_or_a_host_and_a_port() {
        let wrong =
            |backend: &str| problems(&format!("backends:\n  - {{name: a, models: [m], {backend}}}\n"));
        assert!(wrong("url: \"engine+unix:///run/x.sock\"").is_empty());
        assert_eq!(
            wrong("url: \"engine+tcp://127.0.0.1\""),
            ["local.yaml:2: backends[0].url: must be a host and a port, as in engine+tcp://127.0.0.1:7000"]
        );
        assert_eq!(
            wrong("url: \"engine+tcp://h:1\", resolve: true"),
            [
                "local.yaml:2: backends[0].resolve: is of no use to an executor, which computes for one gateway; list each"
            ]
        );
    }
}
