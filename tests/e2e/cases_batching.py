"""Embeddings of many clients that go to a real engine in common calls."""
import base64
import json
import re
import struct
import threading

import wire
from runner import equal

CLIENTS, TURNS = 24, 6
OVERFLOW = "overflow " * 6000  # far beyond the context of a slot


def text_of(number):
    return f"Number {number} " + "sails before the wind " * (number % 9)


def body_of(number):
    """What a client asks: a text or two, as numbers or in base64."""
    texts = [text_of(number), text_of(number + 1000)] if number % 4 == 0 else text_of(number)
    return {"model": "tiny", "input": texts, "encoding_format": "base64" if number % 2 else "float"}


def vectors(answer):
    """The vectors of an answer, in the order of their indices, which must be that of the list."""
    data = json.loads(answer)["data"]
    equal([item["index"] for item in data], list(range(len(data))), "indices")
    return [numbers(item["embedding"]) for item in data]


def numbers(embedding):
    """A vector, however it is written."""
    if not isinstance(embedding, str):
        return embedding
    packed = base64.b64decode(embedding)
    return struct.unpack(f"<{len(packed) // 4}f", packed)


def ask_together(stack, bodies):
    """The answers to `bodies`, asked by as many clients at a time as there are."""
    answers, left = {}, iter(list(bodies.items()))
    lock = threading.Lock()

    def client():
        connection = wire.connect(stack.url)
        try:
            while True:
                with lock:
                    asked = next(left, None)
                if asked is None:
                    return
                answers[asked[0]] = wire.send(connection, "POST", "/v1/embeddings", asked[1])
        finally:
            connection.close()

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    equal(sorted(answers, key=str), sorted(bodies, key=str), "answers")
    return answers


def calls(gateway):
    """Calls that the gateway made of requests that it may join, and texts in them."""
    text = wire.get(gateway.admin, "/metrics")[2].decode()
    names = ("batches_total", "batch_items_sum")
    found = [re.findall(rf"^plimsoll_{name}{{.*}} (\S+)$", text, re.MULTILINE) for name in names]
    return [sum(map(float, values)) for values in found]


def many_clients_share_calls_and_each_gets_the_vectors_that_it_gets_alone(stack):
    bodies = {number: body_of(number) for number in range(CLIENTS * TURNS)}
    before = calls(stack.gateway)
    answers = ask_together(stack, bodies)
    made, texts = (after - earlier for after, earlier in zip(calls(stack.gateway), before))
    equal(texts, sum(2 if number % 4 == 0 else 1 for number in bodies), "texts that were sent")
    assert made < len(bodies) / 2, f"{made} calls for {len(bodies)} requests: they were not joined"
    for number, (status, _, answer) in answers.items():
        equal(status, 200, f"status of {number}: {answer[:200]}")
        alone = vectors(wire.post(stack.engines[0].url, "/v1/embeddings", bodies[number])[2])
        joined = vectors(answer)
        equal(len(joined), len(alone), "vectors")
        for ours, theirs in zip(joined, alone):
            gap = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
            assert gap < 1e-5, f"the vectors of {number} differ by {gap}"
        usage = json.loads(answer)["usage"]
        assert 0 < usage["prompt_tokens"] == usage["total_tokens"], usage


def a_text_that_is_too_long_fails_for_its_sender_alone(stack):
    bodies = {number: {"model": "tiny", "input": text_of(number)} for number in range(CLIENTS * 3)}
    bodies |= {f"bad {number}": {"model": "tiny", "input": [OVERFLOW[: 9 * 1600], "x"]} for number in range(3)}
    answers = ask_together(stack, bodies)
    for number, (status, _, answer) in answers.items():
        if isinstance(number, int):
            equal(status, 200, f"status of {number}: {answer[:200]}")
        else:
            assert status >= 400, f"{number} was answered with {status}"
