#!/usr/bin/env python3
"""Is what `plimsoll load` reports what a server with known delays did? Prints both, and their ratio.

    benches/load_accuracy.py target/release/plimsoll

The server waits 50 ms before the first token and 20 ms before each of four more, and measures itself: what it
slept too long is its own and not the generator's. To be run by hand, on a machine that has nothing else to do.
"""

import json
import socket
import subprocess
import sys
import tempfile
import threading
import time

FIRST, GAP, TOKENS = 0.050, 0.020, 5
MODELS = b'{"object":"list","data":[{"id":"m"}]}'
EVENT = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\n"

measured = {"ttft": [], "itl": [], "e2e": []}


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def read_request(connection, buffer):
    """The head of the next request and what was read beyond its body; None at the end."""
    while b"\r\n\r\n" not in buffer:
        data = connection.recv(1 << 16)
        if not data:
            return None
        buffer += data
    head, buffer = buffer.split(b"\r\n\r\n", 1)
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    length = int(fields.get(b"content-length", 0))
    while len(buffer) < length:
        buffer += connection.recv(1 << 16)
    return head, buffer[length:]


def stream(connection):
    begin = time.perf_counter()
    time.sleep(FIRST)
    connection.sendall(HEAD % b"text/event-stream" + b"transfer-encoding: chunked\r\n\r\n" + chunk(EVENT))
    last = time.perf_counter()
    measured["ttft"].append(last - begin)
    for _ in range(TOKENS - 1):
        time.sleep(GAP)
        connection.sendall(chunk(EVENT))
        now = time.perf_counter()
        measured["itl"].append(now - last)
        last = now
    connection.sendall(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
    measured["e2e"].append(time.perf_counter() - begin)


def serve(connection):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer = b""
    while (request := read_request(connection, buffer)) is not None:
        head, buffer = request
        if head.startswith(b"GET"):
            connection.sendall(HEAD % b"application/json" + b"content-length: %d\r\n\r\n" % len(MODELS) + MODELS)
        else:
            stream(connection)


def accept(listener):
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


def main():
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    threading.Thread(target=accept, args=(listener,), daemon=True).start()
    with tempfile.NamedTemporaryFile() as report:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        load = "--rate 30 --duration 10 --prompt-tokens 16 --output-tokens 5 --quiet --json".split()
        subprocess.run([sys.argv[1], "load", url, *load, report.name], check=True)
        total = json.load(open(report.name))["total"]
    for name, times in measured.items():
        times.sort()
        for label, server in [("mean", sum(times) / len(times)), ("p50", times[len(times) // 2])]:
            client = total[name][label]
            print(f"{name:5}{label:5} server {server * 1e3:7.2f} ms  reported {client * 1e3:7.2f} ms  ×{client / server:.4f}")


main()
