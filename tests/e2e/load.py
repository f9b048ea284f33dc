"""Load through the official SDKs while something is done to an engine, and the verdict on every request."""
import contextlib
import json
import subprocess
import threading
import time

import stack as stacks
from runner import Skip

TOKENS = 500  # of one stream: long enough that a fault meets some in the middle
WORKERS = 5


class Load:
    """A load script and what it has told so far."""

    def __init__(self, name, command, stack):
        self.name, self.records, self.told = name, [], threading.Condition()
        command = [*command, str(WORKERS), str(TOKENS)]
        pipe = subprocess.PIPE
        self.child = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=stack.sdk_environment(""), text=True)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.child.stdout:
            with self.told:
                self.records.append({"sdk": self.name, **json.loads(line)})
                self.told.notify_all()

    def over(self):
        """The last word on each request that is over."""
        return [record for record in self.records if record["state"] != "begun"]

    def wait_for_more(self, count, seconds=60):
        """Waits until `count` more requests are finished than now."""

        def finished():
            return sum(record["state"] == "finished" for record in self.records)

        with self.told:
            goal = finished() + count
            assert self.told.wait_for(lambda: finished() >= goal, seconds), (
                f"{self.name}: {goal - finished()} of {count} requests still missing after {seconds} s"
            )

    def stop(self, seconds=60):
        """Starts no more requests and waits for the last."""
        self.child.stdin.close()
        end = time.monotonic() + seconds
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(seconds)
        assert self.child.returncode == 0, f"{self.name}: load ended with {self.child.returncode} after {seconds} s"
        self.reader.join(max(0, end - time.monotonic()))

    def end(self):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait(10)


@contextlib.contextmanager
def running(stack):
    """A load through each SDK that is installed, ended whatever happens."""
    scripts = {
        "python": stacks.sdk_command(stacks.SDK_PYTHON, "load_python.py"),
        "node": stacks.sdk_command(stacks.SDK_NODE, "load_node.mjs"),
    }
    commands = {name: command for name, command in scripts.items() if command}
    if not commands:
        raise Skip("no SDK (run prepare.sh)")
    loads = [Load(name, command, stack) for name, command in commands.items()]
    try:
        yield loads
    finally:
        for each in loads:
            each.end()


def judge(loads):
    """Fails if a request was lost that must not be; returns how many ended how."""
    over = [record for load in loads for record in load.over()]
    lost = [record for record in over if record["state"] != "finished" and not record["begun"]]
    assert not lost, f"{len(lost)} of {len(over)} requests that had not begun to stream failed: {lost[0]}"
    mute = [record for record in over if record["state"] in ("silent", "broken")]
    assert not mute, f"{len(mute)} streams ended without an error event: {mute[0]}"
    count = {state: sum(record["state"] == state for record in over) for state in ("finished", "error_event")}
    begun = {(r["sdk"], r["id"]) for load in loads for r in load.records if r["state"] == "begun"}
    ended = {(r["sdk"], r["id"]) for r in over}
    assert begun <= ended, f"streams that never ended: {sorted(begun - ended)}"
    return count
