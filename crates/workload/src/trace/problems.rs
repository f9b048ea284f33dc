use std::fmt;

/// Broken messages that are kept word by word; beyond, they are only counted.
const KEPT: usize = 20;

/// What could not be used of a trace: the first messages and the count of all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    /// The first twenty, each as `file:line: why`.
    pub first: Vec<String>,
    /// How many there were.
    pub count: u64,
}

impl Problems {
    /// Whether all was well.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn add(&mut self, file: &str, line: u64, why: &str) {
        self.count += 1;
        if self.first.len() < KEPT {
            self.first.push(format!("{file}:{line}: {why}"));
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first.first(), self.count) {
            (None, _) => f.write_str("no broken line"),
            (Some(first), 1) => write!(f, "1 broken line: {first}"),
            (Some(first), count) => write!(f, "{count} broken lines, the first: {first}"),
        }
    }
}

/// Why there is no trace.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened or read.
    #[error("{file}: {error}")]
    Unreadable {
        /// Which one.
        file: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// Neither its header nor its first lines are those of a known form.
    #[error("{file}: is no trace of a known form: docs/traces.md lists them")]
    UnknownForm {
        /// Which one.
        file: String,
    },
    /// The form is known, yet nothing in it is a request.
    #[error("{file}: holds no request: {problems}")]
    Empty {
        /// Which one.
        file: String,
        /// What is wrong with its lines.
        problems: Problems,
    },
    /// What is asked for does not fit.
    #[error("{what} of a trace would be more than {most}")]
    TooLarge {
        /// What there would be too many of.
        what: &'static str,
        /// How many fit.
        most: usize,
    },
}
