use std::sync::Arc;
use std::time::Duration;

use crate::catalog;
use crate::process;
use crate::registry::Registry;
use crate::serving::Serving;
use crate::text;

/// The recorder behind all handles, and its text.
#[derive(Clone)]
pub struct Exporter {
    registry: Arc<Registry>,
}

/// Why no exporter can be installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Handles record to one recorder, and the process has it already.
    #[error("a recorder of metrics is installed already")]
    Installed,
}

impl Exporter {
    /// Makes the recorder and installs it for the whole process. Handles made earlier record nothing.
    ///
    /// # Errors
    ///
    /// Where a recorder is installed already.
    pub fn install() -> Result<Self, InstallError> {
        let registry = Arc::new(Registry::default());
        metrics::set_global_recorder(Arc::clone(&registry)).map_err(|_| InstallError::Installed)?;
        catalog::BUILD_INFO.gauge(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        Ok(Self { registry })
    }

    /// Says that these serve: pairs of a label of [`catalog::REMOVABLE`] and a value of it. They do until the result is
    /// dropped; a name that is said twice serves until both are.
    pub fn serve(&self, names: impl IntoIterator<Item = (&'static str, String)>) -> Serving {
        Serving::new(Arc::clone(self.registry.roll()), names)
    }

    /// Moves samples from where they are recorded into their buckets, and lets go of series that are over. Call it about
    /// once a second: until then a histogram holds every sample. `now` is the time since a fixed instant.
    pub fn upkeep(&self, now: Duration) {
        self.registry.keep_up(now);
    }

    /// The text of all metrics, in Prometheus' format 0.0.4, for a scrape at `now`, the time since a fixed instant.
    #[must_use]
    pub fn render(&self, now: Duration) -> String {
        process::observe();
        text::of(self.registry.scrape(now))
    }
}
