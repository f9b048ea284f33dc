//! Puts a trace together, line by line.

use std::collections::HashMap;
use std::time::Duration;

use super::{Answer, Arrival, Trace};
use crate::random::Draw;

/// Tokens of the longest prompt and the longest answer that are believed: sixteen times the longest context on sale.
pub(super) const MOST_TOKENS: u64 = 1 << 24;
/// Block ids that a trace can hold: an arrival counts them in 32 bits.
pub(super) const MOST_BLOCKS: usize = u32::MAX as usize;

/// A request as a line tells it. A name that is empty means the one of all who do not say.
#[derive(Debug, Default)]
pub(super) struct Row<'r> {
    pub(super) at: Duration,
    pub(super) prompt_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) model: &'r str,
    pub(super) tenant: &'r str,
    pub(super) region: &'r str,
    pub(super) blocks: &'r [u64],
}

/// Collects rows; the trace is what [`finish`](Self::finish) returns.
pub(super) struct Builder {
    trace: Trace,
    models: Names,
    tenants: Names,
    regions: Names,
    jitter: Duration,
    draw: Draw,
    /// Whether times are those of a calendar, so that the earliest is the beginning.
    calendar: bool,
}

impl Builder {
    /// Without requests; `jitter` is the longest time that each is moved later by.
    pub(super) fn new(model: &str, jitter: Duration, seed: u64) -> Self {
        Self {
            trace: Trace::default(),
            models: Names::new("models", model),
            tenants: Names::new("tenants", "default"),
            regions: Names::new("regions", ""),
            jitter,
            draw: Draw::new(seed, 0x6a69_7474),
            calendar: false,
        }
    }

    /// Says that times are those of a calendar.
    pub(super) fn count_from_the_earliest(&mut self) {
        self.calendar = true;
    }

    /// Says how many tokens a block has, which must stay the same.
    pub(super) fn set_block_tokens(&mut self, tokens: u32) -> Result<(), String> {
        match self.trace.block_tokens {
            known if known == tokens => Ok(()),
            0 => {
                self.trace.block_tokens = tokens;
                Ok(())
            }
            known => Err(format!("block_tokens is {tokens}, and was {known} before")),
        }
    }

    /// Adds a request, or says why it cannot be one.
    pub(super) fn push(&mut self, row: &Row<'_>) -> Result<(), String> {
        let (prompt_tokens, output_tokens) =
            (length("the prompt", row.prompt_tokens)?, length("the answer", row.output_tokens)?);
        // Ids beyond the end of the prompt stand for nothing.
        let fit = prompt_tokens.div_ceil(self.trace.block_tokens.max(1)) as usize;
        let blocks = &row.blocks[..row.blocks.len().min(fit)];
        if self.trace.blocks.len() + blocks.len() > MOST_BLOCKS {
            return Err(format!("there are more than {MOST_BLOCKS} block ids"));
        }
        let arrival = Arrival {
            at: row.at.saturating_add(self.jitter.mul_f64(self.draw.unit())),
            prompt_tokens,
            output_tokens,
            first_block: self.trace.blocks.len() as u32,
            block_count: blocks.len() as u32,
            model: self.models.index(row.model)?,
            tenant: self.tenants.index(row.tenant)?,
            region: self.regions.index(row.region)?,
            answer: Answer::default(),
        };
        self.trace.blocks.extend_from_slice(blocks);
        self.trace.arrivals.push(arrival);
        Ok(())
    }

    /// The trace, in the order of arrival; what arrives together stays in the order of its lines.
    pub(super) fn finish(mut self, name: String) -> Trace {
        let arrivals = &mut self.trace.arrivals;
        arrivals.sort_by_key(|arrival| arrival.at);
        if self.calendar
            && let Some(begin) = arrivals.first().map(|arrival| arrival.at)
        {
            arrivals.iter_mut().for_each(|arrival| arrival.at -= begin);
        }
        self.trace.name = name;
        self.trace.models = self.models.listed;
        self.trace.tenants = self.tenants.listed;
        self.trace.regions = self.regions.listed;
        self.trace
    }
}

/// A length that is at least one: a trace counts answers that were cancelled as zero, and a request has no use for it.
fn length(of: &str, tokens: u64) -> Result<u32, String> {
    if tokens > MOST_TOKENS {
        return Err(format!("{of} has {tokens} tokens, and {MOST_TOKENS} are the most"));
    }
    Ok(tokens.max(1) as u32)
}

/// Names and the numbers that stand for them.
struct Names {
    what: &'static str,
    default: String,
    listed: Vec<String>,
    known: HashMap<String, u16>,
}

impl Names {
    fn new(what: &'static str, default: &str) -> Self {
        Self { what, default: default.to_owned(), listed: Vec::new(), known: HashMap::new() }
    }

    fn index(&mut self, name: &str) -> Result<u16, String> {
        let name = if name.is_empty() { &self.default } else { name };
        if let Some(index) = self.known.get(name) {
            return Ok(*index);
        }
        let index = u16::try_from(self.listed.len())
            .map_err(|_| format!("there are more than {} {}", u32::from(u16::MAX) + 1, self.what))?;
        self.known.insert(name.to_owned(), index);
        self.listed.push(name.to_owned());
        Ok(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(at: u64, tokens: u64) -> Row<'static> {
        Row { at: Duration::from_secs(at), prompt_tokens: tokens, output_tokens: tokens, ..Row::default() }
    }

    #[test]
    fn rows_are_sorted_and_those_of_one_moment_stay_in_order() {
        let mut builder = Builder::new("m", Duration::ZERO, 0);
        for (at, tokens) in [(2, 20), (1, 10), (2, 21), (0, 5)] {
            builder.push(&row(at, tokens)).unwrap();
        }
        let trace = builder.finish("t".into());
        let lengths: Vec<u32> = trace.arrivals.iter().map(|arrival| arrival.prompt_tokens).collect();
        assert_eq!(lengths, [5, 10, 20, 21]);
        assert_eq!((trace.models[0].as_str(), trace.tenants[0].as_str()), ("m", "default"));
    }

    #[test]
    fn zero_tokens_are_one_and_too_many_are_refused() {
        let mut builder = Builder::new("m", Duration::ZERO, 0);
        builder.push(&row(0, 0)).unwrap();
        let why = builder.push(&row(0, MOST_TOKENS + 1)).unwrap_err();
        assert_eq!(why, "the prompt has 16777217 tokens, and 16777216 are the most");
        assert_eq!(builder.finish("t".into()).arrivals[0].output_tokens, 1);
    }

    #[test]
    fn jitter_spreads_what_arrived_together() {
        let mut builder = Builder::new("m", Duration::from_secs(3), 1);
        for _ in 0..1_000 {
            builder.push(&row(0, 1)).unwrap();
        }
        let trace = builder.finish("t".into());
        let mean = trace.arrivals.iter().map(|arrival| arrival.at.as_secs_f64()).sum::<f64>() / 1_000.0;
        assert!((mean - 1.5).abs() < 0.1 && trace.duration() < Duration::from_secs(3), "{mean}");
    }
}
