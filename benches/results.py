#!/usr/bin/env python3
"""Runs the benches and writes what they find into RESULTS.md, each section between its two marks.

    results.py                     all sections, most of an hour
    results.py life overhead       these; the others keep their text
    results.py --list              which there are

Sections that need a published trace look for it in the folder that PLIMSOLL_TRACES names (docs/traces.md says where to
get traces), and are left as they are without it.
"""

import argparse
import datetime
import os
import pathlib
import platform
import subprocess
import sys

import children
import sections

FILE = children.ROOT / "benches/RESULTS.md"


def machine():
    """What the figures depend on: commit, day, processor, kernel, compiler."""
    cores = len(os.sched_getaffinity(0))
    kernel = platform.release().split("-")[0]
    return f"Commit {commit()}, {datetime.date.today()}, {cores} cores of {processor()}, Linux {kernel}, {compiler()}."


def commit():
    """The commit, and whether there is more than that."""
    changed = run("git", "status", "--porcelain", "--untracked-files=no", "--", ":!benches/RESULTS.md")
    return run("git", "rev-parse", "--short", "HEAD") + (" and changes" if changed else "")


def processor():
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def compiler():
    return " ".join(run("rustc", "--version").split()[:2])


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=children.ROOT, check=True)
    return done.stdout.strip()


def replaced(text, name, content):
    """`text` with another content between the marks of a section."""
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    if begin not in text or end not in text:
        raise SystemExit(f"{FILE} has no marks {begin.strip()} and {end}")
    before, rest = text.split(begin, 1)
    return before + begin + content.rstrip("\n") + "\n" + end + rest.split(end, 1)[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help="all, if none is named")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    if args.list:
        print(*(f"{name:12} {section.__doc__.splitlines()[0]}" for name, section in sections.ALL.items()), sep="\n")
        return 0
    if unknown := set(args.sections) - set(sections.ALL):
        raise SystemExit(f"no section {', '.join(sorted(unknown))}; there are {', '.join(sections.ALL)}")
    failed = []
    for name in args.sections or sections.ALL:
        print(f"results: {name}", file=sys.stderr, flush=True)
        try:
            command, content = sections.ALL[name]()
        except sections.Skipped as why:
            print(f"results: {name} SKIPPED: {why}", file=sys.stderr)
            continue
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            print(f"results: {name} FAILED: {error}", file=sys.stderr)
            failed.append(name)
            continue
        # One by one: who stops this early keeps what has been measured.
        FILE.write_text(replaced(FILE.read_text(), name, f"`{command}`. {machine()}\n\n{content}\n"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
