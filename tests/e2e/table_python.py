#!/usr/bin/env python3
"""Whatever protocol a caller speaks and whatever stands behind the gateway, the same happens: every cell of one table,
with a real llama-server at the end. The Rust test of the same table (gateway/tests/fronts_and_backs.rs) has scripts there.

Started by run.py under the SDK's interpreter. E2E_GATEWAY_BIN is the binary under test; the engine and the two gateways
are this script's own, since it kills and freezes them.
"""
import json
import os
import shutil
import sys

import wire
from callers import FRONTS, Answer, Ask, Error
from runner import UNDISTURBED_S, Tally, equal, run, until
from stack import Stack

IN_FLIGHT = 2
LIMITS = f"pipeline: {{max_in_flight: {IN_FLIGHT}}}"
LONG = {"max_tokens": 3_500, "endless": True}


class Cell:
    """One front before one back, streamed or not."""

    def __init__(self, stack, front, url, stream):
        self.stack, self.front, self.url, self.stream = stack, front, url, stream
        (self.engine,) = stack.engines

    def ask(self, **more):
        return self.front(self.url, Ask(self.stream, **more))

    def at_work(self, count=1):
        until(f"{count} slots to be at work", lambda: len(self.engine.busy()) == count)

    def at_rest(self):
        """The engine has stopped, and nothing is counted at either gateway."""
        until("the slots to be free", lambda: not self.engine.busy(), gap=UNDISTURBED_S)
        for gateway in (self.stack.gateway, self.stack.relay):
            until(f"{gateway.name} to be at rest", lambda: json.loads(wire.get(gateway.admin, "/fleet")[2])["in_flight"] == 0)

    def ok(self):
        told = self.ask().told()
        expected = FRONTS[0](self.stack.url, Ask(False)).told()
        assert isinstance(expected, Answer) and expected.text, expected
        equal(told, expected)

    def rejected(self):
        """The engine finds the prompt too long for it."""
        told = self.ask(prompt="a" * 40_000).told()
        assert isinstance(told, Error) and told.status == 400, told
        assert "context" in told.message, told

    def backend_error(self):
        """The engine is killed with the request in the midst."""
        caller = self.ask(**LONG)
        if self.stream:
            caller.begun()
        self.at_work()
        self.engine.kill()
        try:
            told = caller.told()
            assert isinstance(told, Error) and told.code == "upstream_error", told
        finally:
            self.engine.start()
            self.engine.wait_for(self.engine.url, "/health")
        until("the engine to serve again", lambda: isinstance(FRONTS[0](self.url, Ask(False)).told(), Answer), seconds=60)

    def cancel(self):
        caller = self.ask(**LONG)
        if self.stream:
            caller.begun()
        self.at_work()
        caller.leave()
        self.at_rest()

    def deadline(self):
        """The engine is frozen, so that no caller gets a first token in its time."""
        self.engine.freeze()
        try:
            told = self.ask(patience_s=0.5).told()
        finally:
            self.engine.thaw()
        # grpcio's own clock may be the first.
        assert (told.status, told.code) in {(504, "deadline_exceeded"), (0, "DEADLINE_EXCEEDED")}, told
        self.at_rest()

    def refused(self):
        """As many are being served as may be."""
        others = [FRONTS[0](self.url, Ask(True, **LONG)) for _ in range(IN_FLIGHT)]
        for other in others:
            other.begun()
        self.at_work(IN_FLIGHT)
        told = self.ask().told()
        equal((told.status, told.code, told.retry), (503, "overloaded", True), told)
        equal(len(self.engine.busy()), IN_FLIGHT, "slots at work")
        for other in others:
            other.leave()
        self.at_rest()


FATES = (Cell.ok, Cell.rejected, Cell.cancel, Cell.deadline, Cell.refused, Cell.backend_error)


def main():
    only = os.environ.get("E2E_ONLY", "")
    rows = [(front, back, stream, fate) for front in FRONTS for back in ("OpenAI", "Plimsoll") for stream in (False, True)
            for fate in FATES]
    named = {f"table.{front.name}, {back}, {'stream' if stream else 'plain'}, {fate.__name__}": (front, back, stream, fate)
             for front, back, stream, fate in rows}
    named = {name: row for name, row in named.items() if only in name}
    if not named:
        return 0
    tally, stack = Tally(), Stack(os.environ["E2E_GATEWAY_BIN"], engines=1, slots=4, extra_config=LIMITS)
    try:
        for name, (front, back, stream, fate) in named.items():
            url = stack.gateway.url if back == "OpenAI" else stack.relay.url
            run(tally, name, fate, Cell(stack, front, url, stream))
    finally:
        stack.close()
    if tally.failed:
        print(f"logs of the table's stack: {stack.folder}", flush=True)
    else:
        shutil.rmtree(stack.folder, ignore_errors=True)
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
