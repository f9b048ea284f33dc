"""Runs cases, which are functions whose names are sentences, and prints one line for each.

Shared by the driver and by the script that runs under the SDK's own Python.
"""
import signal
import sys
import time
import traceback

LIMIT_S = 180  # for one case; a case that hangs must not hang the build


class Skip(Exception):
    """Raised by a case that cannot run here; its text says why."""


class TooLong(Exception):
    """The case ran past its limit."""


class Tally:
    """Counts results as it prints them."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def ok(self, name):
        self.passed += 1
        say(f"ok {name}")

    def fail(self, name, why):
        self.failed += 1
        say(f"FAILED {name}: {one_line(why)}")

    def skip(self, name, why):
        self.skipped += 1
        say(f"skip {name}: {one_line(why)}")

    def relay(self, line):
        """Counts and prints a result line of another process; prints any other line as it is."""
        word = line.split(" ", 1)[0]
        self.passed += word == "ok"
        self.failed += word == "FAILED"
        self.skipped += word == "skip"
        say(line)

    def summary(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def say(line):
    print(line, flush=True)


def one_line(text):
    return " ".join(str(text).split())[:600]


def run(tally, name, function, *arguments):
    """Runs one case under its time limit."""

    def interrupt(*_):
        raise TooLong(f"not done after {LIMIT_S} s")

    signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(LIMIT_S)
    try:
        function(*arguments)
    except Skip as why:
        tally.skip(name, why)
    except Exception as error:  # a broken case must not hide the others
        tally.fail(name, f"{type(error).__name__}: {error} ({where(error)})")
        if not isinstance(error, AssertionError):
            traceback.print_exc(file=sys.stderr)
    else:
        tally.ok(name)
    finally:
        signal.alarm(0)


def where(error):
    """File and line of the last frame that is ours."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename]
    return f"{frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else "?"


def equal(found, expected, what="value"):
    assert found == expected, f"{what} is {found!r}, not {expected!r}"


# llama-server looks whether the client of a plain request has left once in a second in which nothing else is asked of it: who
# asks more often which slots are at work keeps it from looking.
UNDISTURBED_S = 1.5


def until(what, condition, seconds=10, gap=0.02):
    """Polls `condition` until it is true and returns its value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(gap)  # between two looks
