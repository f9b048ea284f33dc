//! What the service says about itself.
//!
//! Every metric stands once, in [`catalog`], with its labels and buckets; `docs/metrics.md` and the dashboard are tested
//! against that list. Code holds handles made when a pool or a backend appears, because a look-up by label costs some
//! twenty times a handle. Label values come from the configuration, never from a request.
//!
//! A gauge ends with what it is about; a counter stays until two scrapes have seen its last value. The owner of the fleet says
//! what serves ([`Exporter::serve`]).
//!
//! Start reading at [`catalog`]; [`Exporter`] gives the text that Prometheus reads.

pub mod catalog;
mod exporter;
mod logging;
mod process;
mod registry;
mod series;
mod serving;
mod text;

pub use exporter::{Exporter, InstallError};
pub use logging::{LogFormat, start_logging};
pub use metrics::{Counter, Gauge, Histogram};
pub use serving::Serving;
