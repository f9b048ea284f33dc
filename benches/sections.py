"""What stands in RESULTS.md: each section runs its bench and gives the command and what came of it, as Markdown."""

import csv
import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile

import children
import life as life_bench
import overhead as overhead_bench
import simulations
from children import Skipped

CARGO = os.environ.get("CARGO", "cargo")
HUNDRED = """\
about: A hundred backends at some seven tenths of what they can carry.
trace:
  synthetic: plain
  arrivals: {process: poisson, rate: 2000}
  for_s: 60
backends:
  - {name: h200, count: 100}
"""


def overhead():
    """CPU time beside other proxies"""
    table, below = overhead_bench.measure(overhead_bench.present(), repetitions=5, seconds=3)
    below = "".join(f"- {line}\n" for line in below)
    how = "Medians of five interleaved repetitions of 3 s; a ratio is the median of five ratios."
    return "benches/overhead.py", f"{overhead_bench.LEGEND}\n{how}\n\n{table}\n\n{below}"


def life():
    """One trace through the simulator and through a live gateway"""
    table, lines, good = life_bench.measure()
    if not good:
        print("life: NOT all bounds hold", file=sys.stderr)
    return "benches/life.py", table + "\n\n" + "".join(f"- {line}\n" for line in lines)


def simulator():
    """How many requests the simulator does a minute"""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="plimsoll-results-"))
    file = folder / "hundred.yaml"
    file.write_text(HUNDRED)
    rows = ["| | requests | CPU s | requests a minute of one core |", "|---|--:|--:|--:|"]
    for name, switches in (("tokens together", ()), ("every token by itself", ("--every-token",))):
        before = used()
        children.plimsoll("simulate", file, "--threads", 1, "--json", folder / "report.json", *switches)
        seconds = used() - before
        requests = json.loads((folder / "report.json").read_text())["total"]["requests"]
        rows.append(f"| {name} | {requests:,} | {seconds:.1f} | {60 * requests / seconds:,.0f} |")
    text = (
        "A hundred H200 at some seven tenths of what they can carry: 2,000 requests a second, which in the mean read 1,000\n"
        "tokens and write 200."
    )
    return "benches/results.py simulator", text + "\n\n" + "\n".join(rows)


def generator():
    """What the load generator can send from one core"""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="plimsoll-results-"))
    plain = ("--plain", *overhead_bench.SHORT, "--concurrency", 64)
    stream = ("--prompt-tokens", 66, "--output-tokens", 128, "--concurrency")
    # Milliseconds between the tokens of the answerer, what is asked, what is counted.
    cases = {
        "plain answers, 64 clients, each request": (0, plain, "requests"),
        "64 streams as fast as they come, each token": (0, (*stream, 64), "output_tokens"),
        "1,000 streams, 20 ms between tokens, each token": (20, (*stream, 1_000), "output_tokens"),
    }
    rows = ["| | CPU µs | a second of one core |", "|---|--:|--:|"]
    for name, (interval, switches, counted) in cases.items():
        port = children.free_ports(1)[0]
        command = [children.built(overhead_bench.ANSWERER), "--ports", port, "--interval-ms", interval]
        with children.Child("answerer", command, folder) as answerer:
            url = f"http://127.0.0.1:{port}"
            answerer.wait_for(f"{url}/open")
            before, file = used(), folder / "report.json"
            children.plimsoll("load", url, *switches, "--model", "m", "--duration", 5, "--json", file, "--quiet")
            cpu = (used() - before) / json.loads(file.read_text())["total"][counted]
        rows.append(f"| {name} | {1e6 * cpu:.1f} | {1 / cpu:,.0f} |")
    text = "CPU time of `plimsoll load` in a closed loop, its report included."
    return "benches/results.py generator", text + "\n\n" + "\n".join(rows)


def used():
    """CPU seconds of all commands that have ended so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def pieces():
    """The micro-benches"""
    command = [CARGO, "bench", "--locked", "--package", "plimsoll-benches"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=children.ROOT, check=True)
    found = re.findall(r"^(\S.*?)\s+time:\s+\[\S+ \S+ (\S+ \S+) ", done.stdout, re.MULTILINE)
    if not found:
        raise RuntimeError("cargo bench gave no times")
    rows = "\n".join(f"| {name} | {time} |" for name, time in found)
    return "cargo bench -p plimsoll-benches", f"| bench | median |\n|---|--:|\n{rows}"


def instructions():
    """Instructions of hot paths, which noise cannot hide"""
    file = children.ROOT / "benches/instructions.csv"
    done = subprocess.run([sys.executable, file.with_suffix(".py")], capture_output=True, text=True, check=False)
    if "SKIPPED" in done.stdout:
        raise Skipped("there is no valgrind")
    found = re.findall(r"^(\S.*?)\s+([\d,]+)\s+([+-][\d.]+%)", done.stdout, re.MULTILINE)
    if not found:
        raise RuntimeError(done.stdout + done.stderr)
    written = dict(csv.reader(file.read_text().splitlines()[1:]))
    rows = "\n".join(f"| {name} | {count} | {int(written.get(name, 0)):,} |" for name, count, _ in found)
    return "make instructions", f"| | instructions | written down |\n|---|--:|--:|\n{rows}"


ALL = {
    section.__name__: section
    for section in (overhead, life, simulator, generator, pieces, instructions, *simulations.ALL)
}
