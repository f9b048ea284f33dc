//! The one binary: `serve`, `check`, `load`, `simulate` and `reference`.

mod args;
mod greeting;
mod load;
mod simulate;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use plimsoll_gateway::config::{self, Config, Overrides};
use plimsoll_gateway::{Source, run};
use plimsoll_telemetry::{Exporter, catalog, start_logging};
use plimsoll_workload::scenario;

use args::{Args, Command, Reference, Serve};

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.command {
        None => serve(&args.serve),
        Some(Command::Serve(own)) => serve(&args.serve.overridden_by(own)),
        Some(Command::Check { file }) => return check(&file),
        Some(Command::Load(load)) => return exit_code(load::run(*load)),
        Some(Command::Simulate(args)) => simulate::run(&args),
        Some(Command::Reference { what }) => {
            print!("{}", reference(what));
            Ok(())
        }
    };
    exit_code(done.map(|()| ExitCode::SUCCESS))
}

/// What could not begin is said in a line and exits with 2.
fn exit_code(done: anyhow::Result<ExitCode>) -> ExitCode {
    done.unwrap_or_else(|error| {
        eprintln!("plimsoll: {error:#}");
        ExitCode::from(2)
    })
}

fn reference(what: Reference) -> String {
    match what {
        Reference::Config => config::reference(),
        Reference::Metrics => catalog::reference(),
        Reference::Scenarios => scenario::reference(),
    }
}

fn serve(args: &Serve) -> anyhow::Result<()> {
    let config = configuration(args)?;
    start_logging(args.log.into());
    let exporter = Exporter::install().context("no metrics")?;
    let source = Source { config, file: args.config.clone() };
    run(source, Some(exporter), greeting::print).map_err(anyhow::Error::msg)
}

/// The file, if there is one, under what was said on the command line.
fn configuration(args: &Serve) -> anyhow::Result<Config> {
    let text = match &args.config {
        Some(file) => std::fs::read_to_string(file).with_context(|| file.display().to_string())?,
        None => String::new(),
    };
    let name = args.config.as_deref().unwrap_or(Path::new("command line")).display().to_string();
    config::read(&name, &text, &args.overrides()).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::Error::msg(lines.join("\n"))
    })
}

fn check(file: &Path) -> ExitCode {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("{}: {error}", file.display());
            return ExitCode::from(2);
        }
    };
    match config::read(&file.display().to_string(), &text, &Overrides::default()) {
        Ok(_) => {
            println!("{}: good", file.display());
            ExitCode::SUCCESS
        }
        Err(problems) => {
            for problem in problems {
                eprintln!("{problem}");
            }
            ExitCode::from(2)
        }
    }
}
