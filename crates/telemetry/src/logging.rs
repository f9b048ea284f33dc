use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people where stderr is a terminal, JSON where it is not.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Sends log lines to stderr. `PLIMSOLL_LOG` chooses what is said, in the syntax of `tracing` (`info` by default).
pub fn start_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_env("PLIMSOLL_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let terminal = std::io::stderr().is_terminal();
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // A second call, as tests make, keeps the first subscriber.
    let _ = if format == LogFormat::Json || (format == LogFormat::Auto && !terminal) {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    } else {
        lines.with_ansi(terminal).compact().try_init()
    };
}
