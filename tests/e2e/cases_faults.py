"""Engines die, freeze and come back under load. Run in this order on one stack."""
import json

import load
import wire
from runner import equal, until

MIDDLE = range(60, 400)  # tokens written: past any plain request, well before the end of a stream
RECOVERY_S = 90


def in_the_middle_of_streams(engine, count=2):
    """Is the engine writing some streams, none of which is about to begin or end?"""
    return sum(written in MIDDLE for written in engine.busy()) >= count


def strike(stack, victim, blow):
    """Does `blow` to an engine in the middle of streams, and judges every request before and after."""
    before = continued(stack.gateway)
    with load.running(stack) as loads:
        for each in loads:
            each.wait_for_more(10)
        until(f"{victim.name} is in the middle of streams", lambda: in_the_middle_of_streams(victim), seconds=30)
        blow()
        for each in loads:
            each.wait_for_more(25)
        for each in loads:
            each.stop()
        count = load.judge(loads)
    assert stack.gateway.running(), f"the gateway ended: {stack.gateway.tail()}"
    # The victim was writing at that moment, and others have written on.
    equal(count["error_event"], 0, "streams that ended with an error event")
    assert continued(stack.gateway) > before, "no stream was hit"


def continued(gateway):
    """Streams that have gone on at another engine so far."""
    lines = wire.get(gateway.admin, "/metrics")[2].decode().splitlines()
    ours = [line for line in lines if line.startswith("plimsoll_continuations_total") and "continued" in line]
    return sum(float(line.split()[-1]) for line in ours)


def serves_again(stack, engine):
    """Waits until an engine that was away writes tokens for clients again."""
    until(f"{engine.name} has nothing left to do", lambda: not engine.busy(), seconds=30)
    before = engine.counter("tokens_predicted_total")

    def served():
        status, _, answer = wire.post(stack.url, "/v1/chat/completions", wire.chat_body("Hello", max_tokens=2))
        equal(status, 200, f"status of {answer[:200]!r}")
        return engine.counter("tokens_predicted_total") > before

    until(f"{engine.name} serves again", served, RECOVERY_S)


def no_request_that_had_not_begun_is_lost_when_an_engine_is_killed(stack):
    stack.needs_gateway()
    strike(stack, stack.engines[0], stack.engines[0].kill)


def an_engine_started_again_serves_again(stack):
    stack.needs_gateway()
    engine = stack.engines[0]
    engine.kill()
    engine.start()
    engine.wait_for(engine.url, "/health")
    serves_again(stack, engine)


def killed_in_the_middle(stack, path, body):
    """Reads a stream whose engine is killed after its first text; gives its chunks. All other engines stand still
    meanwhile, so that it has not written all of it before."""
    connection = wire.connect(stack.url)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        reply = connection.getresponse()
        equal(reply.status, 200, "status")
        told = b""
        while told.count(b"\n\n") < 5:
            told += reply.read1()
        for engine in stack.engines:
            engine.freeze()
        fleet = json.loads(wire.get(stack.gateway.admin, "/fleet")[2])["backends"]
        writing = {one["name"] for one in fleet if one["in_flight"] > 0}
        victims = [engine for engine in stack.engines if engine.short_name in writing]
        equal(len(victims), 1, "engines that write")
        victims[0].kill()
        for engine in stack.engines:
            if engine is not victims[0]:
                engine.thaw()
        told += reply.read()
    finally:
        connection.close()
    victims[0].start()
    victims[0].wait_for(victims[0].url, "/health")
    return wire.chunks(told)


def a_chat_whose_engine_is_killed_goes_on_word_for_word(stack):
    stack.needs_gateway()
    body = wire.chat_body("Tell me of ships.", max_tokens=700, ignore_eos=True)
    _, _, answer = wire.post(stack.engines[0].url, "/v1/chat/completions", body)
    whole = json.loads(answer)
    before = continued(stack.gateway)
    more = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = killed_in_the_middle(stack, "/v1/chat/completions", {**body, **more})
    equal(continued(stack.gateway), before + 1, "streams that have gone on")
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    equal(text, whole["choices"][0]["message"]["content"], "text")
    equal(len({chunk["id"] for chunk in chunks}), 1, "ids")
    equal([choice["finish_reason"] for choice in choices if choice["finish_reason"]], ["length"], "ends")
    equal(sum("role" in choice["delta"] for choice in choices), 1, "beginnings")
    usage = chunks[-1]["usage"]
    equal(usage["completion_tokens"], 700, "tokens of both engines")
    # What was told is read again in other tokens than it was written in, here and there.
    assert abs(usage["prompt_tokens"] - whole["usage"]["prompt_tokens"]) < 20, (usage, whole["usage"])


def a_completion_whose_engine_is_killed_goes_on_word_for_word(stack):
    stack.needs_gateway()
    body = wire.completion_body("Once upon a time", max_tokens=700, ignore_eos=True)
    whole = json.loads(wire.post(stack.engines[0].url, "/v1/completions", body)[2])
    chunks = killed_in_the_middle(stack, "/v1/completions", {**body, "stream": True})
    text = "".join(choice["text"] for chunk in chunks for choice in chunk["choices"])
    equal(text, whole["choices"][0]["text"], "text")


def no_request_that_had_not_begun_is_lost_when_an_engine_freezes(stack):
    stack.needs_gateway()
    engine = stack.engines[1]
    try:
        strike(stack, engine, engine.freeze)
    finally:
        engine.thaw()


def an_engine_that_thawed_serves_again(stack):
    stack.needs_gateway()
    serves_again(stack, stack.engines[1])
