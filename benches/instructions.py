#!/usr/bin/env python3
"""Counts the instructions of hot paths under callgrind and compares them with instructions.csv.

Each subject runs N times and then 3 N times; the difference, by 2 N, is what one run takes, whatever it takes to begin.
Counts depend on the compiler: under another than that of the file they are shown and not judged. On a processor
without AVX2 they differ too, since memchr looks for it.

    instructions.py             fails where one takes 2 % more than the file says
    instructions.py --write     writes the file
"""

import csv
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
FILE = HERE / "instructions.csv"
TOLERANCE = 0.02
# A step is some thousand times longer than a pick, and no two steps are alike.
TIMES = {"route_pick": 2_000, "event_read": 1_000, "step_plan": 800, "json_skip": 50, "prefix_hash": 200}


def build():
    """The bench's binary."""
    command = [os.environ.get("CARGO", "cargo"), "bench", "--quiet", "--locked", "--package", "plimsoll-benches"]
    command += ["--bench", "instructions", "--no-run", "--message-format", "json"]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=HERE).stdout.splitlines()
    messages = [json.loads(line) for line in lines if line.startswith("{")]
    return next(m["executable"] for m in messages if m.get("target", {}).get("name") == "instructions")


def collected(binary, name, times):
    """Instructions of a whole run."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", binary, name, str(times)]
    run = subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return int(re.search(r"Collected\s*:\s*(\d+)", run.stderr)[1])


def count(binary, name):
    """Instructions of one run of a subject."""
    times = TIMES[name.split("/")[0]]
    return (collected(binary, name, 3 * times) - collected(binary, name, times)) / (2 * times)


def compiler():
    """Whose code it is that is counted."""
    said = subprocess.run(["rustc", "-vV"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return " ".join(line.split(": ")[1] for line in said.splitlines() if line.startswith(("release", "host")))


def main():
    if not shutil.which("valgrind"):
        print("instructions: SKIPPED, there is no valgrind")
        return 0
    binary = build()
    names = subprocess.run([binary, "--list"], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    counts = {name: count(binary, name) for name in names}
    if "--write" in sys.argv:
        with FILE.open("w", newline="") as file:
            file.write(f"# Instructions of one run, by `make instructions`, as compiled by: {compiler()}\n")
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["subject", "instructions"])
            writer.writerows((name, f"{instructions:.0f}") for name, instructions in counts.items())
        return 0
    comment, *rows = FILE.read_text().splitlines()
    before = {row["subject"]: float(row["instructions"]) for row in csv.DictReader(rows)}
    judged = comment.endswith(f": {compiler()}")
    worse = False
    for name, instructions in counts.items():
        change = instructions / before[name] - 1 if name in before else 0.0
        too_many = judged and (name not in before or change > TOLERANCE)
        worse |= too_many
        print(f"{name:32} {instructions:12,.0f} {change:+8.1%}{'  TOO MANY' if too_many else ''}")
    if not judged:
        print(f"instructions: NOT JUDGED, the file is of another compiler than {compiler()}")
    if worse:
        print("instructions: if they are worth it, write them down: benches/instructions.py --write")
    return int(worse)


if __name__ == "__main__":
    sys.exit(main())
