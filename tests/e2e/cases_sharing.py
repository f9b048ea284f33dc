"""Three engines share the load, and the operators' port tells of it."""
import json
import threading

import wire
from runner import equal


def three_engines_share_the_load(stack):
    stack.needs_gateway()
    before = [engine.counter("tokens_predicted_total") for engine in stack.engines]
    statuses = []

    def client(number):
        for turn in range(15):
            body = wire.chat_body(f"Client {number}, turn {turn}", stream=turn % 2 == 0, ignore_eos=True)
            statuses.append(wire.post(stack.url, "/v1/chat/completions", body)[0])

    threads = [threading.Thread(target=client, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    equal(statuses, [200] * 90, "statuses")
    done = [engine.counter("tokens_predicted_total") - then for engine, then in zip(stack.engines, before)]
    assert min(done) >= 0.1 * sum(done), f"tokens written by each engine: {done}"


def the_fleet_names_every_backend(stack):
    stack.needs_gateway()
    status, _, answer = wire.get(stack.gateway.admin, "/fleet")
    equal(status, 200, "status")
    json.loads(answer)
    for engine in stack.engines:
        assert f'"{engine.short_name}"'.encode() in answer, f"no backend {engine.short_name} in {answer[:400]}"


def the_metrics_count_every_backend(stack):
    stack.needs_gateway()
    status, _, answer = wire.get(stack.gateway.admin, "/metrics")
    equal(status, 200, "status")
    lines = [line for line in answer.decode().splitlines() if line.startswith("plimsoll_")]
    assert lines, "no metric begins with plimsoll_"
    for engine in stack.engines:
        assert any(f'backend="{engine.short_name}"' in line for line in lines), f"no backend {engine.short_name}"
