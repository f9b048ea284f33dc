//! What the service says about itself.
//!
//! Every metric stands once, in [`catalog`], with its labels and buckets; `docs/metrics.md` and the dashboard are tested
//! against that list. Code holds handles made when a pool or a backend appears, because a look-up by label costs some
//! twenty times a handle. Label values come from the configuration, never from a request.
//!
//! Start reading at [`catalog`]; [`Exporter`] gives the text that Prometheus reads.

pub mod catalog;
mod exporter;
mod logging;
mod process;

pub use exporter::Exporter;
pub use logging::{LogFormat, start_logging};
pub use metrics::{Counter, Gauge, Histogram};
