//! The line in the terminal that says how far a run is.

use std::io::Write;
use std::time::Duration;

use plimsoll_workload::load::Progress;

/// A line that is drawn over itself, where there is a terminal.
pub(super) struct Line {
    drawn: bool,
    before: (Duration, u64),
}

impl Line {
    pub(super) fn new(drawn: bool) -> Self {
        Self { drawn, before: (Duration::ZERO, 0) }
    }

    /// Draws what `progress` says `elapsed` after the beginning.
    pub(super) fn draw(&mut self, elapsed: Duration, progress: &Progress) {
        if self.drawn {
            let text = words(elapsed, progress, self.before);
            self.before = (elapsed, progress.tokens);
            // The cursor goes to the beginning, and what was longer is erased.
            let _ = write!(std::io::stderr(), "\r{text}\x1b[K");
        }
    }

    /// Takes the line away.
    pub(super) fn clear(&self) {
        if self.drawn {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// What the line says. Tokens per second count since `before`.
fn words(elapsed: Duration, progress: &Progress, before: (Duration, u64)) -> String {
    let passed = elapsed.saturating_sub(before.0).as_secs_f64().max(1e-3);
    let rate = progress.tokens.saturating_sub(before.1) as f64 / passed;
    let ttft = match progress.ttft {
        Some((median, p99)) => format!("TTFT p50 {} p99 {}", short(median), short(p99)),
        None => "no token yet".to_owned(),
    };
    format!(
        "{:.0} s · {} sent · {} in flight · {} ok · {} errors · {ttft} · {rate:.0} tokens/s",
        elapsed.as_secs_f64(),
        progress.sent,
        progress.in_flight(),
        progress.ok,
        progress.errors,
    )
}

fn short(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{:.0} ms", time.as_secs_f64() * 1e3)
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_the_run_is() {
        let mut seen = Progress { sent: 20, ok: 12, errors: 1, tokens: 500, ttft: None };
        let second = Duration::from_secs(1);
        assert_eq!(
            words(second * 5, &seen, (second * 4, 300)),
            "5 s · 20 sent · 7 in flight · 12 ok · 1 errors · no token yet · 200 tokens/s"
        );
        seen.ttft = Some((Duration::from_millis(84), Duration::from_millis(2_150)));
        let line = words(second * 5, &seen, (Duration::ZERO, 0));
        assert!(line.contains("TTFT p50 84 ms p99 2.1 s · 100 tokens/s"), "{line}");
    }
}
