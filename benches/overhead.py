#!/usr/bin/env python3
"""What does the gateway cost, beside other proxies on this machine? CPU time for each request and each token.

Each stands, with as many threads, before the same four ports of one process that answers (src/bin/answerer.rs), and
`plimsoll load` asks. CPU time is that of all threads of a proxy while it is asked, as the kernel counts it. The
proxies take turns; what is told is the median over the repetitions, and the median of the ratios to ours, each from one
repetition. Proxies that are not found are named and left out; `--install` fetches those that can be had.

    overhead.py                                   all that are found, some ten minutes
    overhead.py --only haproxy,vllm-router --repetitions 3
"""

import argparse
import contextlib
import json
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

import children
import rivals

ANSWERER = children.TARGET / "release/answerer"
THREADS = 2
OURS = "Plimsoll"
SHORT, LONG = ("--prompt-tokens", 66, "--output-tokens", 64), ("--prompt-tokens", 8_192, "--output-tokens", 64)
# What is sent, and what is counted.
WORKLOADS = {
    "W1": (("--plain", *SHORT, "--concurrency", 32), "requests"),
    "W2": (("--plain", *LONG, "--concurrency", 32), "requests"),
    "W4": (("--prompt-tokens", 66, "--output-tokens", 128, "--concurrency", 1_000), "output_tokens"),
    "W5": (("--plain", *SHORT, "--rate", 500), "requests"),
}
LEGEND = f"""\
W1: a 300-byte chat request, plain answer, 32 at a time. W2: the same with a prompt of 32 KiB. W4: 1,000 streams of 128
tokens, 20 ms between tokens. W5: the requests of W1, 500 a second. All have {THREADS} threads and no access log; others go
round robin, ours runs with shipped defaults: metrics on, `expected_cost`. *hyper, bare* is a proxy on hyper that does
nothing else (src/bin/bare.rs). CPU µs are for each request, in W4 for each token; ÷ is ours by theirs."""


class Proxy:
    """One that is measured: its process, none where the answerer is asked itself, and its address."""

    def __init__(self, child, url):
        self.child, self.url = child, url
        self.idle_mib = child.memory_mib() if child else 0.0
        self.full_mib = 0.0

    def cpu(self):
        return self.child.cpu_seconds() if self.child else 0.0


def start(stack, names, folder):
    """The answerer and all proxies before it."""
    ports = children.free_ports(4)
    joined = ",".join(map(str, ports))
    answerer = children.Child("answerer", [children.built(ANSWERER), "--ports", joined, "--interval-ms", 20], folder)
    stack.enter_context(answerer)
    direct = f"http://127.0.0.1:{ports[0]}"
    answerer.wait_for(f"{direct}/open")
    proxies = {"direct": Proxy(None, direct)}
    listed = "\n".join(f'  - {{name: b{port}, url: "http://127.0.0.1:{port}", models: [m]}}' for port in ports)
    child, url = stack.enter_context(children.gateway(f"backends:\n{listed}", threads=THREADS))
    proxies[OURS] = Proxy(child, url)
    for name in names:
        port, spare = children.free_ports(2)
        command = rivals.command(name, port, spare, ports, THREADS, folder)
        child = stack.enter_context(children.Child(name, command, folder, rivals.environment(THREADS)))
        url = f"http://127.0.0.1:{port}"
        try:
            child.wait_for(f"{url}/v1/models", seconds=120)
        except RuntimeError as error:
            say(f"SKIPPED: {error}")
            continue
        proxies[name] = Proxy(child, url)
    return proxies, direct


def ask(name, proxy, workload, seconds, folder):
    """Puts a workload on one proxy: CPU microseconds of what is counted, and the report."""
    switches, counted = WORKLOADS[workload]
    if name in rivals.SLOW:
        slow = {32: 4, 1_000: 50, 500: 25}
        switches = [slow.get(switch, switch) for switch in switches]
    file = folder / "report.json"
    before = proxy.cpu()
    children.plimsoll("load", proxy.url, *switches, "--model", "m", "--duration", seconds, "--json", file, "--quiet")
    cpu = proxy.cpu() - before
    total = (report := json.loads(file.read_text()))["total"]
    if workload == "W4" and proxy.child:
        proxy.full_mib = max(proxy.full_mib, proxy.child.memory_mib())
    report["cpu_us"] = 1e6 * cpu / max(total[counted], 1)
    return report


