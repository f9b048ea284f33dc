"""The processes of a bench: on free ports of the loopback address, ended by their own id, with what they cost."""

import contextlib
import os
import pathlib
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
PLIMSOLL = pathlib.Path(os.environ.get("PLIMSOLL_BIN") or TARGET / "release/plimsoll")
TICK = os.sysconf("SC_CLK_TCK")


class Skipped(Exception):
    """A section cannot be measured here; the text says why."""


def free_ports(count):
    """Ports that were free a moment ago, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def answers(url):
    """Whether a GET is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except (OSError, urllib.error.URLError):
        return False


class Child:
    """A process whose output goes to a file; to be used in a `with`."""

    def __init__(self, name, command, folder, environment=None):
        self.name, self.log = name, folder / f"{name}.log"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**os.environ, **(environment or {})},
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def wait_for(self, url, seconds=30):
        """Waits until `url` answers."""
        end = time.monotonic() + seconds
        while not answers(url):
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}: {self.said()}")
            if time.monotonic() > end:
                raise RuntimeError(f"{self.name} does not answer after {seconds} s: {self.said()}")
            time.sleep(0.05)

    def said(self):
        """The last lines of its output."""
        return " | ".join(self.log.read_text(errors="replace").splitlines()[-5:])

    def ids(self):
        """The process and its children, which some proxies work in."""
        found, new = [], [self.process.pid]
        while new:
            pid = new.pop()
            found.append(pid)
            with contextlib.suppress(OSError):
                for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                    new += map(int, (task / "children").read_text().split())
        return found

    def cpu_seconds(self):
        """Seconds on a core so far of all its threads: to the nanosecond by the scheduler, or else to the tick."""
        total = 0.0
        for pid in self.ids():
            with contextlib.suppress(OSError):
                total += cpu_of(pid)
        return total

    def memory_mib(self):
        """Memory that is resident."""
        pages = 0
        for pid in self.ids():
            with contextlib.suppress(OSError):
                pages += int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def end(self):
        """SIGTERM, and after five seconds SIGKILL, to it and to the children that it had."""
        ids = self.ids()
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=5)
        for pid in ids[1:]:
            with contextlib.suppress(OSError):
                os.kill(pid, 15)


def cpu_of(pid):
    """Seconds on a core of one process."""
    tasks = list(pathlib.Path(f"/proc/{pid}/task").iterdir())
    with contextlib.suppress(OSError):
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def built(program):
    """`program`, which must have been built."""
    if not program.exists():
        raise SystemExit(f"there is no {program}: `make results` builds it, CARGO_TARGET_DIR or PLIMSOLL_BIN say where")
    return program


@contextlib.contextmanager
def gateway(config, name="plimsoll", threads=None):
    """A gateway with this configuration, its listeners excepted, and the address of its callers' port."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="plimsoll-bench-"))
    port, admin = free_ports(2)
    file = folder / f"{name}.yaml"
    file.write_text(f"listen: 127.0.0.1:{port}\nadmin: 127.0.0.1:{admin}\n{config}\n")
    command = [built(PLIMSOLL), "serve", "--config", file] + (["--threads", threads] if threads else [])
    with Child(name, command, folder) as child:
        child.wait_for(f"http://127.0.0.1:{admin}/readyz")
        yield child, f"http://127.0.0.1:{port}"


def plimsoll(*arguments, seconds=900, quiet=True):
    """Runs a command of the binary to its end and gives what it printed."""
    command = [str(part) for part in (built(PLIMSOLL), *arguments)]
    error = subprocess.PIPE if quiet else None
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=error, text=True, timeout=seconds, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}: {(done.stderr or '').strip()}")
    return done.stdout
