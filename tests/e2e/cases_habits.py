"""Habits of llama-server that a mock would not have shown, and that a client must not notice."""
import json
import threading

import wire
from runner import equal, until

OVERFLOW = "overflow " * 6000  # far beyond the context of a slot


def many_streams_in_a_row_never_meet_the_connection_the_engine_closed(stack):
    # After a streamed answer llama-server closes, although it had promised `Keep-Alive: timeout=5, max=100`. Whoever
    # asks it directly and reuses the connection loses requests.
    stack.needs_gateway()
    connection = wire.connect(stack.url)
    try:
        for number in range(150):
            stream = number % 3 != 2  # a plain answer between streams leaves a live connection in the pool
            body = wire.chat_body(f"Question {number}", stream=stream, max_tokens=4)
            status, _, answer = wire.send(connection, "POST", "/v1/chat/completions", body)
            equal(status, 200, f"status of request {number}")
            if stream:
                wire.chunks(answer)
            assert connection.sock, f"the gateway closed the client's connection after request {number}"
    finally:
        connection.close()


def streams_of_many_clients_never_meet_it_either(stack):
    failures = []

    def client(number):
        for turn in range(25):
            status, _, answer = wire.post(
                stack.url, "/v1/chat/completions", wire.chat_body(f"{number} {turn}", stream=True, max_tokens=4)
            )
            if status != 200 or wire.events(answer)[-1:] != [b"[DONE]"]:
                failures.append((number, turn, status, answer[-200:]))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert not failures, f"{len(failures)} of 150: {failures[0]}"


def error_of(answer):
    """The error object of an answer, whose shape must be OpenAI's."""
    error = json.loads(answer)["error"]
    equal(sorted(set(error) & {"message", "type", "param", "code"}), ["code", "message", "param", "type"], "keys")
    assert error["param"] is None or isinstance(error["param"], str), error
    assert isinstance(error["code"], str), f"code is {error['code']!r}, not a string"
    return error


def an_integer_error_code_reaches_the_client_as_a_string(stack):
    stack.needs_gateway()  # the engine itself says {"error":{"code":400,...}}
    for path, broken, word in (
        ("/v1/chat/completions", {"model": "tiny", "messages": "nonsense"}, "messages"),
        ("/v1/chat/completions", {**wire.chat_body("x"), "temperature": "hot"}, "temperature"),
        ("/v1/chat/completions", {**wire.chat_body("x", stream=True), "temperature": "hot"}, "temperature"),
        ("/v1/embeddings", {"model": "tiny"}, "input"),
    ):
        status, headers, answer = wire.post(stack.url, path, broken)
        equal(status, 400, f"status of {broken}")
        assert headers["content-type"].startswith("application/json"), headers["content-type"]
        error = error_of(answer)
        equal(error["type"], "invalid_request_error", "type")
        assert word in error["message"], error
        assert "127.0.0.1" not in error["message"], error


def broken_json_is_a_bad_request_and_not_the_engines_500(stack):
    stack.needs_gateway()
    for broken in ('{"model":"tiny","messages":', '{"model":"tiny",}', "", "[1,2"):
        status, _, answer = wire.post(stack.url, "/v1/chat/completions", broken)
        equal(status, 400, f"status of {broken!r}")
        equal(error_of(answer)["type"], "invalid_request_error", "type")


def log_lines(engines, *words):
    """How many lines of the engines' logs hold all of `words`."""
    logs = [engine.log.read_text(errors="replace") for engine in engines]
    return sum(all(word in line for word in words) for log in logs for line in log.splitlines())


def overflows_seen(engines):
    """How often the engines refused a prompt for its length."""
    return log_lines(engines, "send_error", "exceeds the available context size")


def a_prompt_beyond_the_context_is_a_400_and_each_engine_is_asked_once_at_most(stack):
    for stream in (False, True):
        before = overflows_seen(stack.engines)
        status, _, answer = wire.post(stack.url, "/v1/chat/completions", wire.chat_body(OVERFLOW, stream=stream))
        equal(status, 400, "status")
        assert "context size" in json.loads(answer)["error"]["message"], answer
        if stack.gateway:
            error_of(answer)
        # The line may reach the log a moment after the client has its answer.
        until("the engine's log tells of it", lambda: overflows_seen(stack.engines) > before)
        # Engines of a model may have contexts of different lengths, so the gateway asks another one.
        asked = overflows_seen(stack.engines) - before
        assert 1 <= asked <= (len(stack.engines) if stack.gateway else 1), f"{asked} refusals by engines"


def prompts_beyond_the_context_eject_no_backend(stack):
    stack.needs_gateway()
    for _ in range(30):
        equal(wire.post(stack.url, "/v1/chat/completions", wire.chat_body(OVERFLOW))[0], 400, "status")
    served = {engine.name: engine.counter("tokens_predicted_total") for engine in stack.engines}

    def all_serve():
        equal(wire.post(stack.url, "/v1/chat/completions", wire.chat_body("Hello", max_tokens=2))[0], 200, "status")
        return all(engine.counter("tokens_predicted_total") > served[engine.name] for engine in stack.engines)

    until("every engine serves", all_serve)


def a_client_that_leaves_a_plain_request_frees_its_slots(stack):
    until("no slot at work", lambda: not any(engine.busy() for engine in stack.engines))
    cancelled = log_lines(stack.engines, "cancel task")
    connection = wire.connect(stack.url)
    # Eight choices take seconds; llama-server looks once a second for a client that left a plain request.
    body = json.dumps(wire.chat_body("Hello", max_tokens=3500, n=8, ignore_eos=True))
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    until("slots at work", lambda: any(engine.busy() for engine in stack.engines))
    connection.close()
    until("the engine's log tells of it", lambda: log_lines(stack.engines, "cancel task") > cancelled)
    until("no slot at work", lambda: not any(engine.busy() for engine in stack.engines), seconds=3)
