"""The gateway watches its engines: nobody asks it anything here. Run in this order on one stack."""
import contextlib
import json
import threading
import time

import wire
from runner import equal, until


def seen(stack, engine):
    """What operators see of an engine."""
    status, _, body = wire.get(stack.gateway.admin, "/fleet")
    equal(status, 200, "status of /fleet")
    return next(one for one in json.loads(body)["backends"] if one["name"] == engine.short_name)


def becomes(stack, engine, service, seconds):
    """Waits until an engine is in that state, and gives how long it took."""
    begin = time.monotonic()
    until(f"{engine.name} is {service}", lambda: seen(stack, engine)["service"] == service, seconds)
    return time.monotonic() - begin


def every_engine_says_how_loaded_it_is(stack):
    stack.needs_gateway()
    for engine in stack.engines:
        age = until(f"a report of {engine.name}", lambda: seen(stack, engine)["report_age_ms"])
        assert 0 < age < 5000, age
        assert seen(stack, engine)["round_trip_ms"] < 50


def requests_that_pass_by_the_gateway_are_seen(stack):
    stack.needs_gateway()
    engine = stack.engines[2]
    passing = [wire.connect(engine.url) for _ in range(6)]
    try:
        body = json.dumps(wire.completion_body("Once", max_tokens=3500, ignore_eos=True, stream=True))
        for connection in passing:
            connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
        until("requests of others", lambda: seen(stack, engine)["others"]["running"] >= 2)
    finally:
        for connection in passing:
            connection.close()


@contextlib.contextmanager
def slowed(engine):
    """An engine that runs a fifth of the time."""
    over = threading.Event()

    def hold_up():
        while not over.is_set():
            engine.freeze()
            over.wait(0.04)
            engine.thaw()
            over.wait(0.01)

    holder = threading.Thread(target=hold_up)
    holder.start()
    try:
        yield
    finally:
        over.set()
        holder.join()
        engine.thaw()


def ask_much(stack):
    """Four clients, each of which asks for fifteen answers, one after the other."""
    statuses = []

    def client(number):
        for turn in range(15):
            question = f"Client {number} asks for the {turn}. time what there is to see. " * 8
            body = wire.chat_body(question, stream=True, max_tokens=24, ignore_eos=True)
            statuses.append(wire.post(stack.url, "/v1/chat/completions", body)[0])

    clients = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for each in clients:
        each.start()
    for each in clients:
        each.join(timeout=120)
    equal(statuses, [200] * 60, "statuses")


def a_slow_engine_gets_its_share_and_no_more_and_explain_says_why(stack):
    stack.needs_gateway()
    slow, over, ratios = stack.engines[2], threading.Event(), []

    def look():
        # While requests run: what was learned of an engine that gets none for some seconds is forgotten on purpose.
        while not over.wait(0.1):
            status, _, body = wire.get(stack.gateway.admin, "/explain?model=tiny")
            equal(status, 200, "status of /explain")
            costs = {one["name"]: one["cost_ms"] for one in json.loads(body)["backends"]}
            ratios.append(costs.pop(slow.short_name) / min(costs.values()))

    with slowed(slow):
        ask_much(stack)  # from which it is learned how fast each is
        before = [engine.counter("tokens_predicted_total") for engine in stack.engines]
        looker = threading.Thread(target=look)
        looker.start()
        try:
            ask_much(stack)
        finally:
            over.set()
            looker.join()
        done = [engine.counter("tokens_predicted_total") - then for engine, then in zip(stack.engines, before)]
    assert done[2] < 0.5 * (done[0] + done[1]) / 2, f"tokens written by each engine: {done}"
    assert max(ratios) > 1.3, f"what a request is said to cost, beside the best of the others: {ratios}"


def an_engine_that_is_killed_is_out_within_a_second_and_back_when_it_listens(stack):
    stack.needs_gateway()
    engine = stack.engines[0]
    engine.kill()
    took = becomes(stack, engine, "ejected", seconds=10)
    assert took < 1.5, f"{took:.2f} s"
    assert seen(stack, engine)["found_dead_by_probes"]
    for _ in range(6):
        status, _, answer = wire.post(stack.url, "/v1/chat/completions", wire.chat_body("Hello", max_tokens=2))
        equal(status, 200, f"status of {answer[:200]!r}")
    engine.start()
    engine.wait_for(engine.url, "/health")
    becomes(stack, engine, "in_service", seconds=3)


def an_engine_that_freezes_is_out_after_three_silent_probes_and_back_when_it_thaws(stack):
    stack.needs_gateway()
    engine = stack.engines[1]
    engine.freeze()
    try:
        becomes(stack, engine, "ejected", seconds=10)
    finally:
        engine.thaw()
    becomes(stack, engine, "in_service", seconds=10)
