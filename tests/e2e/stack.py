"""The processes under test: llama-servers and a gateway in front, each on a free port of the loopback address."""
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import wire
from runner import Skip

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = Path(os.environ.get("PLIMSOLL_CACHE") or Path.home() / ".cache/plimsoll")
ENGINE_BINARY = CACHE / "llama-server-0.3.36"
MODEL_FILE = CACHE / "tiny.gguf"
SDK_PYTHON = CACHE / "e2e-python"
SDK_NODE = CACHE / "e2e-node"
START_S = 30


def missing():
    """What the tests cannot do without and is not there, or nothing."""
    for path in (ENGINE_BINARY, MODEL_FILE):
        if not path.exists():
            return f"no {path.name} (run prepare.sh)"
    return None


def sdk_command(folder, script):
    """How to start a script under an SDK, or nothing when prepare.sh did not finish that SDK."""
    program = folder / "bin/python" if folder == SDK_PYTHON else shutil.which("node")
    if not program or not (folder / "made-from").exists():
        return None
    return [str(program), str(HERE / script)]


def free_ports(count):
    """Ports that were free a moment ago, all different."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Process:
    """A child whose output goes to a file, ended by its own id."""

    def __init__(self, name, command, folder):
        self.name, self.command = name, command
        self.log = folder / f"{name}.log"
        self.start()

    def start(self):
        """Starts the child, for the first time or again."""
        with self.log.open("ab") as out:
            self.child = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)

    def wait_for(self, base, path):
        """Waits until `path` answers 200."""
        end = time.monotonic() + START_S
        while not answers(base, path):
            if self.child.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.child.returncode}: {self.tail()}")
            if time.monotonic() > end:
                raise RuntimeError(f"{self.name} is not ready after {START_S} s: {self.tail()}")
            time.sleep(0.02)

    def tail(self):
        return " | ".join(self.log.read_text(errors="replace").splitlines()[-8:])

    def signal(self, number):
        self.child.send_signal(number)

    def running(self):
        return self.child.poll() is None

    def kill(self):
        """kill -9, which a stopped process obeys as well."""
        if self.running():
            self.child.kill()
        self.child.wait(timeout=10)

    def end(self):
        """SIGTERM, and after five seconds kill -9."""
        if self.running():
            self.child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.wait(timeout=5)
        self.kill()


def answers(base, path):
    try:
        return wire.get(base, path)[0] == 200
    except OSError:
        return False


class Engine(Process):
    """One llama-server with the tiny model."""

    def __init__(self, name, port, folder, slots, context):
        self.url = f"http://127.0.0.1:{port}"
        command = [ENGINE_BINARY, "--model", MODEL_FILE, "--alias", "tiny", "--host", "127.0.0.1", "--port", port]
        command += ["--ctx-size", slots * context, "--parallel", slots, "--metrics", "--slots", "--jinja"]
        command += ["--embeddings", "--pooling", "mean"]
        # More threads than idle cores, and llama.cpp's spinning threads slow each other down a hundredfold.
        command += ["--threads", 1, "--threads-batch", 1]
        # At 16 bits, or with flash attention, who else is in the batch decides between words that score alike.
        command += ["--cache-type-k", "f32", "--cache-type-v", "f32", "--flash-attn", "off"]
        super().__init__(f"engine-{name}", [str(part) for part in command], folder)
        self.short_name = name

    def busy(self):
        return wire.busy_slots(self.url)

    def counter(self, name):
        return wire.counter(self.url, name)

    def freeze(self):
        self.signal(signal.SIGSTOP)

    def thaw(self):
        self.signal(signal.SIGCONT)


class Executor(Process):
    """The toy of deploy/executor at a Unix socket, with stubs made from `proto/`."""

    def __init__(self, folder, *options, name="executor"):
        self.socket, self.short_name = folder / f"{name}.sock", name
        self.url = f"engine+unix://{self.socket}"
        python = SDK_PYTHON / "bin/python"
        stubs = [python, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", f"--python_out={folder}"]
        subprocess.run([*stubs, f"--grpc_python_out={folder}", "plimsoll/v1/engine.proto"], check=True)
        command = ["env", f"PYTHONPATH={folder}", python, ROOT / "deploy/executor/toy.py", f"unix:{self.socket}"]
        super().__init__(name, [str(part) for part in [*command, "--model", "tiny", *options]], folder)

    def wait_to_listen(self):
        """Waits until it says that it listens."""
        end = time.monotonic() + START_S
        while " at unix:" not in self.log.read_text(errors="replace"):
            if not self.running() or time.monotonic() > end:
                raise RuntimeError(f"{self.name} does not listen: {self.tail()}")
            time.sleep(0.02)


class ExecutorStack:
    """An executor, and a gateway that computes over it."""

    def __init__(self, gateway_binary, *options):
        self.binary, self.gateway, self.executor = gateway_binary, None, None
        self.folder = Path(tempfile.mkdtemp(prefix="plimsoll-e2e-"))
        try:
            self.executor = Executor(self.folder, *options)
            self.executor.wait_to_listen()
            self.gateway = Gateway(gateway_binary, [self.executor], self.folder)
            self.gateway.wait_for(self.gateway.admin, "/readyz")
        except BaseException:
            self.close()
            raise

    @property
    def url(self):
        """Where requests go."""
        return self.gateway.url

    def close(self):
        """Ends what was started; the logs stay."""
        for process in [self.gateway, self.executor]:
            if process:
                process.end()


class Node(Process):
    """The binary with llama.cpp in it, and the tiny model."""

    def __init__(self, binary, options, folder, model=MODEL_FILE, name="node"):
        port, admin = free_ports(2)
        self.url, self.admin = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin}"
        # As `Engine`, so that who else is in a step decides nothing.
        options = f"name=tiny&threads=1&cache=f32&flash_attention=off&{options}"
        command = [binary, "serve", "--engine", f"llama={model}?{options}"]
        command += ["--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}"]
        super().__init__(name, [str(part) for part in command], folder)


class LlamaStack:
    """llama.cpp twice: in the binary, and as llama-server."""

    SLOTS, CONTEXT = 8, 2048

    def __init__(self, binary):
        self.node, self.engine = None, None
        self.folder = Path(tempfile.mkdtemp(prefix="plimsoll-e2e-"))
        try:
            self.engine = Engine("beside", free_ports(1)[0], self.folder, self.SLOTS, self.CONTEXT)
            self.node = Node(binary, f"slots={self.SLOTS}&context={self.CONTEXT}&embeddings=on", self.folder)
            self.engine.wait_for(self.engine.url, "/health")
            self.node.wait_for(self.node.url, "/v1/models/tiny")
        except BaseException:
            self.close()
            raise

    @property
    def url(self):
        """Where requests go."""
        return self.node.url

    def close(self):
        """Ends what was started; the logs stay."""
        for process in [self.node, self.engine]:
            if process:
                process.end()


class Behind(NamedTuple):
    """What a gateway has behind it that is no engine."""

    short_name: str
    url: str


class Gateway(Process):
    """The binary under test in front of `engines`, or of another gateway."""

    def __init__(self, binary, engines, folder, extra_config="", name="gateway"):
        port, admin = free_ports(2)
        self.url, self.admin = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin}"
        backends = [f'  - {{name: {e.short_name}, url: "{e.url}", models: [tiny]}}' for e in engines]
        lines = [f"listen: 127.0.0.1:{port}", f"admin: 127.0.0.1:{admin}", "backends:", *backends, extra_config]
        config = folder / f"{name}.yaml"
        config.write_text("\n".join(lines) + "\n")
        super().__init__(name, [str(binary), "serve", "--config", str(config)], folder)


class Stack:
    """Three engines, a gateway, and before it another that asks it over gRPC; or one engine alone."""

    def __init__(self, gateway_binary, engines=3, slots=8, context=4096, extra_config=""):
        self.engines, self.gateway, self.relay = [], None, None
        self.folder = Path(tempfile.mkdtemp(prefix="plimsoll-e2e-"))
        try:
            count = engines if gateway_binary else 1
            for name, port in zip("abcdefgh", free_ports(count)):
                self.engines.append(Engine(name, port, self.folder, slots, context))
            for engine in self.engines:
                engine.wait_for(engine.url, "/health")
            if gateway_binary:
                self.gateway = Gateway(gateway_binary, self.engines, self.folder, extra_config)
                self.gateway.wait_for(self.gateway.admin, "/readyz")
                behind = Behind("gateway", self.gateway.url.replace("http://", "grpc://"))
                self.relay = Gateway(gateway_binary, [behind], self.folder, extra_config, name="relay")
                self.relay.wait_for(self.relay.admin, "/readyz")
        except BaseException:
            self.close()
            raise

    @property
    def url(self):
        """Where requests go."""
        return self.gateway.url if self.gateway else self.engines[0].url

    def needs_gateway(self):
        if not self.gateway:
            raise Skip("an engine alone does not do this")

    def sdk_environment(self, only):
        """What the SDK scripts are told."""
        return {
            **os.environ,
            "E2E_BASE_URL": self.url,
            "E2E_ENGINES": ",".join(engine.url for engine in self.engines),
            "E2E_GATEWAY_BIN": self.gateway.command[0] if self.gateway else "",
            "E2E_DIRECT": "" if self.gateway else "1",
            "E2E_ONLY": only,
            "E2E_RELAY_URL": self.relay.url if self.relay else "",
            "E2E_NODE_PACKAGES": str(SDK_NODE),
        }

    def close(self):
        """Ends what was started; the logs stay."""
        for process in [self.relay, self.gateway, *self.engines]:
            if process:
                process.kill() if isinstance(process, Engine) else process.end()
