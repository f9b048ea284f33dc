//! Policies times seeds, spread over threads.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::world::World;
use crate::report::{About, Record, Report};
use crate::scenario::Scenario;
use crate::trace::{Error, Problems};

/// Tokens between the first and the last are told together once in so long, if they may be.
const TOGETHER: Duration = Duration::from_secs(1);

/// How a scenario is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Threads that run worlds; each runs one at a time.
    pub threads: usize,
    /// Whether every token goes through the pipeline by itself. If not, those between the first and the last of an
    /// answer go together, which is faster and changes no statistic; where requests wait at a line, hardly any.
    pub every_token: bool,
    /// Whether the records of each request are kept.
    pub records: bool,
}

/// What came of one world.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The policy.
    pub policy: &'static str,
    /// What tells it from the others but for the seed: policy, variant or both.
    pub label: String,
    /// The seed.
    pub seed: u64,
    /// What the run was about, for the names in its records.
    pub about: About,
    /// The report.
    pub report: Report,
    /// What became of each request, where that was asked for.
    pub records: Vec<Record>,
}

/// Runs `scenario`, whose relative files are relative to `base`: every variant with every policy with every seed. Outcomes come in that
/// order, whatever the number of threads.
///
/// # Errors
///
/// Where there is no trace.
pub fn simulate(
    scenario: &Scenario,
    base: &Path,
    options: &Options,
) -> Result<(Vec<Outcome>, Problems), Error> {
    let mut problems = Problems::default();
    let mut traces = Vec::new();
    for seed in scenario.seed..scenario.seed + scenario.seeds {
        let (trace, found) = scenario.trace.load(seed, base)?;
        traces.push((seed, Arc::new(trace)));
        problems = found;
    }
    let mut worlds = Vec::new();
    for variant in scenario.variants() {
        for policy in scenario.policies() {
            worlds.extend(traces.iter().map(|(seed, trace)| World {
                scenario,
                trace: Arc::clone(trace),
                policy,
                variant: variant.clone(),
                seed: *seed,
                coalesce: (!options.every_token).then_some(TOGETHER),
            }));
        }
    }
    Ok((run_all(&worlds, options), problems))
}

fn run_all(worlds: &[World<'_>], options: &Options) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Outcome)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..options.threads.clamp(1, worlds.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Relaxed);
                    let Some(world) = worlds.get(index) else { return };
                    let outcome = run(world, options);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((index, outcome));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, outcome)| outcome).collect()
}

fn run(world: &World<'_>, options: &Options) -> Outcome {
    let (recorder, about) = world.run();
    let records = if options.records { recorder.records().to_vec() } else { Vec::new() };
    Outcome {
        policy: world.policy,
        label: world.label(),
        seed: world.seed,
        report: recorder.finish(about.clone()),
        about,
        records,
    }
}
