//! Puts a changed configuration file in force, as a whole or not at all.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use plimsoll_fleet::source::settled;
use plimsoll_telemetry::catalog;
use tokio::signal::unix::Signal;
use tokio::sync::Notify;

use crate::assemble;
use crate::config::{self, Config};
use crate::discovery::Found;
use crate::house::House;

/// How often the file is looked at. Kubernetes replaces a mounted file by moving a link, which no watch on the file sees.
const EVERY: Duration = Duration::from_secs(5);
/// A file and what it said last.
pub(crate) struct Reloader {
    house: Arc<House>,
    found: Found,
    file: PathBuf,
    last: String,
}

impl Reloader {
    pub(crate) fn new(house: &Arc<House>, found: &Found, file: &Path) -> Self {
        let last = std::fs::read_to_string(file).unwrap_or_default();
        Self { house: Arc::clone(house), found: Found::clone(found), file: file.to_owned(), last }
    }

    /// Looks at the file for as long as the gateway runs; `hangup` and `operator` say when to look at once.
    pub(crate) async fn watch(mut self, mut hangup: Signal, operator: Arc<Notify>) {
        loop {
            let asked = tokio::select! {
                _ = hangup.recv() => true,
                () = operator.notified() => true,
                () = self.house.clock.sleep_until(self.house.clock.now() + EVERY) => false,
            };
            self.look(asked).await;
        }
    }

    /// Applies the file if it has changed. A file that cannot stand changes nothing.
    async fn look(&mut self, asked: bool) {
        if !asked && self.read().is_ok_and(|text| text == self.last) {
            return;
        }
        match settled(&self.file, &*self.house.clock).await {
            Ok(text) if text == self.last && !asked => return,
            Ok(text) => self.last = text,
            Err(error) if asked => return self.refused(&[error]),
            Err(_) => return,
        }
        let overrides = self.house.settings().config.overrides.clone();
        match config::read(&self.file.display().to_string(), &self.last, &overrides) {
            Ok(config) => self.apply(config),
            Err(problems) => {
                self.refused(&problems.iter().map(ToString::to_string).collect::<Vec<_>>());
            }
        }
    }

    fn read(&self) -> Result<String, String> {
        std::fs::read_to_string(&self.file).map_err(|error| format!("{}: {error}", self.file.display()))
    }

    fn apply(&self, config: Config) {
        let running = self.house.settings.load_full();
        if config.is_embedded() && !running.config.is_embedded() {
            // An empty file is a good one at the start; later it is somebody's mistake, and callers would be told filler.
            let why = "no backends are left; the embedded fleet takes over at a restart only";
            return self.refused(&[format!("{}: {why}", self.file.display())]);
        }
        let fixed = [
            ("listen", running.config.listen != config.listen),
            ("admin", running.config.admin != config.admin),
            ("threads", running.config.threads != config.threads),
            ("tls", running.config.tls != config.tls),
        ];
        for (key, _) in fixed.into_iter().filter(|(_, changed)| *changed) {
            tracing::warn!(key, "this change needs a restart");
        }
        let published = assemble::publish(&self.house, config, &self.found.borrow());
        match published {
            Ok(()) => {
                self.found.borrow_mut().ask_again();
                catalog::RELOADS.counter(&["applied"]).increment(1);
                tracing::info!(file = %self.file.display(), "configuration applied");
            }
            Err(why) => self.refused(&[why]),
        }
    }

    fn refused(&self, problems: &[String]) {
        catalog::RELOADS.counter(&["refused"]).increment(1);
        for problem in problems {
            tracing::error!("{problem}");
        }
        tracing::error!("the configuration stays as it was");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_types::{Clock, TokioClock};

    #[tokio::test(start_paused = true)]
    async fn half_of_a_file_that_is_being_written_is_not_applied() {
        let file = std::env::temp_dir().join(format!("plimsoll-half-{}.yaml", std::process::id()));
        let whole = "backends: [{name: a, url: \"http://127.0.0.1:9\", models: [m]}]\nkeys: [{tenant: t, key: sk-0123456789abcdef}]\n";
        let half = whole.lines().next().unwrap();
        let write = |text: &str| std::fs::write(&file, text).unwrap();
        write(whole);
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::start());
        let house = assemble::house(
            config::read("f", whole, &config::Overrides::default()).unwrap(),
            Arc::clone(&clock),
            None,
        )
        .unwrap();
        let mut reloader = Reloader::new(&house, &Found::default(), &file);

        write(half);
        let rest = async {
            clock.sleep_until(clock.now() + Duration::from_millis(50)).await;
            write(&whole.replace("name: a", "name: b"));
        };
        tokio::join!(reloader.look(true), rest);
        let settings = house.settings();
        assert_eq!((settings.config.backends[0].name.as_str(), settings.config.keys.len()), ("b", 1));
        std::fs::remove_file(&file).unwrap();
    }
}
