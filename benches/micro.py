#!/usr/bin/env python3
"""What do joined calls bring, before a real engine of embeddings?

    benches/micro.py --engine llama-server --model minilm.gguf

Two gateways of the same binary stand before one llama-server, one with `batching` and one without. As many clients as are
asked for ask each in turn, one request after the other on a connection of their own, for texts of mixed lengths. What is
told: requests a second, how long the slowest hundredth took, CPU time of the engine and of the gateway for each request;
and how far vectors of joined calls lie from others at most, beside how far others do from one run to the next: with
several slots the engine computes texts together in either way, and who else is there changes the last digits. Medians
over the repetitions; the ratio is the median of theirs.
"""

import argparse
import contextlib
import json
import pathlib
import random
import socket
import statistics
import sys
import tempfile
import threading
import time

import children

CACHE = pathlib.Path.home() / ".cache/plimsoll"
WORDS = "the ship harbour wind cargo a of in night light rope sails crew storm to anchor tide chart north deck".split()
# What is measured is the rate, and an engine that is slow is not to be given up.
PATIENT = "pipeline: {ttft_limit_ms: 600000, ttft_floor_ms: 600000}"
WAYS = {"alone": "{enabled: false}", "joined": "{enabled: true}"}


def texts(count, longest):
    """Texts of one word to so many: most are short, as queries are, and some long, as documents are."""
    draw = random.Random(1)
    lengths = [min(longest, 1 + int(draw.expovariate(1 / (longest / 6)))) for _ in range(count)]
    return [" ".join(draw.choice(WORDS) for _ in range(length)) for length in lengths]


def request(text):
    body = json.dumps({"model": "minilm", "input": text}).encode()
    head = f"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def answer(connection, held):
    """The body of the next answer on a connection."""
    while b"\r\n\r\n" not in held:
        held += received(connection)
    head, held = held.split(b"\r\n\r\n", 1)
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"{head.decode()} {held.decode(errors='replace')}")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(held) < length:
        held += received(connection)
    return held[:length], held[length:]


def received(connection):
    piece = connection.recv(1 << 16)
    if not piece:
        raise RuntimeError("the gateway closed a connection")
    return piece


def ask_all(port, requests, clients):
    """Asks all and gives the answers in their order, the seconds that each took, and those that all took."""
    answers, took, left, failed = [None] * len(requests), [], iter(range(len(requests))), []

    def client():
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=600) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                held = b""
                while (number := next(left, None)) is not None:
                    sent = time.monotonic()
                    connection.sendall(requests[number])
                    answers[number], held = answer(connection, held)
                    took.append(time.monotonic() - sent)
        except (OSError, RuntimeError) as error:
            failed.append(error)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise RuntimeError(f"{len(failed)} clients failed: {failed[0]}")
    return answers, took, time.monotonic() - began


def vector(body):
    return json.loads(body)["data"][0]["embedding"]


def apart(some, others):
    """The largest difference between vectors in any of their numbers."""
    pairs = zip(map(vector, some), map(vector, others), strict=True)
    return max(abs(a - b) for pair in pairs for a, b in zip(*pair, strict=True))


def engine(args, folder):
    port = children.free_ports(1)[0]
    command = [args.engine, "--model", args.model, "--alias", "minilm", "--host", "127.0.0.1", "--port", port]
    command += ["--embeddings", "--pooling", "mean", "--threads", args.threads, "--threads-batch", args.threads]
    command += ["--parallel", args.slots, "--ctx-size", args.slots * 512, *args.more.split()]
    child = children.Child("engine", command, folder)
    return child, f"http://127.0.0.1:{port}"


def measure(args):
    """What each way took, and how far its vectors lie from those of the first run of all."""
    requests = [request(text) for text in texts(args.requests, args.longest)]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="plimsoll-micro-"))
    found, furthest, first = {way: [] for way in WAYS}, dict.fromkeys(WAYS, 0.0), None
    with contextlib.ExitStack() as stack:
        child, url = engine(args, folder)
        stack.enter_context(child)
        child.wait_for(f"{url}/health", 60)
        gateways = {}
        for way, batching in WAYS.items():
            backend = f'backends:\n  - {{name: up, url: "{url}", models: [minilm]}}\nbatching: {batching}\n{PATIENT}'
            gateways[way] = stack.enter_context(children.gateway(backend, way, args.gateway_threads))
        for repetition in range(args.repetitions + 1):
            for way in list(WAYS)[:: -1 if repetition % 2 else 1]:
                gateway, address = gateways[way]
                before = child.cpu_seconds(), gateway.cpu_seconds()
                answers, took, seconds = ask_all(int(address.rsplit(":", 1)[1]), requests, args.clients)
                cpu = child.cpu_seconds() - before[0], gateway.cpu_seconds() - before[1]
                if repetition:  # the first warms up
                    tail = 1e3 * sorted(took)[len(took) * 99 // 100]
                    found[way].append((len(requests) / seconds, tail, *(1e3 * part / len(requests) for part in cpu)))
                first = first or answers
                furthest[way] = max(furthest[way], apart(first, answers))
    return found, furthest


def table(found):
    rows = ["| | requests/s | p99 ms | engine CPU ms a request | gateway CPU ms a request |", "|---|--:|--:|--:|--:|"]
    for way, runs in found.items():
        rate, tail, engine_ms, gateway_ms = (statistics.median(column) for column in zip(*runs))
        rows.append(f"| {way} | {rate:,.0f} | {tail:,.0f} | {engine_ms:.2f} | {gateway_ms:.3f} |")
    ratios = ([b / a for a, b in zip(one, other)] for one, other in zip(found["alone"], found["joined"]))
    rows.append("| ratio | " + " | ".join(f"×{statistics.median(column):.2f}" for column in zip(*ratios)) + " |")
    return "\n".join(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default=CACHE / "llama-server-0.3.36", help="a llama-server")
    parser.add_argument("--model", default=CACHE / "minilm.gguf", help="a model of embeddings in GGUF")
    parser.add_argument("--more", default="", help="more switches of the engine")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--requests", type=int, default=2_000)
    parser.add_argument("--longest", type=int, default=120, help="words of the longest text")
    parser.add_argument("--slots", type=int, default=4, help="texts that the engine computes at a time")
    parser.add_argument("--threads", type=int, default=1, help="threads of the engine")
    parser.add_argument("--gateway-threads", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=5)
    args = parser.parse_args()
    found, furthest = measure(args)
    print(table(found))
    alone, joined = furthest["alone"], furthest["joined"]
    print(f"\nVectors of joined calls differ from those of others by {joined:.1e} at most, those of others by {alone:.1e}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
