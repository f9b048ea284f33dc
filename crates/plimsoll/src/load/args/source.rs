//! Which requests are sent, and when.

use std::time::Duration;

use anyhow::bail;
use plimsoll_workload::load::Pace;
use plimsoll_workload::trace::{Law, Source};

use super::{Process, Put};

/// Seconds that load is put on an endpoint where nothing is said.
const DURATION: f64 = 30.0;

impl Put {
    /// Where the requests come from.
    pub(crate) fn source(&self) -> anyhow::Result<Source> {
        let mut source = match &self.trace {
            Some(spec) => Source::of_spec(spec).map_err(|problems| {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                anyhow::Error::msg(lines.join("\n"))
            })?,
            None => Source::default(),
        };
        if source.file.is_empty() {
            self.make_up(&mut source);
        } else if self.rate.is_some() || self.prompt_tokens.is_some() || self.output_tokens.is_some() {
            bail!(
                "--rate, --prompt-tokens and --output-tokens are for synthetic workloads; a file has its own: see --speed"
            );
        }
        let lasts = self.duration.or_else(|| self.by_itself(&source));
        if let Some(seconds) = lasts {
            source.for_s = (seconds + self.warm_up) * self.speed;
        }
        source.requests = self.requests.unwrap_or(source.requests);
        source.rate *= self.speed;
        Ok(source)
    }

    /// What was said of a synthetic workload.
    fn make_up(&self, source: &mut Source) {
        let made = &mut source.synthetic;
        made.arrivals.rate = self.rate.unwrap_or(made.arrivals.rate);
        made.arrivals.cv = self.cv.unwrap_or(made.arrivals.cv);
        made.arrivals.process = match self.process {
            Some(Process::Poisson) => "poisson",
            Some(Process::Gamma) => "gamma",
            Some(Process::Constant) => "constant",
            None => made.arrivals.process,
        };
        let fixed = |tokens: u32| Law::fixed(tokens.into());
        made.prompt = self.prompt_tokens.map_or(made.prompt.clone(), fixed);
        made.output = self.output_tokens.map_or(made.output.clone(), fixed);
    }

    /// How long it lasts, in seconds, where nothing is said: a synthetic workload has no end.
    fn by_itself(&self, source: &Source) -> Option<f64> {
        let endless = source.file.is_empty() && source.for_s == 0.0 && source.requests == 0;
        (endless && self.requests.is_none()).then_some(DURATION)
    }

    /// When the requests of `source` are sent. A closed loop lasts as long as an open one would, unless there is a number
    /// of requests or a file to go through.
    pub(crate) fn pace(&self, source: &Source) -> Pace {
        let Some(clients) = self.concurrency else { return Pace::Open };
        let seconds = match (source.requests, source.file.is_empty()) {
            (0, true) => Some(source.for_s / self.speed - self.warm_up),
            (0, false) => self.duration,
            _ => None,
        };
        Pace::Closed { clients, until: seconds.map(|seconds| Duration::from_secs_f64(seconds.max(0.0))) }
    }
}
