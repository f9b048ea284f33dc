"""Engines die, freeze and come back under load. Run in this order on one stack."""
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
    # The victim was writing at that moment. Once streams are continued elsewhere, this becomes zero.
    assert count["error_event"] > 0, f"no stream was hit: {count}"


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
