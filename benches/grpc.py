#!/usr/bin/env python3
"""What does a token, and a request, cost over gRPC beside HTTP/2 and HTTP/1.1? And over HTTP beside an older build?

    benches/grpc.py target/release/plimsoll [OLDER]

One process serves the embedded fleet, another of the same binary stands in front of it with one core, and h2load (Debian:
nghttp2-client) asks that one over all protocols in turn; a gateway of the older build, which may know nothing of gRPC,
takes its turns over HTTP. CPU is the on-CPU time of all threads of the gateway in front.
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

TOKENS, STREAMS, REQUESTS, REPETITIONS = 128, 200, 2_000, 7
SENTENCE = "Tell me a story about a ship. "
SHORT, LONG = SENTENCE * 10, SENTENCE * 1_092
BACK, FRONT, OLDER = 28_080, 28_081, 28_082
SERVICE, CHAT = "/plimsoll.v1.InferenceService", "/v1/chat/completions"


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


def over_grpc(prompt, tokens):
    """A ChatRequest in its frame."""
    chat_message = field(1, b"user") + field(2, field(1, prompt.encode()))
    message = field(1, b"sim-chat") + field(2, chat_message) + field(4, tokens)
    return b"\0" + len(message).to_bytes(4, "big") + message


def over_http(prompt, tokens, stream):
    messages = [{"role": "user", "content": prompt}]
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


def load(front, folder, protocol, asked):
    """CPU time of what is asked, in microseconds for each unit."""
    prompt, tokens, stream, count, at_a_time = asked
    gateway, port = front
    grpc = protocol == "gRPC"
    data = folder / "body"
    data.write_bytes(over_grpc(prompt, tokens) if grpc else over_http(prompt, tokens, stream))
    path = f"{SERVICE}/Chat{'Stream' * stream}" if grpc else CHAT
    # HTTP/1.1 has one request on a connection.
    many = ["--h1", "-c", 4 * at_a_time] if protocol == "HTTP/1.1" else ["-c", 4, "-m", at_a_time]
    kind = "grpc" if grpc else "json"
    command = ["h2load", "-n", count, *many, "-d", data, "-H", f"content-type: application/{kind}", "-H", "te: trailers"]
    before = cpu_us(gateway.pid)
    out = subprocess.run([*map(str, command), f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=True).stdout
    after = cpu_us(gateway.pid)
    assert re.search(rf"\b{count} 2xx", out), out
    return (after - before) / (count * (tokens if stream else 1))


def rounds(fronts, folder, units):
    """What each way cost in each repetition; the first repetition warms up."""
    ways = [(unit, who, protocol) for unit in units for who in fronts for protocol in ("HTTP/1.1", "HTTP/2", "gRPC")
            if (who, protocol) != ("older", "gRPC")]
    taken = {way: [] for way in ways}
    for repetition in range(REPETITIONS + 1):
        for unit, who, protocol in ways if repetition % 2 else ways[::-1]:
            cost = load(fronts[who], folder, protocol, units[unit])
            if repetition:
                taken[unit, who, protocol].append(cost)
    return taken


def said(taken, unit, one, other):
    """The median of the ratios of two ways, each ratio from one repetition."""
    ratio = statistics.median(a / b for a, b in zip(taken[unit, *one], taken[unit, *other]))
    return f"{' '.join(one)} ÷ {' '.join(other)} {ratio:.2f}"


def main():
    folder = Path(tempfile.mkdtemp(prefix="plimsoll-grpc-"))
    units = {
        "token": (SHORT, TOKENS, True, STREAMS, 50),
        "request": (SHORT, 1, False, REQUESTS, 8),
        "request of 32 KiB": (LONG, 1, False, REQUESTS // 4, 8),
    }
    backends = f'backends:\n  - {{name: up, url: "http://127.0.0.1:{BACK}", models: [sim-chat]}}\n'
    back = start(sys.argv[1], folder, BACK)
    names = dict(zip(("now", "older"), sys.argv[1:]))
    fronts = {who: (start(names[who], folder, port, backends), port) for who, port in (("now", FRONT), ("older", OLDER)) if who in names}
    try:
        taken = rounds(fronts, folder, units)
    finally:
        for child in [back, *(child for child, _ in fronts.values())]:
            child.terminate()
    for unit in units:
        costs = [f"{who} {protocol} {statistics.median(costs):.1f}" for (of, who, protocol), costs in taken.items() if of == unit]
        pairs = [(("now", "gRPC"), ("now", "HTTP/2")), (("now", "gRPC"), ("now", "HTTP/1.1"))]
        pairs += [(("now", each), ("older", each)) for each in ("HTTP/1.1", "HTTP/2") if "older" in fronts]
        print(f"CPU µs a {unit}: {', '.join(costs)}; " + ", ".join(said(taken, unit, *pair) for pair in pairs))


if __name__ == "__main__":
    main()
