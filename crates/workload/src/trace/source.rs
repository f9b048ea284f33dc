use std::path::Path;
use std::time::Duration;

use plimsoll_types::{Key, Keys, Section};

use super::{Error, Options, Part, Problems, Synthetic, Trace, parts, read, shape};

/// How long a synthetic workload lasts where nothing is said.
const LENGTH: Duration = Duration::from_secs(600);
/// Years in seconds: what a trace may last.
const LONGEST: f64 = 1e9;

/// Where a trace comes from and what is made of it, as a file says: a recorded one or a synthetic one. The default is a
/// synthetic one, so that nothing else is needed to begin.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// A file of a known form or a folder of client models; empty for a synthetic workload.
    pub file: String,
    /// The synthetic workload, when there is no file.
    pub synthetic: Synthetic,
    /// Synthetic workloads beside and after each other, in the place of one.
    pub parts: Vec<Part>,
    /// What it is called in reports; empty for the name of the file or of the workload.
    pub name: String,
    /// The model of requests that do not say which.
    pub model: String,
    /// Seconds up to which each request of a file is moved later.
    pub jitter_s: f64,
    /// Second of the source at which the trace begins.
    pub from_s: f64,
    /// Seconds of the source; 0 for all there is, or ten minutes of what has no end.
    pub for_s: f64,
    /// Factor on the request rate.
    pub rate: f64,
    /// How many shifted copies are replayed at once.
    pub copies: u64,
    /// Requests at most; 0 for all.
    pub requests: u64,
    /// Tokens of a prompt at most; 0 for as many as it has.
    pub max_prompt_tokens: u64,
    /// Tokens of an answer at most; 0 for as many as it has.
    pub max_output_tokens: u64,
    /// Tenants whose requests are kept; empty for all.
    pub only_tenants: Vec<String>,
    /// Who sends the requests, by weight; empty for whom the file says.
    pub tenants: Vec<Share>,
    /// Where they come from, by weight; empty for where the source says.
    pub regions: Vec<Share>,
}

/// A name with its weight among others.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    /// What it is called.
    pub name: String,
    /// Its weight.
    pub share: f64,
}

impl Default for Share {
    fn default() -> Self {
        Self { name: String::new(), share: 1.0 }
    }
}

impl Default for Source {
    fn default() -> Self {
        Self {
            file: String::new(),
            synthetic: Synthetic::default(),
            parts: Vec::new(),
            name: String::new(),
            model: Options::default().model,
            jitter_s: 0.0,
            from_s: 0.0,
            for_s: 0.0,
            rate: 1.0,
            copies: 1,
            requests: 0,
            max_prompt_tokens: 0,
            max_output_tokens: 0,
            only_tenants: Vec::new(),
            tenants: Vec::new(),
            regions: Vec::new(),
        }
    }
}

impl Section for Share {
    fn keys(&mut self, keys: &mut dyn Keys) {
        keys.text(Key::new("name", "What it is called."), &mut self.name);
        keys.decimal(Key::new("share", "Its weight among the others."), 1e-6..=1e6, &mut self.share);
    }
}

impl Section for Source {
    fn keys(&mut self, keys: &mut dyn Keys) {
        let key = Key::new("file", "A trace of a known form, or a folder of client models.");
        keys.text(key, &mut self.file);
        self.synthetic.keys(keys);
        let key = Key::new(
            "parts",
            "Synthetic workloads beside and after each other in the place of one, so that traffic changes its kind.",
        );
        keys.list(key, &mut self.parts);
        keys.text(Key::new("name", "What it is called in reports."), &mut self.name);
        keys.text(Key::new("model", "The model of requests that do not say which."), &mut self.model);
        let key = Key::new("jitter_s", "Seconds up to which each request of a file is moved later.");
        keys.decimal(key, 0.0..=3_600.0, &mut self.jitter_s);
        keys.decimal(
            Key::new("from_s", "Second of the source to begin at."),
            0.0..=LONGEST,
            &mut self.from_s,
        );
        let key = Key::new("for_s", "Seconds of the source to take; 0 means all, or 600 of what has no end.");
        keys.decimal(key, 0.0..=LONGEST, &mut self.for_s);
        let key = Key::new("rate", "Factor on the request rate: what was recorded is compressed in time.");
        keys.decimal(key, 1e-3..=1e4, &mut self.rate);
        let key = Key::new("copies", "Shifted copies that are replayed at once; they share no prefixes.");
        keys.number(key, 1..=10_000, &mut self.copies);
        keys.number(Key::new("requests", "Requests at most; 0 means all."), 0..=1 << 26, &mut self.requests);
        let key = Key::new("max_prompt_tokens", "Where to cut prompts; 0 means nowhere.");
        keys.number(key, 0..=1 << 24, &mut self.max_prompt_tokens);
        let key = Key::new("max_output_tokens", "Where to cut answers; 0 means nowhere.");
        keys.number(key, 0..=1 << 24, &mut self.max_output_tokens);
        let key = Key::new("only_tenants", "The tenants whose requests are kept; none means all.");
        keys.texts(key, &mut self.only_tenants);
        keys.list(Key::new("tenants", "Who sends the requests, by weight."), &mut self.tenants);
        keys.list(Key::new("regions", "Where the requests come from, by weight."), &mut self.regions);
        if !self.file.is_empty() && self.synthetic != Synthetic::default() {
            keys.wrong("file", "goes with no synthetic workload: leave one of them out".into());
        }
        let is_alone = self.file.is_empty() && self.synthetic == Synthetic::default();
        if !self.parts.is_empty() && !is_alone {
            keys.wrong("parts", "go with no file and no other synthetic workload".into());
        }
        if let Some(problem) = parts::problem(&self.parts) {
            keys.wrong("parts", problem.into());
        }
    }
}

