//! Why a comparison of two runs may mislead.

use super::super::{
    Kind, Report,
    units::{count, percent, seconds},
};

/// A generator that sends later than this measures itself.
const LATE_SECONDS: f64 = 0.010;

/// More failures than this, and the latencies are those of a chosen few.
const MANY_FAILURES: f64 = 0.01;

/// Why the figures of `a` and `b` may not be comparable.
pub(super) fn between(a: &Report, b: &Report) -> Vec<String> {
    let mut warnings = Vec::new();
    if a.name != b.name {
        warnings.push(format!("other requests: a replays {:?}, b replays {:?}", a.name, b.name));
    }
    if a.kind != b.kind {
        let live = if a.kind == Kind::Load { "a" } else { "b" };
        warnings.push(format!("{live} is a live gateway, the other a simulation"));
    }
    if a.slo != b.slo {
        warnings.push("the SLO differs: goodput and attainment do not count the same".to_owned());
    }
    if a.total.requests != b.total.requests {
        let (a, b) = (count(a.total.requests), count(b.total.requests));
        warnings.push(format!("a has {a} requests, b has {b}"));
    }
    if (a.rate_seconds / b.rate_seconds - 1.0).abs() > 0.01 {
        let (a, b) = (seconds(a.rate_seconds), seconds(b.rate_seconds));
        warnings.push(format!("the arrivals of a take {a}, those of b {b}"));
    }
    warnings.extend(alone("a", a));
    warnings.extend(alone("b", b));
    warnings
}

/// What makes the figures of one run doubtful.
fn alone(name: &str, report: &Report) -> Vec<String> {
    let mut warnings = Vec::new();
    let late = report.total.lateness.p99;
    if late > LATE_SECONDS {
        let late = seconds(late);
        warnings.push(format!(
            "the generator of {name} was the bottleneck: 1 % of its requests left {late} late"
        ));
    }
    let failures =
        1.0 - report.total.ended(super::super::Outcome::Ok) as f64 / report.total.requests.max(1) as f64;
    if failures > MANY_FAILURES {
        let failures = percent(failures);
        warnings
            .push(format!("{failures} of {name} got no full answer: its latencies are those of the others"));
    }
    warnings.extend(
        report.notes.iter().filter(|note| note.contains("bottleneck")).map(|note| format!("{name}: {note}")),
    );
    warnings
}

#[cfg(test)]
mod tests {
    use super::super::super::sample::Sample;
    use super::*;

    #[test]
    fn runs_that_cannot_be_compared_say_why() {
        let a = Sample { requests: 400, ..Sample::default() }.report();
        let mut b = Sample { requests: 300, ..Sample::default() }.report();
        b.name = "another".to_owned();
        b.slo.ttft_seconds = 9.0;
        b.kind = Kind::Load;
        b.total.lateness.p99 = 0.5;
        let warnings = between(&a, &b).join("\n");
        for part in ["other requests", "live", "SLO", "400 requests", "generator of b"] {
            assert!(warnings.contains(part), "{part}: {warnings}");
        }
    }
}
