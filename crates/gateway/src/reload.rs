//! Puts a changed configuration file in force, as a whole or not at all.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

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
            self.look(asked);
        }
    }

    /// Applies the file if it has changed. A file that cannot stand changes nothing.
    fn look(&mut self, asked: bool) {
        let text = match std::fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(error) if asked => return self.refused(&[format!("{}: {error}", self.file.display())]),
            Err(_) => return,
        };
        if text == self.last && !asked {
            return;
        }
        self.last = text;
        match config::read(&self.file.display().to_string(), &self.last) {
            Ok(config) => self.apply(config),
            Err(problems) => {
                self.refused(&problems.iter().map(ToString::to_string).collect::<Vec<_>>());
            }
        }
    }

    fn apply(&self, config: Config) {
        let running = self.house.settings.load_full();
        let fixed = [
            ("listen", running.config.listen != config.listen),
            ("admin", running.config.admin != config.admin),
            ("threads", running.config.threads != config.threads),
        ];
        for (key, _) in fixed.into_iter().filter(|(_, changed)| *changed) {
            tracing::warn!(key, "this change needs a restart");
        }
        match assemble::publish(&self.house, config, &self.found.borrow()) {
            Ok(()) => {
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
