//! `plimsoll load`: puts load on a live endpoint, and says what its clients saw.

mod args;
mod progress;

pub(crate) use args::Load;

use std::fs::File;
use std::io::{BufWriter, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use plimsoll_workload::load::calibrate::{Calibration, Sample};
use plimsoll_workload::load::{Pace, Plan, Run, Target};
use plimsoll_workload::report::{self, About, Outcome, Recorder, Report};
use plimsoll_workload::trace::{Source, Trace};
use tokio::task::LocalSet;

use args::{Put, Then};

/// How often the line in the terminal is drawn anew.
const REDRAW: Duration = Duration::from_millis(250);
/// What a shell gives for a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Does what was asked for on the command line. Without an answer to any request the run was in vain: 1.
pub(crate) fn run(load: Load) -> anyhow::Result<ExitCode> {
    match load.then {
        Some(Then::Compare { a, b }) => {
            print!("{}", report::compare(&read(&a)?, &read(&b)?).text());
            Ok(ExitCode::SUCCESS)
        }
        None if load.put.calibrate => calibrate(&load.put),
        None => put(load.put),
    }
}

fn read(file: &Path) -> anyhow::Result<Report> {
    let name = || file.display().to_string();
    let json = std::fs::read_to_string(file).with_context(name)?;
    // The error names its own cause, which a chain would name again.
    Report::from_json(&json).map_err(|error| anyhow::anyhow!("{}: {error}", name()))
}

fn calibrate(args: &Put) -> anyhow::Result<ExitCode> {
    let target = args.target()?;
    let tell = |sample: &Sample| {
        if !args.quiet {
            eprintln!("{sample}");
        }
    };
    let found = on_a_core(async {
        let model = target.check(args.model.as_deref(), &[String::new()]).await?.unwrap_or_default();
        Calibration::of(&target, &args.asking(Some(model)), tell).await
    })??;
    print!("{found}");
    Ok(ExitCode::SUCCESS)
}

fn put(args: Put) -> anyhow::Result<ExitCode> {
    let source = args.source()?;
    let trace = trace(&args, &source)?;
    let target = args.target()?;
    let model = on_a_core(target.check(args.model.as_deref(), &trace.models))??;
    let mut run = Run::start(plan(&args, target, (trace, args.pace(&source)), model))?;
    on_a_core(watch(&mut run, !args.quiet && std::io::stderr().is_terminal()))?;
    let (recorder, about) = run.finish()?;
    write(&args, recorder, about)
}

/// The requests; lines of a file that cannot be used are told on stderr.
fn trace(args: &Put, source: &Source) -> anyhow::Result<Trace> {
    let (mut trace, problems) = source.load(args.seed, Path::new(""))?;
    if !problems.is_empty() && !args.quiet {
        eprintln!("{problems}");
    }
    if trace.arrivals.is_empty() {
        bail!("the trace {} has no requests", trace.name);
    }
    if args.speed != 1.0 {
        trace.name = format!("{} at {} times its rate", trace.name, args.speed);
    }
    Ok(trace)
}

fn plan(args: &Put, target: Target, (trace, pace): (Trace, Pace), model: Option<String>) -> Plan {
    Plan {
        target,
        asking: args.asking(model),
        trace: trace.into(),
        pace,
        slow_down: args.slow_down,
        warm_up: Duration::from_secs_f64(args.warm_up),
        timeout: Duration::from_secs_f64(args.timeout),
        max_in_flight: args.max_in_flight.max(args.concurrency.unwrap_or(0)),
        threads: args.threads,
        slo: args.slo(),
    }
}

/// Runs `future` on this thread, with room for tasks beside it.
fn on_a_core<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    Ok(LocalSet::new().block_on(&runtime, future))
}

/// Waits for the end. The first Ctrl-C stops the run, the second this program.
async fn watch(run: &mut Run, draw: bool) {
    let mut line = progress::Line::new(draw);
    let mut redraw = tokio::time::interval(REDRAW);
    let mut stopped = false;
    loop {
        tokio::select! {
            () = run.ended() => break,
            _ = redraw.tick() => line.draw(run.elapsed(), &run.progress()),
            _ = tokio::signal::ctrl_c() => {
                if stopped {
                    std::process::exit(INTERRUPTED);
                }
                stopped = true;
                run.stop();
            }
        }
    }
    line.clear();
}

fn write(args: &Put, recorder: Recorder, about: About) -> anyhow::Result<ExitCode> {
    if let Some(file) = &args.csv {
        let name = || file.display().to_string();
        let out = BufWriter::new(File::create(file).with_context(name)?);
        report::csv(recorder.records(), &about, out).with_context(name)?;
    }
    let report = recorder.finish(about);
    for (file, text) in
        [(&args.json, Report::json as fn(&Report) -> String), (&args.html, |report| report::html(&[report]))]
    {
        if let Some(file) = file {
            std::fs::write(file, text(&report)).with_context(|| file.display().to_string())?;
        }
    }
    if !args.quiet {
        print!("{}", report.text());
    }
    let answered = report.total.ended(Outcome::Ok) > 0;
    Ok(if answered { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