def leave(proxy, direct, folder):
    """Seconds until the backend has no stream any more after all clients have left; at most five."""
    command = [children.PLIMSOLL, "load", proxy.url, "--model", "m", "--concurrency", 40, "--duration", 60]
    command += ["--prompt-tokens", 66, "--output-tokens", 5_000, "--quiet"]
    with children.Child("leaving", command, folder) as load:
        until(lambda: streams(direct) == 40, 10)
        load.process.send_signal(signal.SIGINT)
        return until(lambda: streams(direct) == 0, 5)


def streams(direct):
    with urllib.request.urlopen(f"{direct}/open", timeout=2) as answer:
        return int(answer.read())


def until(holds, most):
    """Seconds until it holds, or `most`."""
    begin = time.monotonic()
    while not holds() and time.monotonic() < begin + most:
        time.sleep(0.01)
    return min(time.monotonic() - begin, most)


def measure(names, repetitions, seconds):
    """The table and the lines below it."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="plimsoll-overhead-"))
    runs = {}
    with contextlib.ExitStack() as stack:
        proxies, direct = start(stack, names, folder)
        for repetition in range(repetitions):
            for workload in WORKLOADS:
                for name, proxy in proxies.items():
                    report = ask(name, proxy, workload, seconds, folder)
                    runs.setdefault((name, workload), []).append(report)
                    say(f"{repetition + 1}/{repetitions} {workload} {name}: {report['cpu_us']:.1f} µs")
        left = {name: leave(proxy, direct, folder) for name, proxy in proxies.items() if proxy.child}
        return table(proxies, runs, left), notes(runs)


def table(proxies, runs, left):
    """The table as Markdown: one row for each proxy."""
    head = ["", "W1", "÷", "W2", "÷", "W4", "÷", "W5", "÷", "W5 added p50, µs", "MiB idle → W4", "gone within"]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "--:|" * (len(head) - 1)]
    for name, proxy in proxies.items():
        if not proxy.child:
            continue
        cells = [name if name == OURS else f"{name} {rivals.version(name)}"]
        for workload in WORKLOADS:
            theirs = [run["cpu_us"] for run in runs[name, workload]]
            ours = [run["cpu_us"] for run in runs[OURS, workload]]
            ratio = statistics.median(a / b for a, b in zip(ours, theirs))
            cells += [f"{statistics.median(theirs):.1f}", "" if name == OURS else f"{ratio:.2f}"]
        cells.append(f"{added(runs, name):,.0f}")
        cells.append(f"{proxy.idle_mib:.0f} → {proxy.full_mib:.0f}")
        cells.append("never" if left[name] >= 5 else f"{left[name]:.2f} s")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def added(runs, name):
    """Microseconds that a proxy adds to the median of W5, to asking the backend itself in the same repetition."""
    pairs = zip(runs[name, "W5"], runs["direct", "W5"])
    return statistics.median(1e6 * (a["total"]["e2e"]["p50"] - b["total"]["e2e"]["p50"]) for a, b in pairs)


def notes(runs):
    """Requests that were not answered, and what the generator said of itself."""
    lines = []
    for (name, workload), reports in runs.items():
        ends = [report["total"]["outcomes"] for report in reports]
        bad = sum(count for end in ends for outcome, count in end.items() if outcome != "ok")
        if bad:
            lines.append(f"{workload} {name}: {bad} requests were not answered")
    slow = {load for (_, load), reports in runs.items() for run in reports if "bottleneck" in str(run["notes"])}
    if slow:
        which = ", ".join(sorted(slow))
        lines.append(f"the generator was late or its core was full in {which}: times count that, CPU does not")
    return lines


def say(line):
    print(line, file=sys.stderr, flush=True)


def present(only=()):
    """The names of the rivals that are there; of the others it is said aloud."""
    wanted = [name for name in rivals.NAMES if not only or name in only]
    for name in wanted:
        if not rivals.found(name):
            say(f"SKIPPED: {name} is not found (overhead.py --install fetches what can be had)")
    return [name for name in wanted if rivals.found(name)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", action="store_true", help="fetch rivals, and measure nothing")
    parser.add_argument("--only", default="", help="names of rivals, with commas between")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each workload")
    args = parser.parse_args()
    if args.install:
        return rivals.install()
    only = [name for name in args.only.split(",") if name]
    lines, below = measure(present(only), args.repetitions, args.seconds)
    print(LEGEND, "", lines, *below, sep="\n")


if __name__ == "__main__":
    sys.exit(main())
