//! Reports of load that ride on answers, as ORCA (Open Request Cost Aggregation) has them: a header field over HTTP, a
//! trailer over gRPC. What comes is anybody's text: bounded, and nothing of it is taken where a part cannot be read.

use std::sync::{Arc, PoisonError, RwLock, Weak};

use base64::Engine as _;
use base64::engine::DecodePaddingMode::Indifferent;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::GeneralPurposeConfig;
use serde_json::Value as Json;

use crate::outgoing::Fields;
use crate::transcode::wire::{Reader, Value};

/// The field that holds a report: `TEXT`, `JSON` or `BIN` and what it says.
pub(crate) const FIELD: &str = "endpoint-load-metrics";
/// The field, or trailer, that holds one as a message.
pub(crate) const BINARY: &str = "endpoint-load-metrics-bin";
/// The field by which a report is asked for.
const FORMAT: &str = "endpoint-load-metrics-format";

/// Bytes that a report may have; what engines say of themselves has some hundred.
pub(crate) const MOST_BYTES: usize = 4 << 10;
/// Figures that are taken of one.
const MOST_FIGURES: usize = 64;
/// Where the names that an engine gives itself stand.
const NAMED: &str = "named_metrics";
/// Senders disagree about padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(Indifferent),
);

/// In which form reports are asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Asked {
    /// They are not; those that come unasked are heard nevertheless.
    #[default]
    None,
    /// Names and numbers.
    Text,
    /// An object.
    Json,
    /// A message.
    Binary,
}

impl Asked {
    /// The names of all forms in the configuration.
    pub const NAMES: [&str; 4] = ["none", "text", "json", "bin"];

    /// The form of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::None, Self::Text, Self::Json, Self::Binary];
        Self::NAMES.iter().position(|known| *known == name).map(|index| all[index])
    }

    pub(crate) fn put(self, fields: &mut Fields) {
        match self {
            Self::None => {}
            Self::Text => fields.add(FORMAT, "TEXT"),
            Self::Json => fields.add(FORMAT, "JSON"),
            Self::Binary => fields.add(FORMAT, "BIN"),
        }
    }
}

/// What a backend said of its load along with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said<'a> {
    /// What the field holds.
    pub value: &'a str,
    /// Whether all of it is a message, in base64.
    pub binary: bool,
    /// Whether the request that it answers is over there, and so not in the report.
    pub over: bool,
}

/// Hears what a backend says of its load in answers, on whichever core they come.
pub trait Listen: Send + Sync {
    /// It said this.
    fn heard(&self, said: Said<'_>);
}

/// A report that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the report is malformed")]
pub struct Malformed;

impl Said<'_> {
    /// What it says, each figure by the name that the engine gives it.
    ///
    /// # Errors
    ///
    /// Where a part of it cannot be read; then none of it is to be believed.
    pub fn figures(&self) -> Result<Vec<(String, f64)>, Malformed> {
        if self.value.is_empty() || self.value.len() > MOST_BYTES {
            return Err(Malformed);
        }
        if self.binary {
            return binary(self.value);
        }
        match self.value.trim().split_once(' ') {
            Some(("TEXT", rest)) => text(rest),
            Some(("JSON", rest)) => json(rest),
            Some(("BIN", rest)) => binary(rest),
            _ => Err(Malformed),
        }
    }
}

/// `named_metrics.NAME=0.5, cpu_utilization=0.1`
fn text(said: &str) -> Result<Vec<(String, f64)>, Malformed> {
    let mut figures = Vec::new();
    for pair in said.split(',').filter(|pair| !pair.trim().is_empty()).take(MOST_FIGURES) {
        let (name, value) = pair.split_once('=').or_else(|| pair.split_once(':')).ok_or(Malformed)?;
        let name = name.trim();
        let short = name.strip_prefix(NAMED).and_then(|name| name.strip_prefix('.')).unwrap_or(name);
        put(&mut figures, short, value.trim().parse().map_err(|_| Malformed)?)?;
    }
    Ok(figures)
}

/// `{"named_metrics": {"NAME": 0.5}, "cpu_utilization": 0.1}`
fn json(said: &str) -> Result<Vec<(String, f64)>, Malformed> {
    let Ok(Json::Object(members)) = serde_json::from_str(said) else { return Err(Malformed) };
    let mut figures = Vec::new();
    for (name, value) in members.iter().take(MOST_FIGURES) {
        match value {
            Json::Number(number) => put(&mut figures, name, number.as_f64().ok_or(Malformed)?)?,
            Json::Object(named) if name == NAMED => {
                for (name, value) in named.iter().take(MOST_FIGURES) {
                    put(&mut figures, name, value.as_f64().ok_or(Malformed)?)?;
                }
            }
            // What was added to reports since, or costs and shares of things that are not looked for.
            _ => {}
        }
    }
    Ok(figures)
}

