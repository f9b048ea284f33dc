//! Series as the text that Prometheus reads, in the order of the catalogue.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use metrics_exporter_prometheus::LabelSet;
use metrics_exporter_prometheus::formatting::{write_help_line, write_metric_line, write_type_line};

use crate::catalog::Type;
use crate::series::{Series, Value};

/// The text of `series`.
pub(crate) fn of(mut series: Vec<Arc<Series>>) -> String {
    series.sort_unstable_by(|a, b| (a.place, &a.key).cmp(&(b.place, &b.key)));
    let mut text = String::new();
    let mut last = None;
    for one in &series {
        if last.replace(one.place) != Some(one.place) {
            begin(&mut text, one);
        }
        write(&mut text, one);
    }
    text
}

/// What stands before the series of a metric.
fn begin(text: &mut String, series: &Series) {
    let kind = match series.metric.kind {
        Type::Counter => "counter",
        Type::Gauge => "gauge",
        Type::Histogram => "histogram",
    };
    if !text.is_empty() {
        text.push('\n');
    }
    write_help_line(text, series.metric.name, None, None, series.metric.help);
    write_type_line(text, series.metric.name, None, None, kind);
}

fn write(text: &mut String, series: &Series) {
    let name = series.metric.name;
    let labels = LabelSet::from_key_and_global(&series.key, &Default::default());
    let mut line = |suffix, value: &dyn std::fmt::Display| {
        write_metric_line::<&str, _>(text, name, suffix, &labels, None, value, None);
    };
    match &series.value {
        Value::Counter(count) => line(None, &count.load(Ordering::Relaxed)),
        // It may have been withdrawn since it was looked at.
        Value::Gauge(level) => {
            if let Some(level) = level.get() {
                line(None, &level);
            }
        }
        Value::Histogram(samples) => {
            let told = samples.told();
            for (bound, count) in told.buckets() {
                let bound = Some(("le", bound));
                write_metric_line(text, name, Some("bucket"), &labels, bound, count, None);
            }
            let all = Some(("le", "+Inf"));
            write_metric_line(text, name, Some("bucket"), &labels, all, told.count(), None);
            write_metric_line::<&str, _>(text, name, Some("sum"), &labels, None, told.sum(), None);
            write_metric_line::<&str, _>(text, name, Some("count"), &labels, None, told.count(), None);
        }
    }
}
