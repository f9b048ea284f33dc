"""What the engine says is what the client reads, word for word and byte for byte."""
import json
import re

import wire
from runner import equal

LONG = "Why is the sky blue? " * 20
PROMPTS = ["Hello", "What is a queue?", "Count to ten.", LONG, "Zażółć gęślą jaźń 🚢", ""]

# What two answers to one question may differ in: identity, time, and how much an engine had cached.
VOLATILE = [
    (rb'"(id|item_id)":"[a-z]+[-_][A-Za-z0-9]+"', rb'"\1":"*"'),
    (rb'"(created|created_at|completed_at|cached_tokens)":\d+', rb'"\1":0'),
    (rb',"timings":\{[^}]*\}', b""),
]


def steady(body):
    """`body` without what two answers to one question may differ in."""
    for pattern, replacement in VOLATILE:
        body = re.sub(pattern, replacement, body)
    return body


def both(stack, path, body):
    """The answers of an engine and of the gateway."""
    answers = []
    for base in (stack.engines[0].url, stack.url):
        status, _, answer = wire.post(base, path, body)
        equal(status, 200, f"status of {base}{path}")
        answers.append(answer)
    return answers


def a_plain_chat_says_what_the_engine_says(stack):
    for prompt in PROMPTS:
        direct, relayed = both(stack, "/v1/chat/completions", wire.chat_body(prompt))
        equal(steady(relayed), steady(direct), "answer")


def a_streamed_chat_passes_event_by_event(stack):
    for prompt in PROMPTS:
        asked = wire.chat_body(prompt, stream=True, stream_options={"include_usage": True})
        direct, relayed = both(stack, "/v1/chat/completions", asked)
        equal([steady(e) for e in wire.events(relayed)], [steady(e) for e in wire.events(direct)], "events")


def a_stream_that_did_not_ask_for_usage_is_the_same_as_without_a_gateway(stack):
    for prompt in PROMPTS:
        direct, relayed = both(stack, "/v1/chat/completions", wire.chat_body(prompt, stream=True))
        equal([steady(e) for e in wire.events(relayed)], [steady(e) for e in wire.events(direct)], "events")


def a_stream_says_what_the_plain_answer_says(stack):
    for prompt in PROMPTS:
        _, plain = both(stack, "/v1/chat/completions", wire.chat_body(prompt))
        _, streamed = both(stack, "/v1/chat/completions", wire.chat_body(prompt, stream=True))
        deltas = [chunk["choices"][0]["delta"].get("content") or "" for chunk in wire.chunks(streamed)]
        equal("".join(deltas), json.loads(plain)["choices"][0]["message"]["content"], "text")


def completions_pass_unchanged(stack):
    for prompt in ["The gateway", "A queue is", ["The engine", "One token"], [72, 101, 108]]:
        for more in ({}, {"echo": True}):
            direct, relayed = both(stack, "/v1/completions", wire.completion_body(prompt, **more))
            equal(steady(relayed), steady(direct), "answer")


def streamed_completions_pass_event_by_event(stack):
    for prompt in ["The gateway", "A queue is", [72, 101, 108]]:
        direct, relayed = both(stack, "/v1/completions", wire.completion_body(prompt, stream=True))
        equal([steady(e) for e in wire.events(relayed)], [steady(e) for e in wire.events(direct)], "events")


def streamed_responses_pass_event_by_event(stack):
    for prompt in PROMPTS[:3]:
        asked = {"model": "tiny", "input": prompt, "temperature": 0, "max_output_tokens": 32, "stream": True}
        direct, relayed = both(stack, "/v1/responses", asked)
        equal([steady(e) for e in wire.events(relayed)], [steady(e) for e in wire.events(direct)], "events")


def embeddings_pass_unchanged(stack):
    for encoding in ("float", "base64"):
        asked = {"model": "tiny", "input": ["a queue", "a token"], "encoding_format": encoding}
        direct, relayed = both(stack, "/v1/embeddings", asked)
        equal(steady(relayed), steady(direct), "answer")


def the_null_content_of_the_first_delta_stays(stack):
    _, relayed = both(stack, "/v1/chat/completions", wire.chat_body("Hello", stream=True))
    assert b'"delta":{"role":"assistant","content":null}' in wire.events(relayed)[0], relayed[:400]
