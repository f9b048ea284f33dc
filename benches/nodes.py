#!/usr/bin/env python3
"""What does llama.cpp in this process bring, beside llama-server with the same model?

    cargo build --release --features llama && benches/nodes.py --model model.gguf

Both have as many threads and slots, and else their defaults; `plimsoll load` asks, which leaves them the cores. As many
clients as are asked for ask each in turn for streamed chats, one after the other; before and after that one client does so
alone. What is told: tokens a second and CPU time for each token, medians over repetitions in which all take turns; a ratio
is the median of theirs, so that a machine that others use too shows in neither.
"""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import sys
import tempfile

import children

CACHE = pathlib.Path.home() / ".cache/plimsoll"
READY_S = 120


def asked(port, clients, seed, args):
    """Tokens, and tokens a second, of so many clients who share the requests."""
    file = pathlib.Path(tempfile.gettempdir()) / f"plimsoll-nodes-{port}.json"
    lengths = ["--prompt-tokens", args.prompt, "--output-tokens", args.tokens]
    count = ["--concurrency", clients, "--requests", clients * args.each if clients > 1 else args.alone]
    what = ["--model", "bench", "--trace", "plain", "--seed", seed, "--json", file, "--quiet"]
    children.plimsoll("load", f"http://127.0.0.1:{port}", *lengths, *count, *what)
    total = json.loads(file.read_text())["total"]
    file.unlink()
    if total["outcomes"].keys() != {"ok"}:
        raise SystemExit(f"not all were answered: {total['outcomes']}")
    return total["output_tokens"], total["tokens_per_second"]


def cpu_seconds(child):
    """Seconds on a core of all its threads, those that have ended among them: llama.cpp begins some for each step."""
    fields = pathlib.Path(f"/proc/{child.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def started(args, stack, folder):
    """Both, each with the port of its callers."""
    port, admin, beside = children.free_ports(3)
    model = f"llama={args.model}?name=bench&slots={args.slots}&context={args.context}&threads={args.threads}{args.more}"
    command = [children.built(children.PLIMSOLL), "serve", "--engine", model, "--listen", f"127.0.0.1:{port}"]
    command += ["--admin", f"127.0.0.1:{admin}", "--threads", 1]
    node = stack.enter_context(children.Child("plimsoll", command, folder))
    command = [args.server, "--model", args.model, "--alias", "bench", "--host", "127.0.0.1", "--port", beside]
    command += ["--parallel", args.slots, "--ctx-size", args.slots * args.context, "--threads", args.threads, "--threads-batch", args.threads]
    server = stack.enter_context(children.Child("llama-server", command + args.server_more.split(), folder))
    node.wait_for(f"http://127.0.0.1:{port}/health", READY_S)
    server.wait_for(f"http://127.0.0.1:{beside}/health", READY_S)
    return {"plimsoll": (node, port), "llama-server": (server, beside)}


def measure(args):
    """Tokens a second and CPU ms for each token, by who is asked and by how many."""
    found = {}
    with contextlib.ExitStack() as stack:
        both = started(args, stack, pathlib.Path(tempfile.mkdtemp(prefix="plimsoll-nodes-")))
        for repetition in range(args.repetitions + 1):
            for clients in (1, args.clients):
                for name in list(both)[:: -1 if repetition % 2 else 1]:
                    child, port = both[name]
                    before = cpu_seconds(child)
                    # Other prompts each time, so that nothing of them is cached.
                    tokens, a_second = asked(port, clients, 1 + repetition, args)
                    if repetition:  # the first warms up
                        cpu = 1e3 * (cpu_seconds(child) - before) / tokens
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
    parser.add_argument("--alone", type=int, default=6, help="requests of one client alone")
    parser.add_argument("--tokens", type=int, default=128, help="tokens of an answer")
    parser.add_argument("--prompt", type=int, default=15, help="tokens of a prompt, in the mean")
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--context", type=int, default=512, help="tokens of each slot")
    parser.add_argument("--threads", type=int, default=2, help="threads that compute")
    parser.add_argument("--repetitions", type=int, default=5)
    args = parser.parse_args()
    print(table(measure(args), args.clients))
    return 0


if __name__ == "__main__":
    sys.exit(main())
