//! What two runs are compared by: one list of names, units and directions for all comparisons.

use serde::{Deserialize, Serialize};

use super::units::{digits, dollars, percent, rate, seconds};

/// Something that two runs are compared by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Metric {
    /// What it is called.
    pub(super) name: &'static str,
    /// How it is shown.
    pub(super) unit: Unit,
    /// Whether more of it is better.
    pub(super) more_is_better: bool,
}

/// How a metric is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// A time.
    Seconds,
    /// So many each second.
    Rate,
    /// A share of all: it changes by points, for it may be nothing.
    Share,
    /// US dollars.
    Dollars,
}

impl Metric {
    /// A time, of which less is better.
    pub(super) const fn time(name: &'static str) -> Self {
        Self { name, unit: Unit::Seconds, more_is_better: false }
    }

    /// A rate, of which more is better.
    pub(super) const fn rate(name: &'static str) -> Self {
        Self { name, unit: Unit::Rate, more_is_better: true }
    }

    /// A share of all.
    pub(super) const fn share(name: &'static str, more_is_better: bool) -> Self {
        Self { name, unit: Unit::Share, more_is_better }
    }

    /// An amount of US dollars, of which less is better.
    pub(super) const fn dollars(name: &'static str) -> Self {
        Self { name, unit: Unit::Dollars, more_is_better: false }
    }

    /// `value` as a reader wants to see it.
    pub(super) fn show(&self, value: f64) -> String {
        match self.unit {
            Unit::Seconds => seconds(value),
            Unit::Rate => rate(value),
            Unit::Share => percent(value),
            Unit::Dollars => dollars(value),
        }
    }

    /// `margin` as a reader wants to see it.
    pub(super) fn show_margin(&self, margin: f64) -> String {
        if self.unit == Unit::Share { format!("{:.2} pt", margin * 100.0) } else { self.show(margin) }
    }

    /// What a change from `a` to another value is measured by.
    pub(super) fn scale(&self, a: f64) -> Scale {
        if self.unit == Unit::Share || a <= 0.0 { Scale::Difference } else { Scale::Ratio }
    }

    /// `change` as a reader wants to see it.
    pub(super) fn show_change(&self, scale: Scale, change: f64) -> String {
        match (scale, self.unit) {
            (Scale::Ratio, _) => format!("×{change:.3}"),
            (Scale::Difference, Unit::Share) => format!("{:+.2} pt", change * 100.0 + 0.0),
            (Scale::Difference, _) if change < 0.0 => format!("−{}", self.show(-change)),
            (Scale::Difference, _) => format!("+{}", self.show(change)),
        }
    }

    /// What an interval of 95 % says of a change.
    pub(super) fn judge(&self, scale: Scale, change: f64, low: f64, high: f64) -> Verdict {
        let (none, least) = match scale {
            Scale::Ratio => (1.0, LEAST_RATIO),
            Scale::Difference => (0.0, 0.0),
        };
        if (low <= none && none <= high) || (change - none).abs() < least {
            Verdict::NoDifference
        } else if (change > none) == self.more_is_better {
            Verdict::Better
        } else {
            Verdict::Worse
        }
    }
}

/// Smaller changes are lost in the width of a histogram's buckets.
const LEAST_RATIO: f64 = 0.01;

/// What a change is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// How many times the first; one is no change.
    Ratio,
    /// How much more than the first; zero is no change.
    Difference,
}

impl Scale {
    /// The change from `a` to `b`.
    pub(super) fn change(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Ratio => b / a,
            Self::Difference => b - a,
        }
    }
}

/// What can be said of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is clearly better.
    Better,
    /// It is clearly worse.
    Worse,
    /// Chance, or the width of a bucket, would explain it.
    NoDifference,
}

impl Verdict {
    /// What a reader calls it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Better => "clearly better",
            Self::Worse => "clearly worse",
            Self::NoDifference => "no difference seen",
        }
    }
}

/// A change with the interval that covers it with 95 % confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// What it is measured by.
    pub scale: Scale,
    /// The change that was seen.
    pub change: f64,
    /// The interval from here.
    pub low: f64,
    /// The interval to here.
    pub high: f64,
    /// What that says.
    pub verdict: Verdict,
}

impl Change {
    /// The cells of a table: the change, its interval, the verdict.
    pub(super) fn cells(&self, metric: &Metric) -> [String; 3] {
        let show = |change| metric.show_change(self.scale, change);
        let interval = match self.scale {
            Scale::Ratio => format!("{} … {}", fixed(self.low), fixed(self.high)),
            Scale::Difference if metric.unit == Unit::Share => {
                format!("{:+.2} … {:+.2}", self.low * 100.0 + 0.0, self.high * 100.0 + 0.0)
            }
            Scale::Difference => format!("{} … {}", show(self.low), show(self.high)),
        };
        [show(self.change), interval, self.verdict.name().to_owned()]
    }
}

fn fixed(ratio: f64) -> String {
    if ratio < 100.0 { format!("{ratio:.3}") } else { digits(ratio) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_that_holds_no_change_is_no_difference() {
        let ttft = Metric::time("TTFT p99");
        assert_eq!(ttft.judge(Scale::Ratio, 1.2, 0.9, 1.4), Verdict::NoDifference);
        assert_eq!(ttft.judge(Scale::Ratio, 1.2, 1.1, 1.4), Verdict::Worse);
        assert_eq!(ttft.judge(Scale::Ratio, 0.8, 0.7, 0.9), Verdict::Better);
        assert_eq!(ttft.judge(Scale::Ratio, 1.005, 1.004, 1.006), Verdict::NoDifference);
        assert_eq!(Metric::rate("goodput").judge(Scale::Ratio, 1.2, 1.1, 1.4), Verdict::Better);
    }

    #[test]
    fn a_share_changes_by_points() {
        let failures = Metric::share("failures", false);
        assert_eq!(failures.scale(0.1), Scale::Difference);
        assert_eq!(failures.show_change(Scale::Difference, 0.0123), "+1.23 pt");
        assert_eq!(Metric::rate("goodput").scale(0.0), Scale::Difference);
    }
}
