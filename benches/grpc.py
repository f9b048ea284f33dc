#!/usr/bin/env python3
"""What does a token, and a request, cost over gRPC beside HTTP/2?

    benches/grpc.py target/release/plimsoll

One process serves the embedded fleet, another of the same binary stands in front of it with one core, and h2load (Debian:
nghttp2-client) asks that one over both protocols in turn. CPU is the on-CPU time of all threads of the gateway in front.
"""
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOKENS, STREAMS, REQUESTS, REPETITIONS = 128, 200, 4_000, 7
PROMPT = "Tell me a story about a ship. " * 10
BACK, FRONT = 28_080, 28_081


def field(number, value):
    """A field of a message: a number, or bytes with their length before them."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value):
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def over_grpc(tokens):
    """A ChatRequest in its frame."""
    chat_message = field(1, b"user") + field(2, field(1, PROMPT.encode()))
    message = field(1, b"sim-chat") + field(2, chat_message) + field(4, tokens)
    return b"\0" + len(message).to_bytes(4, "big") + message


def over_http(tokens, stream):
    messages = [{"role": "user", "content": PROMPT}]
    return json.dumps({"model": "sim-chat", "max_tokens": tokens, "stream": stream, "messages": messages}).encode()


def start(binary, folder, port, more=""):
    config = folder / f"{port}.yaml"
    config.write_text(f"listen: 127.0.0.1:{port}\nadmin: 127.0.0.1:{port + 400}\nthreads: 1\n{more}")
    with (folder / f"{port}.log").open("w") as log:
        child = subprocess.Popen([binary, "serve", "--config", config], stdout=log, stderr=log)
    time.sleep(1.5)  # both say when they are ready; neither is asked here
    return child


def cpu_us(pid):
    tasks = Path(f"/proc/{pid}/task")
    return sum(int((tasks / task / "schedstat").read_text().split()[0]) for task in os.listdir(tasks)) / 1e3


def load(gateway, folder, kind, path, body, count, at_a_time):
    """CPU time of `count` requests."""
    data = folder / "body"
    data.write_bytes(body)
    before = cpu_us(gateway.pid)
    command = ["h2load", "-n", count, "-c", 4, "-m", at_a_time, "-d", data, "-H", f"content-type: application/{kind}"]
    out = subprocess.run([*map(str, command), "-H", "te: trailers", f"http://127.0.0.1:{FRONT}{path}"],
                         capture_output=True, text=True, check=True).stdout
    after = cpu_us(gateway.pid)
    assert re.search(rf"\b{count} 2xx", out), out
    return after - before


def main():
    binary = sys.argv[1]
    folder = Path(tempfile.mkdtemp(prefix="plimsoll-grpc-"))
    service, chat = "/plimsoll.v1.InferenceService", "/v1/chat/completions"
    ways = {
        ("token", "HTTP/2"): ("json", chat, over_http(TOKENS, True), STREAMS, 50, STREAMS * TOKENS),
        ("token", "gRPC"): ("grpc", f"{service}/ChatStream", over_grpc(TOKENS), STREAMS, 50, STREAMS * TOKENS),
        ("request", "HTTP/2"): ("json", chat, over_http(1, False), REQUESTS, 8, REQUESTS),
        ("request", "gRPC"): ("grpc", f"{service}/Chat", over_grpc(1), REQUESTS, 8, REQUESTS),
    }
    back = start(binary, folder, BACK)
    backends = f'backends:\n  - {{name: up, url: "http://127.0.0.1:{BACK}", models: [sim-chat]}}\n'
    front = start(binary, folder, FRONT, backends)
    taken = {way: [] for way in ways}
    try:
        for repetition in range(REPETITIONS + 1):
            order = list(ways) if repetition % 2 else list(ways)[::-1]
            for way in order:
                *asked, units = ways[way]
                cost = load(front, folder, *asked) / units
                if repetition:  # the first warms up
                    taken[way].append(cost)
    finally:
        front.terminate()
        back.terminate()
    for unit in ("token", "request"):
        http, grpc = taken[unit, "HTTP/2"], taken[unit, "gRPC"]
        ratio = statistics.median(b / a for a, b in zip(http, grpc))
        print(f"CPU µs a {unit}: HTTP/2 {statistics.median(http):.1f}, gRPC {statistics.median(grpc):.1f}, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
