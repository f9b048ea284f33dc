use super::exposition::Sample;

/// A number that metrics hold: the sum of some series, or of some by the sum of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    pub(super) of: Series,
    pub(super) per: Option<Series>,
}

/// The series of a metric that have certain labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Series {
    pub(super) name: String,
    labels: Vec<(String, String)>,
}

/// What was found of some series.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sum {
    total: f64,
    most: f64,
    found: bool,
}

/// Labels that number the parts of one engine which all say the same; only the first counts.
const RANKS: &[&str] = &["tp_rank", "pp_rank", "moe_ep_rank"];
/// More requests than any engine has.
const MOST: f64 = 1e9;

impl Signal {
    /// Reads `NAME`, `NAME{LABEL=VALUE,…}` or one of these by another with a `/` between.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once('/') {
            Some((of, per)) => Some(Self { of: Series::parse(of)?, per: Some(Series::parse(per)?) }),
            None => Some(Self { of: Series::parse(text)?, per: None }),
        }
    }

    /// The sum over the parts of an engine.
    pub(super) fn total(&self, (of, _): &(Sum, Sum)) -> Option<f64> {
        of.found.then_some(of.total.min(MOST))
    }

    /// A share: that of the fullest part of an engine, or one sum by the other.
    pub(super) fn share(&self, (of, per): &(Sum, Sum)) -> Option<f64> {
        match self.per {
            None => of.found.then_some(of.most),
            Some(_) => (of.found && per.total > 0.0).then(|| of.total / per.total),
        }
    }
}

impl Series {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (name, labels) = match text.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}')?),
            None => (text, ""),
        };
        let is_name = |text: &str| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:".contains(&byte))
        };
        let label = |pair: &str| {
            let (name, value) = pair.split_once('=')?;
            is_name(name.trim()).then(|| (name.trim().to_owned(), value.trim().trim_matches('"').to_owned()))
        };
        let labels = labels.split(',').filter(|pair| !pair.trim().is_empty());
        Some(Self {
            name: is_name(name).then(|| name.to_owned())?,
            labels: labels.map(label).collect::<Option<_>>()?,
        })
    }

    /// Adds `sample` to `sum` if it counts.
    pub(super) fn count(&self, sample: &Sample<'_>, sum: &mut Sum) {
        let fits = |(name, value): &(String, String)| sample.label(name) == Some(value);
        let repeats = |rank: &&str| sample.label(rank).is_some_and(|rank| rank != "0");
        // SGLang counts each priority once more beside all of them.
        let part = sample.label("priority").is_some_and(|priority| !priority.is_empty());
        let possible = sample.value >= 0.0;
        if part || !possible || RANKS.iter().any(repeats) || !self.labels.iter().all(fits) {
            return;
        }
        sum.total += sample.value;
        sum.most = sum.most.max(sample.value);
        sum.found = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_a_name_with_labels_perhaps_or_one_by_another() {
        for good in ["vllm:num_requests_waiting", "a{b=c}", "a{b=\"c\", d=e}", "used/size", "a{b=c}/d{e=f}"] {
            assert!(Signal::parse(good).is_some(), "{good}");
        }
        for bad in ["", "a b", "a{b}", "a{b=c", "/a", "a/", "{b=c}"] {
            assert!(Signal::parse(bad).is_none(), "{bad}");
        }
    }
}