/// `xds.data.orca.v3.OrcaLoadReport`, of which `named_metrics` is field 8, a map from text to doubles.
fn binary(said: &str) -> Result<Vec<(String, f64)>, Malformed> {
    const NAMED_METRICS: u32 = 8;
    let message = BASE64.decode(said.trim()).map_err(|_| Malformed)?;
    let (mut figures, mut fields) = (Vec::new(), Reader::new(&message));
    while let Some((number, value)) = fields.next().map_err(|_| Malformed)? {
        if let (NAMED_METRICS, Value::Bytes(entry)) = (number, value)
            && figures.len() < MOST_FIGURES
        {
            let (mut name, mut figure, mut parts) = ("", 0.0, Reader::new(entry));
            while let Some(part) = parts.next().map_err(|_| Malformed)? {
                match part {
                    (1, Value::Bytes(text)) => name = std::str::from_utf8(text).map_err(|_| Malformed)?,
                    (2, Value::Fixed64(bits)) => figure = f64::from_bits(bits),
                    _ => {}
                }
            }
            put(&mut figures, name, figure)?;
        }
    }
    Ok(figures)
}

fn put(figures: &mut Vec<(String, f64)>, name: &str, value: f64) -> Result<(), Malformed> {
    if !value.is_finite() {
        return Err(Malformed);
    }
    figures.push((name.to_owned(), value));
    Ok(())
}

/// Who hears what one backend says of its load; nobody at first, and nobody any more once that one is gone.
#[derive(Default)]
pub(crate) struct Ear(RwLock<Option<Weak<dyn Listen>>>);

impl Ear {
    pub(crate) fn listen(&self, listener: &Arc<dyn Listen>) {
        // Nothing between lock and unlock can leave it half done.
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::downgrade(listener));
    }

    pub(crate) fn hear(&self, said: Said<'_>) {
        let listener = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(listener) = listener.and_then(|listener| listener.upgrade()) {
            listener.heard(said);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    fn said(value: &str, binary: bool) -> Result<Vec<(String, f64)>, Malformed> {
        Said { value, binary, over: true }.figures()
    }

    fn figure(name: &str, value: f64) -> (String, f64) {
        (name.to_owned(), value)
    }

    /// A message with `kv_cache_usage_perc` 0.5 and, before it, 0.25 of the processor.
    const MESSAGE: &[u8] =
        b"\x09\0\0\0\0\0\0\xd0\x3f\x42\x1e\x0a\x13kv_cache_usage_perc\x11\0\0\0\0\0\0\xe0\x3f";

    #[test]
    fn one_report_in_three_forms() {
        let text = "TEXT named_metrics.kv_cache_usage_perc=0.4, named_metrics.num_requests_waiting=3, cpu_utilization=0.1";
        let both = [figure("kv_cache_usage_perc", 0.4), figure("num_requests_waiting", 3.0)];
        assert_eq!(said(text, false).unwrap()[..2], both);
        let json = r#"JSON {"named_metrics": {"kv_cache_usage_perc": 0.4, "num_requests_waiting": 3}, "utilization": {"x": 1}}"#;
        assert_eq!(said(json, false).unwrap(), both);
        let encoded = STANDARD.encode(MESSAGE);
        let half = Ok(vec![figure("kv_cache_usage_perc", 0.5)]);
        assert_eq!(said(&encoded, true), half);
        assert_eq!(said(&format!("BIN {}", encoded.trim_end_matches('=')), false), half, "padding or none");
    }

    #[test]
    fn of_a_report_that_cannot_be_read_nothing_is_taken() {
        for bad in [
            "",
            "TEXT",
            "XML <a/>",
            "TEXT a",
            "TEXT a=b",
            "TEXT a=NaN",
            "JSON [1]",
            "JSON {\"named_metrics\": {\"a\": true}}",
        ] {
            assert_eq!(said(bad, false), Err(Malformed), "{bad:?}");
        }
        let cut = STANDARD.encode(&MESSAGE[..MESSAGE.len() - 3]);
        for bad in ["!", cut.as_str()] {
            assert_eq!(said(bad, true), Err(Malformed), "{bad:?}");
        }
        let long = format!("TEXT a=1,{}", " ".repeat(MOST_BYTES));
        assert_eq!(said(&long, false), Err(Malformed));
        let many = format!("TEXT {}", "a=1,".repeat(MOST_FIGURES * 2));
        assert_eq!(said(&many, false).map(|figures| figures.len()), Ok(MOST_FIGURES));
    }

    #[test]
    fn who_is_gone_hears_nothing() {
        struct Count(std::sync::atomic::AtomicU32);
        impl Listen for Count {
            fn heard(&self, _: Said<'_>) {
                self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
        let (ear, count) = (Ear::default(), Arc::new(Count(0.into())));
        let hear = || ear.hear(Said { value: "TEXT a=1", binary: false, over: true });
        hear();
        let listener: Arc<dyn Listen> = Arc::clone(&count) as Arc<dyn Listen>;
        ear.listen(&listener);
        hear();
        drop(listener);
        hear();
        assert_eq!(count.0.load(std::sync::atomic::Ordering::Relaxed), 2, "somebody else still holds it");
        drop(count);
        hear();
    }

    proptest! {
        #[test]
        fn no_text_is_fatal(form in "TEXT |JSON |BIN |", value in ".{0,80}", binary: bool) {
            let _ = said(&format!("{form}{value}"), binary);
        }

        #[test]
        fn no_message_is_fatal(message in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = said(&STANDARD.encode(message), true);
        }
    }
}
