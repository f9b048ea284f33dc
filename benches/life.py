#!/usr/bin/env python3
"""How close is simulation to life? One trace through `plimsoll simulate` and through a live gateway.

The trace is that of the scenario `embedded`. The live gateway serves the embedded fleet with all of its times, and the
load with all of its pauses, `--time-scale` times as long as in reality, so that the timers of a small machine do not
matter; what was measured is divided by it again.

    life.py                            some four minutes
    life.py --seconds 120 --seed 2     another and longer part of the trace
"""

import argparse
import json
import pathlib
import sys
import tempfile

import children

SCENARIO = "embedded"
# What is compared, how it is written, and by how much the median and the 99th percentile may differ.
METRICS = {"ttft": "TTFT", "itl": "ITL", "e2e": "E2E"}
BOUNDS = {"p50": 0.10, "p99": 0.20}


def scenario(seconds):
    """The text of the scenario, so much shorter."""
    text = children.plimsoll("simulate", SCENARIO, "--show")
    lines = [f"  for_s: {seconds}" if line.startswith("  for_s:") else line for line in text.splitlines()]
    return "\n".join(lines) + "\n"


def trace_of(text):
    """The trace of a scenario as `plimsoll load --trace` takes it: the keys in braces."""
    lines = text.splitlines()
    begin = lines.index("trace:") + 1
    end = next(at for at in range(begin, len(lines)) if not lines[at].startswith("  "))
    return "{" + ", ".join(line.strip() for line in lines[begin:end]) + "}"


def simulated(text, seed, folder):
    """The report of the simulation."""
    (folder / "life.yaml").write_text(text)
    children.plimsoll("simulate", folder / "life.yaml", "--seed", seed, "--json", folder / "simulated.json")
    return json.loads((folder / "simulated.json").read_text())


def lived(text, seed, scale, folder):
    """The report of the load generator."""
    with children.gateway(config(scale)) as (_, url):
        arguments = ["load", url, "--trace", trace_of(text), "--seed", seed, "--slow-down", scale]
        children.plimsoll(*arguments, "--json", folder / "lived.json", "--quiet")
    return json.loads((folder / "lived.json").read_text())


def config(scale):
    """The embedded fleet, slowed down, and limits that are as far from its times as they are from real ones."""
    shipped = {"ttft_limit": 30, "ttft_floor": 5, "idle_limit": 15, "hold_headers": 10, "keep_alive": 15}
    limits = ", ".join(f"{name}_ms: {min(1_000 * seconds * scale, 600_000)}" for name, seconds in shipped.items())
    return f"embedded: {{time_scale: {scale}}}\npipeline: {{{limits}}}"


def rows(simulation, life):
    """The rows of the table, and whether all bounds hold."""
    table, good = [], True
    for key, name in METRICS.items():
        for quantile in ("mean", "p50", "p90", "p99"):
            a, b = (report["total"][key][quantile] * 1e3 for report in (simulation, life))
            bound = BOUNDS.get(quantile)
            holds = bound is None or key == "itl" or abs(b / a - 1) <= bound
            good &= holds
            said = "" if bound is None or key == "itl" else f"{'within' if holds else 'NOT within'} {bound:.0%}"
            table.append((f"{name} {quantile}", f"{a:,.1f}", f"{b:,.1f}", f"{b / a:.3f}", said))
    return table, good


def write(table):
    """The table as Markdown."""
    head = [("", "simulation, ms", "life, ms", "life ÷ simulation", "bound"), ("---", "--:", "--:", "--:", "---")]
    return "\n".join("| " + " | ".join(row) + " |" for row in [*head, *table])


def about(report):
    """One line on a run, with what else must agree if it was the same one."""
    total = report["total"]
    ends = ", ".join(f"{count} {end}" for end, count in total["outcomes"].items())
    return (
        f"{report['kind']}: {total['requests']} requests ({ends}), {total['prompt_tokens']} prompt tokens of which"
        f" {total['cached_tokens']} cached, {total['output_tokens']} tokens written"
    )


def measure(seconds=90, scale=2, seed=1):
    """Both runs: the table, the lines about them, whether all bounds hold."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="plimsoll-life-"))
    text = scenario(seconds)
    simulation, life = simulated(text, seed, folder), lived(text, seed, scale, folder)
    table, good = rows(simulation, life)
    lines = [about(simulation), about(life), *life["notes"]]
    return write(table), lines, good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=90, help="of the trace")
    parser.add_argument("--time-scale", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    table, lines, good = measure(args.seconds, args.time_scale, args.seed)
    print(table, *lines, sep="\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
