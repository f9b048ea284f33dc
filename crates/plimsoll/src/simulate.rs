//! `plimsoll simulate`: a scenario, run and told.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use plimsoll_workload::report::{Policies, Report, csv, html};
use plimsoll_workload::scenario::{SHIPPED, Scenario, Shipped};
use plimsoll_workload::simulation::{Options, Outcome, simulate};

/// Run a scenario: the shipped pipeline and router over simulated GPUs, hours in seconds.
///
///   plimsoll simulate                       the scenarios that come with the program
///   plimsoll simulate outage-at-peak        one of them
///   plimsoll simulate my.yaml --policies power_of_two,random --seeds 5 --html report.html
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Simulate {
    /// A scenario file, or the name of one that comes with the program; without it those are listed.
    scenario: Option<String>,
    /// Print the scenario's file, to copy and change it.
    #[arg(long)]
    show: bool,
    /// Policies to compare, with commas between, in the place of the scenario's.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    policies: Vec<String>,
    /// With how many seeds each is run.
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// The first seed.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Factor on the request rate.
    #[arg(long, value_name = "FACTOR")]
    rate: Option<f64>,
    /// The folder that trace files of shipped scenarios stand in [default: the scenario's own].
    #[arg(long, value_name = "FOLDER", env = "PLIMSOLL_TRACES")]
    traces: Option<PathBuf>,
    /// Threads; each runs a world of its own, and results do not depend on their number [default: all cores].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Send every token through the pipeline by itself: slower, same figures.
    #[arg(long)]
    every_token: bool,
    /// Write the report as JSON; of several runs, their comparison with all reports.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a row for each request of the first run as CSV.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write a page with plots that needs nothing else; of several seeds it shows the first.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Runs what was asked for.
pub(crate) fn run(args: &Simulate) -> anyhow::Result<()> {
    let Some(name) = &args.scenario else {
        print!("{}", list());
        return Ok(());
    };
    let (text, folder) = find(name)?;
    if args.show {
        print!("{text}");
        return Ok(());
    }
    let scenario = read(name, &text, args)?;
    let base = args.traces.as_deref().unwrap_or(&folder);
    let threads = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let options = Options { threads, every_token: args.every_token, records: args.csv.is_some() };
    let (outcomes, problems) = simulate(&scenario, base, &options).context(hint(&scenario, args))?;
    if !problems.is_empty() {
        eprintln!("plimsoll: {problems}");
    }
    tell(&scenario, &outcomes, args)
}

fn list() -> String {
    let lines = SHIPPED.iter().map(|shipped| format!("  {:<20} {}\n", shipped.name, shipped.about()));
    let list: String = lines.collect();
    format!(
        "Scenarios that come with the program; `plimsoll simulate NAME` runs one, `--show` prints its file:\n\n{list}"
    )
}

/// The text of a scenario, and the folder that its files are relative to.
fn find(name: &str) -> anyhow::Result<(String, PathBuf)> {
    let path = Path::new(name);
    if path.exists() {
        let text = std::fs::read_to_string(path).with_context(|| name.to_owned())?;
        return Ok((text, path.parent().unwrap_or(Path::new("")).to_owned()));
    }
    match Shipped::named(name) {
        Some(shipped) => Ok((shipped.text.to_owned(), PathBuf::new())),
        None => bail!(
            "{name} is neither a file nor a scenario that comes with the program; `plimsoll simulate` lists those"
        ),
    }
}

/// The scenario under what was said on the command line.
fn read(name: &str, text: &str, args: &Simulate) -> anyhow::Result<Scenario> {
    let mut scenario = Scenario::read(name, text).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::Error::msg(lines.join("\n"))
    })?;
    if !args.policies.is_empty() {
        scenario.set_policies(&args.policies).map_err(anyhow::Error::msg)?;
    }
    scenario.seeds = args.seeds.unwrap_or(scenario.seeds).max(1);
    scenario.seed = args.seed.unwrap_or(scenario.seed);
    scenario.trace.rate *= args.rate.unwrap_or(1.0);
    Ok(scenario)
}

/// What to do where a trace file is missing.
fn hint(scenario: &Scenario, args: &Simulate) -> String {
    let missing = !scenario.trace.file.is_empty() && args.traces.is_none();
    let hint =
        if missing { " (docs/traces.md says where to get traces; --traces names their folder)" } else { "" };
    format!("no trace{hint}")
}

fn tell(scenario: &Scenario, outcomes: &[Outcome], args: &Simulate) -> anyhow::Result<()> {
    let reports: Vec<&Report> = outcomes.iter().map(|outcome| &outcome.report).collect();
    println!("{}: {}\n", scenario.name, scenario.about);
    let comparison = Policies::new(&reports);
    let (text, json) = match &reports[..] {
        [one] => (one.text(), one.json()),
        _ => (comparison.text(), comparison.json()),
    };
    print!("{text}{}", scenario.published.text(&reports));
    let write = |file: &Option<PathBuf>, content: &dyn Fn() -> String| match file {
        Some(file) => std::fs::write(file, content()).with_context(|| file.display().to_string()),
        None => Ok(()),
    };
    write(&args.json, &|| json.clone())?;
    let firsts: Vec<&Report> =
        reports.iter().filter(|report| report.seed == scenario.seed).copied().collect();
    write(&args.html, &|| html(&firsts))?;
    if let (Some(file), Some(first)) = (&args.csv, outcomes.first()) {
        let out = std::fs::File::create(file).with_context(|| file.display().to_string())?;
        csv(&first.records, &first.about, std::io::BufWriter::new(out))?;
    }
    Ok(())
}
