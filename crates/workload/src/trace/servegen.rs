//! ServeGen's models of clients (Xiang et al., 2025): a folder with two files for each client, from which arrivals of
//! any length are drawn.
//!
//! `chunk-I-trace.csv` tells for each window of ten minutes the rate, the coefficient of variation, and the law of the
//! gaps between arrivals with its shape and scale. `chunk-I-dataset.json` tells for each window of some hours how often
//! each length occurs. As in ServeGen, the gaps of a window are scaled so that it has the arrivals its rate promises:
//! the fitted scale alone is off by a factor of ten where bursts are strong. Lengths are drawn independently.
//!
//! Every client is a tenant, and nothing is told of prefixes. A client whose lengths are missing is left out and told.

mod client;
mod lengths;

use std::path::Path;
use std::time::Duration;

use super::builder::{Builder, Row};
use super::{Error, Options, Problems, Trace};
use crate::random::Draw;
use client::{Client, Window};

/// How much is taken where nothing is said.
const LENGTH: Duration = Duration::from_secs(600);
/// Requests that one slice may have.
pub(super) const MOST_REQUESTS: usize = 1 << 26;

/// Draws the arrivals of the clients in `folder`.
///
/// # Errors
///
/// That there are no clients, or no arrivals in the slice that the options ask for.
pub(super) fn read(folder: &Path, options: &Options) -> Result<(Trace, Problems), Error> {
    let mut problems = Problems::default();
    let mut builder = Builder::new(&options.model, options.jitter, options.seed);
    let slice = Slice::of(options);
    let numbers = numbers(folder)?;
    for number in &numbers {
        let Some(client) = Client::read(folder, *number, &slice, &mut problems) else { continue };
        draw(&client, &slice, options, &mut builder).map_err(|_| too_large())?;
    }
    let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned();
    let trace = builder.finish(name);
    let file = folder.display().to_string();
    match (numbers.is_empty(), trace.arrivals.is_empty()) {
        (true, _) => Err(Error::UnknownForm { file }),
        (false, true) => Err(Error::Empty { file, problems }),
        (false, false) => Ok((trace, problems)),
    }
}

fn too_large() -> Error {
    Error::TooLarge { what: "requests", most: MOST_REQUESTS }
}

/// The part of the models' time that is drawn, in seconds.
struct Slice {
    from: f64,
    until: f64,
}

impl Slice {
    fn of(options: &Options) -> Self {
        let from = options.from.as_secs_f64();
        Self { from, until: from + options.length.unwrap_or(LENGTH).as_secs_f64() }
    }

    fn meets(&self, window: &Window) -> bool {
        window.from < self.until && window.until > self.from
    }
}

/// The numbers of the clients, in order.
fn numbers(folder: &Path) -> Result<Vec<u32>, Error> {
    let unreadable = |error| Error::Unreadable { file: folder.display().to_string(), error };
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("chunk-")?.strip_suffix("-trace.csv"));
        numbers.extend(number.and_then(|number| number.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn draw(client: &Client, slice: &Slice, options: &Options, builder: &mut Builder) -> Result<(), String> {
    let tenant = format!("client-{}", client.number);
    for window in client.windows.iter().filter(|window| slice.meets(window)) {
        // A window has its own stream, so that it is the same in whatever slice it stands.
        let mut draw = Draw::new(options.seed, u64::from(client.number) << 32 | window.from as u64);
        let lengths = client.lengths_at(window.from);
        for at in arrivals(window, options.rate, &mut draw)? {
            let (prompt_tokens, output_tokens) = lengths.draw(&mut draw);
            if at >= slice.from && at < slice.until {
                let at = Duration::from_secs_f64(at - slice.from);
                let row = Row { at, prompt_tokens, output_tokens, tenant: &tenant, ..Row::default() };
                builder.push(&row)?;
            }
        }
    }
    Ok(())
}

/// When the requests of a window arrive: as many as its rate promises, in the mean, with gaps of its law.
fn arrivals(window: &Window, factor: f64, draw: &mut Draw) -> Result<Vec<f64>, String> {
    let length = window.until - window.from;
    let expected = window.rate * factor * length;
    if expected > MOST_REQUESTS as f64 {
        return Err("too many".into());
    }
    let count = expected as usize + usize::from(draw.unit() < expected.fract());
    let mut at = 0.0;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        at += window.gaps.draw(draw);
        times.push(at);
    }
    // One gap more than arrivals: the last does not stand on the end of the window.
    let sum = at + window.gaps.draw(draw);
    let scale = if sum > 0.0 { length / sum } else { 0.0 };
    times.iter_mut().for_each(|time| *time = window.from + *time * scale);
    Ok(times)
}

#[cfg(test)]
mod tests;
