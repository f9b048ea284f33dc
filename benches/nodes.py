#!/usr/bin/env python3
"""What does llama.cpp in this process bring, beside llama-server with the same model?

    cargo build --release --features llama && benches/nodes.py --model model.gguf

Both have as many threads and slots, and else their defaults. As many clients as are asked for ask each in turn for streamed
completions, one after the other, of prompts that have nothing in common; before and after that one client does so alone.
What is told: tokens a second and CPU time for each token, medians over repetitions in which all take turns; a ratio is the
median of theirs, so that a machine that others use too shows in neither.
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
READY_S = 120


def request(draw, args):
    """A completion of a prompt that nobody else has, to its full length."""
    prompt = " ".join(draw.choices(WORDS, k=draw.randint(args.words // 2, args.words * 3 // 2)))
    options = {"stream": True, "ignore_eos": True, "temperature": 0, "stream_options": {"include_usage": True}}
    body = json.dumps({"model": "bench", "prompt": prompt, "max_tokens": args.tokens, **options}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def tokens_of(port, asked):
    """Asks on a connection of its own and gives how many tokens came."""
    with socket.create_connection(("127.0.0.1", port), timeout=600) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(asked)
        pieces = []
        while piece := connection.recv(1 << 16):
            pieces.append(piece)
            if b"[DONE]" in piece:
                break
    answer = b"".join(pieces)
    if not answer.startswith(b"HTTP/1.1 200") or b"[DONE]" not in answer:
        raise RuntimeError(answer[:300].decode(errors="replace"))
    return int(answer.rsplit(b'"completion_tokens":', 1)[1].split(b",")[0].split(b"}")[0])


def rate(port, clients, requests):
    """Tokens, and tokens a second, of so many clients who share the requests."""
    left, counts, failed = iter(requests), [], []

    def client():
        try:
            while asked := next(left, None):
                counts.append(tokens_of(port, asked))
        except (OSError, RuntimeError, ValueError, IndexError) as error:
            failed.append(error)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise RuntimeError(f"a client ended with {failed[0]!r}")
    return sum(counts), sum(counts) / (time.monotonic() - began)


def started(args, stack, folder):
    """Both, each with the port of its callers."""
    port, admin, beside = children.free_ports(3)
    model = f"llama={args.model}?name=bench&slots={args.slots}&context={args.context}&threads={args.threads}{args.more}"
    command = [children.built(children.PLIMSOLL), "serve", "--engine", model, "--listen", f"127.0.0.1:{port}"]
    command += ["--admin", f"127.0.0.1:{admin}", "--threads", 1]
    node = stack.enter_context(children.Child("plimsoll", command, folder))
    command = [args.server, "--model", args.model, "--host", "127.0.0.1", "--port", beside, "--parallel", args.slots]
    command += ["--ctx-size", args.slots * args.context, "--threads", args.threads, "--threads-batch", args.threads]
    server = stack.enter_context(children.Child("llama-server", command + args.server_more.split(), folder))
    node.wait_for(f"http://127.0.0.1:{port}/health", READY_S)
    server.wait_for(f"http://127.0.0.1:{beside}/health", READY_S)
    return {"plimsoll": (node, port), "llama-server": (server, beside)}


def measure(args):
    """Tokens a second and CPU ms for each token, by who is asked and by how many."""
    draw, found = random.Random(1), {}
    with contextlib.ExitStack() as stack:
        both = started(args, stack, pathlib.Path(tempfile.mkdtemp(prefix="plimsoll-nodes-")))
        for repetition in range(args.repetitions + 1):
            for clients in (1, args.clients):
                requests = [request(draw, args) for _ in range(clients * args.each)]
                for name in list(both)[:: -1 if repetition % 2 else 1]:
                    child, port = both[name]
                    before = child.cpu_seconds()
                    tokens, a_second = rate(port, clients, requests)
                    if repetition:  # the first warms up
                        cpu = 1e3 * (child.cpu_seconds() - before) / tokens
                        found.setdefault((name, clients), []).append((a_second, cpu))
    return found


def table(found, clients):
    rows = ["| | clients | tokens/s | CPU ms a token |", "|---|--:|--:|--:|"]
    for (name, count), runs in sorted(found.items(), key=lambda item: item[0][::-1]):
        a_second, cpu = (statistics.median(column) for column in zip(*runs))
        rows.append(f"| {name} | {count} | {a_second:,.0f} | {cpu:.2f} |")

    def ratio(one, other):
        pairs = zip(found[one], found[other])
        return statistics.median(a[0] / b[0] for a, b in pairs)

    many, alone = ("plimsoll", clients), ("plimsoll", 1)
    beside, beside_alone = ("llama-server", clients), ("llama-server", 1)
    lines = [
        f"{clients} clients over one: ×{ratio(many, alone):.2f} (llama-server ×{ratio(beside, beside_alone):.2f})",
        f"over llama-server with {clients} clients: ×{ratio(many, beside):.3f}",
        f"over llama-server with one client: ×{ratio(alone, beside_alone):.3f}",
    ]
    return "\n".join([*rows, "", *(f"- {line}" for line in lines)])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a model in GGUF")
    parser.add_argument("--server", default=CACHE / "llama-server-0.3.36", help="a llama-server")
    parser.add_argument("--server-more", default="", help="more switches of it")
    parser.add_argument("--more", default="", help="more options of the node, such as &batch=2048")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--each", type=int, default=3, help="requests of each client")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of an answer")
    parser.add_argument("--words", type=int, default=20, help="words of a prompt, in the mean")
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--context", type=int, default=512, help="tokens of each slot")
    parser.add_argument("--threads", type=int, default=1, help="threads that compute")
    parser.add_argument("--repetitions", type=int, default=5)
    args = parser.parse_args()
    print(table(measure(args), args.clients))
    return 0


if __name__ == "__main__":
    sys.exit(main())