impl Source {
    /// Reads what stands on a command line: the keys in braces as in a file, the name of a synthetic workload, or else
    /// a path.
    ///
    /// # Errors
    ///
    /// All that is wrong with the keys.
    pub fn of_spec(spec: &str) -> Result<Self, Vec<plimsoll_yaml::Problem>> {
        let mut source = Self::default();
        if spec.trim_start().starts_with('{') {
            plimsoll_yaml::read("trace", spec, &mut source)?;
        } else if let Some(workload) = super::WORKLOADS.iter().find(|name| **name == spec) {
            source.synthetic = Synthetic::of(workload);
        } else {
            source.file = spec.into();
        }
        Ok(source)
    }

    /// The trace, and what of a file could not be used. Files are looked for from the folder `base`; `seed` decides
    /// all that is drawn.
    ///
    /// What is asked for happens in this order: a part of the source, its rate, copies, who sends them and whose are
    /// kept, the number of requests, the cuts.
    ///
    /// # Errors
    ///
    /// Those of [`read()`], and that what is asked for would be too large.
    pub fn load(&self, seed: u64, base: &Path) -> Result<(Trace, Problems), Error> {
        let (trace, problems) = if self.file.is_empty() {
            (self.made_up(seed)?, Problems::default())
        } else {
            let (trace, problems) = read(&base.join(&self.file), &self.options(seed))?;
            let trace = shape::replicate(trace, self.copies as u32, seed)?;
            (shape::share_tenants(trace, &shares(&self.tenants), seed), problems)
        };
        Ok((self.shaped(trace, seed), problems))
    }

    fn options(&self, seed: u64) -> Options {
        Options {
            model: self.model.clone(),
            seed,
            jitter: Duration::from_secs_f64(self.jitter_s),
            from: Duration::from_secs_f64(self.from_s),
            length: self.length(),
            rate: self.rate,
        }
    }

    fn length(&self) -> Option<Duration> {
        (self.for_s > 0.0).then(|| Duration::from_secs_f64(self.for_s))
    }

    /// The parts, or else the synthetic workload: as long as is asked for, or until it has as many requests.
    fn made_up(&self, seed: u64) -> Result<Trace, Error> {
        let tenants = shares(&self.tenants);
        let from = Duration::from_secs_f64(self.from_s);
        if !self.parts.is_empty() {
            let trace = parts::generate(&self.parts, &self.model, &tenants, seed)?;
            let trace = shape::slice(trace, from, self.length());
            return shape::replicate(shape::scale(trace, self.rate), self.copies as u32, seed);
        }
        // At the mean rate half as much again is nearly always enough; where it is not, twice as much is tried.
        let enough = 1.5 * self.requests as f64 / self.synthetic.arrivals.mean_rate() + 10.0;
        let guess = if self.requests > 0 { Duration::from_secs_f64(enough) } else { LENGTH };
        let mut length = self.length().unwrap_or(guess);
        loop {
            let until = from.saturating_add(length);
            let trace = self.synthetic.generate(&self.model, &tenants, until, seed)?;
            let trace = shape::slice(trace, from, None);
            if self.for_s > 0.0 || trace.arrivals.len() as u64 >= self.requests {
                return shape::replicate(shape::scale(trace, self.rate), self.copies as u32, seed);
            }
            length *= 2;
        }
    }

    fn shaped(&self, trace: Trace, seed: u64) -> Trace {
        let mut trace = shape::share_regions(trace, &shares(&self.regions), seed);
        if !self.only_tenants.is_empty() {
            trace = shape::only_tenants(trace, &self.only_tenants);
        }
        if self.requests > 0 {
            trace = shape::first(trace, self.requests as usize);
        }
        let most = |tokens: u64| if tokens == 0 { u32::MAX } else { tokens as u32 };
        trace = shape::cap(trace, most(self.max_prompt_tokens), most(self.max_output_tokens));
        if !self.name.is_empty() {
            trace.name.clone_from(&self.name);
        }
        trace
    }
}

fn shares(listed: &[Share]) -> Vec<(String, f64)> {
    listed.iter().map(|share| (share.name.clone(), share.share)).collect()
}

#[cfg(test)]
mod tests;
