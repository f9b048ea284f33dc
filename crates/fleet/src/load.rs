//! What an engine's metrics say of its load: text in, [`Report`] out.
//!
//! Engines name the same three things in many ways, which also change between versions. So the names stand in a table
//! (`load/table.rs`), and which engine it is follows from which names are there.

mod exposition;
mod signal;
mod table;

pub use signal::Signal;

use std::collections::HashMap;
use std::time::Duration;

use plimsoll_routing::Report;

use crate::Names;
use exposition::{Sample, samples};
use signal::Sum;
use table::{ENGINES, SHORT};

/// What was read from metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The engine that names its metrics so.
    pub engine: &'static str,
    /// How loaded it is.
    pub report: Report,
    /// The least time after which it may be asked again.
    pub rest: Duration,
}

/// The names that are looked for, made once.
pub struct Table {
    rows: Vec<Row>,
    /// Where in `signals` a name may count.
    by_name: HashMap<String, Vec<(usize, Part)>>,
    signals: Vec<Signal>,
}

/// An engine's signals, by their place among all: those of newer versions first.
struct Row {
    engine: &'static str,
    rest: Duration,
    waiting: Vec<usize>,
    running: Vec<usize>,
    kv_used: Vec<usize>,
}

/// The part that a series has in a signal.
#[derive(Debug, Clone, Copy)]
enum Part {
    Of,
    Per,
}

impl Table {
    /// The table of all known engines, after the names that the configuration gives.
    #[must_use]
    pub fn new(names: &Names) -> Self {
        let mut table = Self { rows: Vec::new(), by_name: HashMap::new(), signals: Vec::new() };
        let own = [&names.waiting, &names.running, &names.kv_used].map(|name| vec![name.as_str()]);
        let [waiting, running, kv_used] = &own;
        table.add(("configured", Duration::ZERO), [waiting, running, kv_used]);
        for engine in ENGINES {
            table.add((engine.name, engine.rest), [engine.waiting, engine.running, engine.kv_used]);
        }
        table
    }

    fn add(&mut self, (engine, rest): (&'static str, Duration), names: [&[&str]; 3]) {
        let [waiting, running, kv_used] =
            names.map(|names| names.iter().filter_map(|name| self.signal(name)).collect());
        self.rows.push(Row { engine, rest, waiting, running, kv_used });
    }

    fn signal(&mut self, name: &str) -> Option<usize> {
        let (signal, index) = (Signal::parse(name)?, self.signals.len());
        let mut note = |name: &str, part| {
            self.by_name.entry(name.to_owned()).or_default().push((index, part));
        };
        note(&signal.of.name, Part::Of);
        if let Some(per) = &signal.per {
            note(&per.name, Part::Per);
        }
        self.signals.push(signal);
        Some(index)
    }

    /// What `text`, metrics in the form of Prometheus, says of load; `None` where it has none of the names.
    #[must_use]
    pub fn read(&self, text: &str) -> Option<Reading> {
        self.reading(samples(text))
    }

    /// What figures with names say of load, such as those of a report on an answer.
    #[must_use]
    pub fn read_figures(&self, figures: &[(String, f64)]) -> Option<Reading> {
        self.reading(figures.iter().map(|(name, value)| {
            let long = SHORT.iter().find(|(short, _)| short == name);
            Sample::plain(long.map_or(name, |(_, long)| long), *value)
        }))
    }

    fn reading<'t>(&self, samples: impl Iterator<Item = Sample<'t>>) -> Option<Reading> {
        let mut sums = vec![(Sum::default(), Sum::default()); self.signals.len()];
        for sample in samples {
            for (index, part) in self.by_name.get(sample.name).into_iter().flatten() {
                let (signal, (of, per)) = (&self.signals[*index], &mut sums[*index]);
                match part {
                    Part::Of => signal.of.count(&sample, of),
                    Part::Per => {
                        signal.per.as_ref().into_iter().for_each(|series| series.count(&sample, per));
                    }
                }
            }
        }
        let first = |signals: &[usize], value: fn(&Signal, &(Sum, Sum)) -> Option<f64>| {
            signals.iter().find_map(|index| value(&self.signals[*index], &sums[*index]))
        };
        self.rows.iter().find_map(|row| {
            let requests =
                |signals: &[usize]| first(signals, Signal::total).map(|requests| requests.round() as u32);
            let report = Report {
                waiting: requests(&row.waiting),
                running: requests(&row.running),
                // No engine says it among its metrics.
                unread_tokens: None,
                kv_used: first(&row.kv_used, Signal::share).map(|share| share.clamp(0.0, 1.0) as f32),
            };
            (report != Report::default()).then_some(Reading { engine: row.engine, report, rest: row.rest })
        })
    }
}

#[cfg(test)]
mod tests;
