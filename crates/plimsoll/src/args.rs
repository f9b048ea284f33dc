//! What can be said on the command line: addresses and backends, which one types by hand. The rest is in a file.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use plimsoll_gateway::config::Overrides;
use plimsoll_telemetry::LogFormat;

use crate::load::Load;
use crate::simulate::Simulate;

/// An inference-serving load balancer: takes OpenAI requests and sends each to the backend that answers soonest.
///
/// Without anything, it serves a fleet of simulated GPUs on http://127.0.0.1:8080, to try it:
///
///   plimsoll
///
/// In front of real engines, without a file:
///
///   plimsoll --backend http://10.0.0.1:8000 --backend http://10.0.0.2:8000
///
/// In production, with a file (docs/config.md has every key):
///
///   plimsoll check plimsoll.yaml && plimsoll serve --config plimsoll.yaml
#[derive(Debug, Parser)]
#[command(version, verbatim_doc_comment)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: Serve,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve requests; what happens without a command too.
    Serve(Serve),
    /// Say all that is wrong with a configuration file, one line each; exits with 2 if anything is.
    Check {
        /// The file.
        file: PathBuf,
    },
    Load(Box<Load>),
    Simulate(Box<Simulate>),
    /// Print a reference page, as it stands in docs/.
    Reference {
        /// Which one.
        what: Reference,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Reference {
    /// Every configuration key.
    Config,
    /// Every metric.
    Metrics,
    /// Every key of a scenario.
    Scenarios,
}

#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Serve {
    /// The configuration file (YAML). It is read again on SIGHUP and when it changes.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where callers are served [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Where operators are served: /metrics, /livez, /readyz, /fleet, POST /drain [default: 127.0.0.1:9464].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) admin: Option<String>,
    /// Cores to use [default: all].
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<u64>,
    /// A backend to send requests to; repeat it for more. Each is asked which models it serves.
    #[arg(long, value_name = "URL")]
    pub(crate) backend: Vec<String>,
    /// An engine in this process, such as llama=model.gguf or llama=model.gguf?slots=32 (docs/nodes.md); repeat it for more.
    #[arg(long, value_name = "KIND=FILE")]
    pub(crate) engine: Vec<String>,
    /// Serve callers beyond this machine without asking for keys.
    #[arg(long)]
    pub(crate) allow_anyone: bool,
    /// How log lines look on stderr; PLIMSOLL_LOG=debug says more.
    #[arg(long, value_enum, default_value_t = Log::Auto)]
    pub(crate) log: Log,
}

impl Serve {
    /// What was said behind the command counts before what was said in front of it.
    pub(crate) fn overridden_by(&self, own: Self) -> Self {
        Self {
            config: own.config.or_else(|| self.config.clone()),
            listen: own.listen.or_else(|| self.listen.clone()),
            admin: own.admin.or_else(|| self.admin.clone()),
            threads: own.threads.or(self.threads),
            backend: if own.backend.is_empty() { self.backend.clone() } else { own.backend },
            engine: if own.engine.is_empty() { self.engine.clone() } else { own.engine },
            allow_anyone: own.allow_anyone || self.allow_anyone,
            log: if own.log == Log::Auto { self.log } else { own.log },
        }
    }
}

impl Serve {
    /// What counts before the file.
    pub(crate) fn overrides(&self) -> Overrides {
        Overrides {
            listen: self.listen.clone(),
            admin: self.admin.clone(),
            threads: self.threads,
            allow_anyone: self.allow_anyone,
            backends: self.backend.clone(),
            engines: self.engine.clone(),
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Log {
    /// For people on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

impl From<Log> for LogFormat {
    fn from(log: Log) -> Self {
        match log {
            Log::Auto => Self::Auto,
            Log::Human => Self::Human,
            Log::Json => Self::Json,
        }
    }
}
