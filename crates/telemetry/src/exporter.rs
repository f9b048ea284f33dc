use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::catalog::{self, Type};
use crate::process;

/// The recorder behind all handles, and its text.
#[derive(Clone)]
pub struct Exporter {
    handle: PrometheusHandle,
}

impl Exporter {
    /// Makes the recorder and installs it for the whole process. Handles made earlier record nothing.
    ///
    /// # Errors
    ///
    /// Where a recorder is installed already.
    pub fn install() -> Result<Self, BuildError> {
        let mut builder = PrometheusBuilder::new();
        for metric in catalog::ALL.iter().filter(|metric| metric.kind == Type::Histogram) {
            let name = Matcher::Full(metric.name.to_owned());
            builder = builder.set_buckets_for_metric(name, metric.buckets)?;
        }
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder)?;
        describe();
        catalog::BUILD_INFO.gauge(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        Ok(Self { handle })
    }

    /// Moves samples from where they are recorded into their buckets. Call it about once a second: until then a
    /// histogram holds every sample.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// The text of all metrics, in Prometheus' format 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        process::observe();
        self.handle.render()
    }
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    for metric in catalog::ALL {
        match metric.kind {
            Type::Counter => describe_counter!(metric.name, metric.help),
            Type::Gauge => describe_gauge!(metric.name, metric.help),
            Type::Histogram => describe_histogram!(metric.name, metric.help),
        }
    }
}
