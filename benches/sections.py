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


class Skipped(Exception):
    """A section cannot be measured here; the text says why."""


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


def scenario(name):
    """What a scenario comes to, as the program prints it: times to the first token, beside what was published."""
    try:
        said = children.plimsoll("simulate", name)
    except RuntimeError as error:
        if "no trace" in str(error):
            raise Skipped(f"{error} (PLIMSOLL_TRACES names the folder of traces)") from error
        raise
    kept, keeps = [], True
    for line in said.splitlines():
        # A line that begins with a word begins another metric, and a row of the same one with spaces.
        if line and not line.startswith(" "):
            keeps = line.startswith(("TTFT", "published", name))
            kept += [""] * line.startswith("published")
        if keeps:
            kept.append(line)
    return f"plimsoll simulate {name}", "```text\n" + "\n".join(kept) + "\n```"


def theory():
    """The supermarket model"""
    return scenario("power-of-two")


def mooncake():
    """A published figure, where its trace is there"""
    return scenario("mooncake-fig5")


def routing():
    """The default policy beside others, where its traces are there"""
    mooncake = children.plimsoll("simulate", "mooncake-fig5", "--show").replace("speed_sigma: 0}", "speed_sigma: 0.3}")
    six = mooncake.replace("count: 8", "count: 6")
    files = {
        "Mooncake conversations, 8 backends": mooncake,
        "Mooncake conversations, 6 backends": six,
        "the same before 4 gateways, reports each second": f"{six}gateways: [{{count: 4}}]\nreports_ms: 1000\n",
    }
    names = ("azure-conversation", "azure-code", "three-regions", "mixed-gpus", "many-gateways")
    files |= {name: children.plimsoll("simulate", name, "--show") for name in names}
    metrics = ("TTFT mean", "TTFT p99", "E2E mean", "attainment", "cache hit", "dollars")
    rows = ["| | policy | " + " | ".join(metrics) + " |", "|---|---|" + "--:|" * len(metrics)]
    for name, text in files.items():
        rows += compared(name, text, metrics)
    how = (
        "Means over five seeds, GPUs off from their table by a lognormal factor (\u03c3 0.3), prompts by another (\u03c3 0.2).\n"
        "Below a mean its ratio to `power_of_two` with 95 % confidence, seed by seed."
    )
    return "benches/results.py routing", f"{how}\n\n" + "\n".join(rows)


def queue():
    """Waiting here instead of there, where its trace is there"""
    metrics = ("TTFT mean", "TTFT p99", "TPOT p99", "goodput", "attainment", "failures")
    rows = ["| requests/s | | " + " | ".join(metrics) + " | later than in order |", "|--:|---|" + "--:|" * (len(metrics) + 1)]
    for name, rate in (("queue-memory", 14), ("queue-memory", 16), ("queue-overload", 24)):
        rows += queued(name, rate, metrics)
    how = (
        "Azure conversations on four H200 with Llama 3 8B, three seeds; 77 and 88 requests a second with memory for 90,000\n"
        "tokens on each, 133 with all of it and a wait of 0.6 s at the most. Means, and below them the ratio to dispatch at once\n"
        "by `power_of_two` with 95 % confidence. Failures are refusals, and count against attainment and goodput. Last, of those\n"
        "that got their first token in both worlds, the largest delay beside the world that serves in the order of arrival and\n"
        "refuses nobody."
    )
    return "benches/results.py queue", f"{how}\n\n" + "\n".join(rows)


def queued(name, rate, metrics):
    """The rows of one scenario at one rate: each variant, and how much later than in the order of arrival it began anything."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="plimsoll-results-"))
    text = children.plimsoll("simulate", name, "--show")
    (folder / "all.yaml").write_text(text)
    alone = re.sub(r"variants:\n(  - .*\n)+", "", text)
    (folder / "short.yaml").write_text(alone)
    patient = "pipeline: {queue_order: arrival, max_queued: 1000000, max_wait_ms: 3600000, "
    (folder / "order.yaml").write_text(re.sub(r"pipeline: \{(max_wait_ms: \d+, )?", patient, alone))
    at = ("--rate", rate / float(re.search(r" rate: (\d+)", text)[1]))
    try:
        children.plimsoll("simulate", folder / "all.yaml", *at, "--json", folder / "all.json")
        for world in ("short", "order"):
            children.plimsoll("simulate", folder / f"{world}.yaml", *at, "--csv", folder / f"{world}.csv")
    except RuntimeError as error:
        if "no trace" in str(error):
            raise Skipped(f"{error} (PLIMSOLL_TRACES names the folder of traces)") from error
        raise
    worlds = [csv.DictReader((folder / f"{world}.csv").read_text().splitlines()) for world in ("short", "order")]
    times = [[row["ttft_seconds"] for row in world] for world in worlds]
    late = max(float(short) - float(order) for short, order in zip(*times) if short and order)
    rows = []
    for variant in json.loads((folder / "all.json").read_text())["policies"]:
        scores = {score["metric"]: score for score in variant["scores"]}
        cells = [cell(scores.get(metric)) for metric in metrics]
        said = f"{late:.1f} s" if variant["policy"] == "short first" else ""
        rows.append(f"| {rate * 5.53:.0f} | {variant['policy']} | " + " | ".join(cells) + f" | {said} |")
    return rows


def compared(name, text, metrics):
    """The rows of one scenario: three policies, and what each came to."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="plimsoll-results-"))
    (folder / "scenario.yaml").write_text(text)
    # Policies differ as much as they do with nothing dearer: the first is what the others are held against.
    switches = ("--policies", "power_of_two,least_tokens,expected_cost", "--seeds", 5, "--json", folder / "report.json")
    try:
        children.plimsoll("simulate", folder / "scenario.yaml", *switches)
    except RuntimeError as error:
        if "no trace" in str(error):
            raise Skipped(f"{error} (PLIMSOLL_TRACES names the folder of traces)") from error
        raise
    rows = []
    for policy in json.loads((folder / "report.json").read_text())["policies"]:
        scores = {score["metric"]: score for score in policy["scores"]}
        cells = [cell(scores.get(metric)) for metric in metrics]
        rows.append(f"| {name} | `{policy['policy']}` | " + " | ".join(cells) + " |")
        name = ""
    return rows


def cell(score):
    """A mean, and how it differs from the first policy's."""
    if score is None:
        return ""
    mean, change = score["mean"], score["change"]
    shown = f"{100 * mean:.1f} %" if score["metric"] in ("attainment", "cache hit") else f"{mean:.3g}"
    if not change or change.get("scale") == "difference" or score["metric"] in ("attainment", "cache hit"):
        return shown
    return f"{shown}<br>\u00d7{change['change']:.2f} ({change['low']:.2f}\u2013{change['high']:.2f})"


ALL = {
    section.__name__: section
    for section in (overhead, life, simulator, generator, pieces, instructions, theory, mooncake, routing, queue)
}
