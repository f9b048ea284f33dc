//! One client: when it asks, and how much.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use super::Slice;
use super::lengths::{self, Lengths};
use crate::random::Draw;
use crate::trace::Problems;
use crate::trace::lines;

/// The length of the last window, in seconds; others end where the next begins.
const WINDOW: f64 = 600.0;

/// The law of the gaps between arrivals, by its shape: the scale follows from the rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Gaps {
    Gamma(f64),
    Weibull(f64),
}

impl Gaps {
    pub(super) fn draw(self, draw: &mut Draw) -> f64 {
        match self {
            Self::Gamma(shape) => draw.gamma(shape),
            Self::Weibull(shape) => draw.weibull(shape),
        }
    }
}

/// A time during which a client asks at one rate; times in seconds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Window {
    pub(super) from: f64,
    pub(super) until: f64,
    pub(super) rate: f64,
    pub(super) gaps: Gaps,
}

/// A client.
pub(super) struct Client {
    pub(super) number: u32,
    /// Those in which it asks.
    pub(super) windows: Vec<Window>,
    /// With the second from which they hold, in order; at least one.
    lengths: Vec<(f64, Lengths)>,
}

impl Client {
    /// Client `number` of `folder`, or none if it asks for nothing in `slice` or cannot be read.
    pub(super) fn read(folder: &Path, number: u32, slice: &Slice, problems: &mut Problems) -> Option<Self> {
        let file = folder.join(format!("chunk-{number}-trace.csv"));
        let windows = windows(&file, problems);
        if !windows.iter().any(|window| slice.meets(window)) {
            return None;
        }
        let file = folder.join(format!("chunk-{number}-dataset.json"));
        let text = std::fs::read_to_string(&file).map_err(|error| error.to_string());
        let last = windows.iter().rev().find(|window| slice.meets(window))?.from;
        match text.and_then(|text| lengths::read(&text, slice.from, last)) {
            Ok(lengths) => Some(Self { number, windows, lengths }),
            Err(why) => {
                problems.add(&file.display().to_string(), 1, &format!("{why}; the client is left out"));
                None
            }
        }
    }

    /// The lengths that hold at a second: the latest that began by then, or else the first.
    pub(super) fn lengths_at(&self, second: f64) -> &Lengths {
        let begun = self.lengths.partition_point(|(from, _)| *from <= second);
        &self.lengths[begun.saturating_sub(1)].1
    }
}

fn windows(file: &Path, problems: &mut Problems) -> Vec<Window> {
    let name = file.display().to_string();
    let mut starts = Vec::new();
    let mut windows: Vec<Window> = Vec::new();
    let each = |line: &str| {
        let (from, window) = window(line)?;
        starts.push(from);
        windows.extend(window);
        Ok(())
    };
    let read =
        File::open(file).and_then(|opened| lines::for_each(&name, BufReader::new(opened), problems, each));
    if let Err(error) = read {
        problems.add(&name, 1, &error.to_string());
    }
    starts.sort_by(f64::total_cmp);
    windows.sort_by(|a, b| a.from.total_cmp(&b.from));
    for window in &mut windows {
        let next = starts.partition_point(|start| *start <= window.from);
        window.until = starts.get(next).copied().unwrap_or(window.from + WINDOW);
    }
    windows
}

/// The second at which a line's window begins, and the window if the client asks in it.
fn window(line: &str) -> Result<(f64, Option<Window>), String> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let [from, rate, _cv, law, shape, _scale] = fields[..] else {
        return Err(format!("has {} fields, not six", fields.len()));
    };
    let number = |name: &str, field: &str| {
        let number = field.parse().ok().filter(|number: &f64| (0.0..=1e9).contains(number));
        number.ok_or_else(|| format!("{name}: {:?} is not a number", lines::shortened(field)))
    };
    let (from, rate) = (number("start", from)?, number("rate", rate)?);
    if law.is_empty() || rate == 0.0 {
        return Ok((from, None));
    }
    let shape = number("shape", shape)?.clamp(1e-3, 1e6);
    let gaps = match law {
        "Gamma" => Gaps::Gamma(shape),
        "Weibull" => Gaps::Weibull(shape),
        _ => return Err(format!("law: {:?} is neither Gamma nor Weibull", lines::shortened(law))),
    };
    Ok((from, Some(Window { from, until: from + WINDOW, rate, gaps })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_window_unless_nothing_is_asked_in_it() {
        let (from, asked) = window("600,0.935,0.76,Weibull,1.33,1.17").unwrap();
        let asked = asked.unwrap();
        assert_eq!((from, asked.rate, asked.gaps), (600.0, 0.935, Gaps::Weibull(1.33)));
        assert_eq!(window("0,0,0,,0,0").unwrap(), (0.0, None));
        assert_eq!(window("0,1,1,Pareto,1,1").unwrap_err(), "law: \"Pareto\" is neither Gamma nor Weibull");
        assert_eq!(window("0,1").unwrap_err(), "has 2 fields, not six");
        assert_eq!(window("0,-1,1,Gamma,1,1").unwrap_err(), "rate: \"-1\" is not a number");
    }
}
