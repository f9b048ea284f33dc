//! The switches of `plimsoll load`.

mod endpoint;
mod source;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

/// Put load on an endpoint with OpenAI's API and measure what its clients see.
///
/// Requests leave when they are due, whatever became of those before, and latency counts from
/// then. Against a gateway that serves the embedded fleet:
///
///   plimsoll load --rate 20 --duration 30
///
/// A recorded trace, at twice its rate, with everything kept:
///
///   plimsoll load http://10.0.0.1:8080 --trace conv.csv --speed 2 --json a.json --html a.html
///
/// Two runs side by side:
///
///   plimsoll load compare a.json b.json
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, verbatim_doc_comment)]
pub(crate) struct Load {
    #[command(subcommand)]
    pub(crate) then: Option<Then>,
    #[command(flatten)]
    pub(crate) put: Put,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Then {
    /// Say how a second run differs from a first, and whether more than by chance.
    Compare {
        /// The report of the first run (JSON).
        a: PathBuf,
        /// The report of the second.
        b: PathBuf,
    },
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Put {
    /// The address, before /v1 [default: http://127.0.0.1:8080].
    #[arg(value_name = "URL")]
    url: Option<String>,
    /// Find out how long the steps of the backend at URL take, in the form of a scenario.
    #[arg(long)]
    pub(crate) calibrate: bool,

    /// What to replay: a trace file, the name of a synthetic workload (plain, conversations, shared_prefix,
    /// agents), or a source as in a scenario, in braces.
    #[arg(long, value_name = "TRACE", help_heading = "Requests")]
    trace: Option<String>,
    /// Requests per second of a synthetic workload [default: 10].
    #[arg(long, value_parser = positive, value_name = "RATE", help_heading = "Requests")]
    rate: Option<f64>,
    /// How they arrive [default: poisson].
    #[arg(long, value_enum, help_heading = "Requests")]
    process: Option<Process>,
    /// Deviation over mean of the gaps of gamma: 1 is Poisson, above come bursts.
    #[arg(long, value_parser = positive, value_name = "CV", help_heading = "Requests")]
    cv: Option<f64>,
    /// Seconds of the trace that are replayed, without the warm-up [default: 30, or all of a file].
    #[arg(long, value_parser = positive, value_name = "SECONDS", help_heading = "Requests")]
    pub(crate) duration: Option<f64>,
    /// Requests at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1 << 26), help_heading = "Requests")]
    pub(crate) requests: Option<u64>,
    /// Tokens of every prompt of a synthetic workload [default: they vary around 1000].
    #[arg(long, value_name = "N", value_parser = tokens, help_heading = "Requests")]
    prompt_tokens: Option<u32>,
    /// Tokens of every answer of a synthetic workload [default: they vary around 200].
    #[arg(long, value_name = "N", value_parser = tokens, help_heading = "Requests")]
    output_tokens: Option<u32>,
    /// Factor on the rate of the trace.
    #[arg(long, value_parser = positive, value_name = "FACTOR", default_value = "1", help_heading = "Requests")]
    pub(crate) speed: f64,
    /// How many times slower the backends are than what they stand for: the trace is stretched, and all measured
    /// times are divided by it.
    #[arg(long, value_parser = positive, value_name = "FACTOR", default_value = "1", help_heading = "Requests")]
    pub(crate) slow_down: f64,
    /// Seconds at the beginning that are sent but not reported.
    #[arg(long, value_parser = not_negative, value_name = "SECONDS", default_value = "0", help_heading = "Requests")]
    pub(crate) warm_up: f64,
    /// Decides all that is drawn.
    #[arg(long, default_value_t = 1, help_heading = "Requests")]
    pub(crate) seed: u64,
    /// The model to ask for [default: the trace's, or the only one that is served].
    #[arg(long, help_heading = "Requests")]
    pub(crate) model: Option<String>,
    /// What is asked.
    #[arg(long, value_enum, default_value_t = Asked::Chat, help_heading = "Requests")]
    kind: Asked,
    /// Ask for answers in one piece in the place of streams.
    #[arg(long, help_heading = "Requests")]
    plain: bool,
    /// Ask for answers of at most the length of the trace, for endpoints that refuse `ignore_eos`.
    #[arg(long, help_heading = "Requests")]
    at_most: bool,

    /// Closed loop: so many clients, each of which asks again when it has been answered.
    #[arg(long, value_name = "CLIENTS", value_parser = at_least_one, help_heading = "Sending")]
    pub(crate) concurrency: Option<usize>,
    /// Requests in flight at once; what is due beyond them waits, and its latency counts.
    #[arg(long, value_name = "N", default_value = "8192", value_parser = at_least_one, help_heading = "Sending")]
    pub(crate) max_in_flight: usize,
    /// Seconds after which an answer is given up.
    #[arg(long, value_parser = positive, value_name = "SECONDS", default_value = "300", help_heading = "Sending")]
    pub(crate) timeout: f64,
    /// Cores to send from.
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least_one, help_heading = "Sending")]
    pub(crate) threads: usize,
    /// The API key. Others on this machine can see it; --key-file or PLIMSOLL_KEY hide it.
    #[arg(long, conflicts_with = "key_file", help_heading = "Sending")]
    key: Option<String>,
    /// A file with the API key.
    #[arg(long, value_name = "FILE", help_heading = "Sending")]
    key_file: Option<PathBuf>,
    /// A file with keys of tenants of the trace: a name and a key on each line.
    #[arg(long, value_name = "FILE", help_heading = "Sending")]
    tenant_keys: Option<PathBuf>,
    /// A header field of every request, as 'name: value'; repeat it for more.
    #[arg(long, value_name = "FIELD", help_heading = "Sending")]
    header: Vec<String>,
    /// Speak HTTP/2.
    #[arg(long, help_heading = "Sending")]
    http2: bool,
    /// A file of PEM certificates to trust in the place of the system's.
    #[arg(long, value_name = "FILE", help_heading = "Sending")]
    ca_file: Option<String>,

    /// The longest time to the first token of a good answer [default: 2000].
    #[arg(long, value_parser = positive, value_name = "MS", help_heading = "Report")]
    slo_ttft_ms: Option<f64>,
    /// The longest mean time per token after it [default: 200].
    #[arg(long, value_parser = positive, value_name = "MS", help_heading = "Report")]
    slo_tpot_ms: Option<f64>,
    /// Where to write the report as JSON, for `compare`.
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(crate) json: Option<PathBuf>,
    /// Where to write a line for each request.
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(crate) csv: Option<PathBuf>,
    /// Where to write the report as a page with plots.
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(crate) html: Option<PathBuf>,
    /// Print nothing but errors.
    #[arg(long, help_heading = "Report")]
    pub(crate) quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Process {
    /// Each independently of the others.
    Poisson,
    /// In bursts, as --cv says.
    Gamma,
    /// Evenly.
    Constant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Asked {
    /// Chat completions.
    Chat,
    /// Completions.
    Completions,
    /// Embeddings.
    Embeddings,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (1e-6..=1e6).contains(&number) => Ok(number),
        _ => Err("it must be a number from 0.000001 to 1000000".to_owned()),
    }
}

fn not_negative(text: &str) -> Result<f64, String> {
    if text.parse() == Ok(0.0) { Ok(0.0) } else { positive(text) }
}

fn tokens(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(number @ 1..=1_048_576) => Ok(number),
        _ => Err("it must be a number from 1 to 1048576".to_owned()),
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=1_000_000) => Ok(number),
        _ => Err("it must be a number from 1 to 1000000".to_owned()),
    }
}
