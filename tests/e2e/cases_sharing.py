"""Three engines share the load, and the operators' port tells of it."""
import json
import threading

import wire
from runner import equal, until
from stack import Gateway


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


def what_one_gateway_sent_another_finds_in_the_caches_of_engines(stack):
    stack.needs_gateway()
    binary = stack.gateway.command[0]
    asks = f'peers: {{gateways: ["{stack.gateway.admin}"], every_ms: 100}}'
    other = Gateway(binary, stack.engines, stack.folder, asks, name="peer")
    try:
        other.wait_for(other.admin, "/readyz")
        until("an answer of the other gateway", lambda: metric(other, "plimsoll_peer_polls_total", 'outcome="ok"'))
        heard, found = metric(other, "plimsoll_peer_prompts_total"), []
        for number in range(8):
            body = wire.chat_body(f"Ship {number} of a long convoy is under way. " * 24, max_tokens=4)
            equal(wire.post(stack.url, "/v1/chat/completions", body)[0], 200, "status")
            until("the news", lambda: metric(other, "plimsoll_peer_prompts_total") > heard + number)
            status, _, answer = wire.post(other.url, "/v1/chat/completions", body)
            equal(status, 200, "status")
            found.append(json.loads(answer)["usage"]["prompt_tokens_details"]["cached_tokens"])
        # By chance a third of them would be.
        assert sum(cached > 100 for cached in found) >= 6, f"tokens that were cached: {found}"
    finally:
        other.end()


def metric(gateway, name, label=""):
    """The sum of what a gateway counts under a name, where a label is."""
    lines = wire.get(gateway.admin, "/metrics")[2].decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name + "{") and label in line)
