#!/usr/bin/env python3
"""The official Python SDK against a base URL: every case once with the blocking client and once with the async one.

Started by run.py under the SDK's interpreter, with
  E2E_BASE_URL   where to send requests, without /v1
  E2E_ENGINES    addresses of the engines behind it, with commas: to see slots become free
  E2E_DIRECT     1 when an engine is asked without a gateway: what only a gateway does is skipped
  E2E_ONLY       only cases whose name contains this
"""
import asyncio
import inspect
import os
import sys

import openai
from runner import UNDISTURBED_S, Skip, Tally, equal, run, until
from wire import busy_slots, counter

BASE = os.environ["E2E_BASE_URL"]
ENGINES = os.environ["E2E_ENGINES"].split(",")
MODEL = "tiny"
ASK = [{"role": "user", "content": "What does a gateway do?"}]
SHORT = {"model": MODEL, "temperature": 0, "max_tokens": 24}
LONG = {"model": MODEL, "temperature": 0, "max_tokens": 3500, "extra_body": {"ignore_eos": True}}


def client_of(kind):
    # A retry of the SDK would hide a failure of the gateway.
    return kind(base_url=BASE + "/v1", api_key="sk-e2e", max_retries=0, timeout=60)


async def settle(value):
    """The result of a call of either client."""
    return await value if inspect.isawaitable(value) else value


async def all_of(stream):
    """Everything that a stream of either client yields."""
    if hasattr(stream, "__aiter__"):
        return [chunk async for chunk in stream]
    return list(stream)


async def raises(kind, call):
    """The error of class `kind` that the call must end with."""
    try:
        await settle(call())
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def gateway_only():
    if os.environ.get("E2E_DIRECT") == "1":
        raise Skip("an engine alone does not do this")


def busy():
    """How many slots are at work behind the gateway."""
    return sum(len(busy_slots(engine)) for engine in ENGINES)


def steps():
    """How many steps the engines have made, each a token for every slot at work."""
    return sum(counter(engine, "n_decode_total") for engine in ENGINES)


def chat_text(chunks):
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


async def models_are_listed(client):
    models = await all_of(await settle(client.models.list()))
    assert MODEL in [model.id for model in models], models


async def a_model_is_retrieved(client):
    gateway_only()
    equal((await settle(client.models.retrieve(MODEL))).id, MODEL)


async def a_chat_is_answered(client):
    reply = await settle(client.chat.completions.create(messages=ASK, **SHORT))
    assert reply.choices[0].message.content and reply.object == "chat.completion" and reply.id, reply
    assert reply.choices[0].finish_reason in ("stop", "length"), reply
    equal(reply.usage.prompt_tokens + reply.usage.completion_tokens, reply.usage.total_tokens, "total_tokens")


async def a_streamed_chat_says_what_a_plain_one_says(client):
    plain = await settle(client.chat.completions.create(messages=ASK, **SHORT))
    chunks = await all_of(await settle(client.chat.completions.create(messages=ASK, stream=True, **SHORT)))
    equal(chat_text(chunks), plain.choices[0].message.content, "text")
    equal(chunks[-1].choices[0].finish_reason, plain.choices[0].finish_reason, "finish_reason")
    equal(len({chunk.id for chunk in chunks}), 1, "number of ids")


async def usage_ends_a_stream_that_asked_for_it(client):
    options = {"include_usage": True}
    chunks = await all_of(
        await settle(client.chat.completions.create(messages=ASK, stream=True, stream_options=options, **SHORT))
    )
    equal(chunks[-1].choices, [], "choices of the last chunk")
    equal([bool(chunk.usage) for chunk in chunks], [False] * (len(chunks) - 1) + [True], "usage of each chunk")
    assert 0 < chunks[-1].usage.completion_tokens <= 24, chunks[-1]


async def no_usage_chunk_reaches_a_stream_that_did_not_ask(client):
    for more in ({}, {"stream_options": {"include_usage": False}}):
        chunks = await all_of(await settle(client.chat.completions.create(messages=ASK, stream=True, **more, **SHORT)))
        assert all(chunk.choices and not chunk.usage for chunk in chunks), chunks[-1]


async def a_text_is_completed(client):
    reply = await settle(client.completions.create(prompt="The gateway", **SHORT))
    chunks = await all_of(await settle(client.completions.create(prompt="The gateway", stream=True, **SHORT)))
    equal("".join(chunk.choices[0].text for chunk in chunks), reply.choices[0].text, "streamed text")
    assert reply.object == "text_completion" and reply.choices[0].text, reply


async def each_prompt_of_an_array_is_completed(client):
    prompts = ["The gateway", "A queue", "One engine"]
    reply = await settle(client.completions.create(prompt=prompts, **SHORT))
    alone = [(await settle(client.completions.create(prompt=prompt, **SHORT))).choices[0].text for prompt in prompts]
    equal([choice.text for choice in sorted(reply.choices, key=lambda c: c.index)], alone, "texts")
    streamed = [""] * len(prompts)
    for chunk in await all_of(await settle(client.completions.create(prompt=prompts, stream=True, **SHORT))):
        for choice in chunk.choices if chunk else []:  # llama-server begins such a stream with the event `null`
            streamed[choice.index] += choice.text
    equal(streamed, alone, "streamed texts")


async def embeddings_are_the_same_in_base64_and_as_numbers(client):
    texts = ["a queue", "a token"]
    packed = await settle(client.embeddings.create(model=MODEL, input=texts))  # the SDK asks for base64 by itself
    plain = await settle(client.embeddings.create(model=MODEL, input=texts, encoding_format="float"))
    equal([item.index for item in packed.data], [0, 1], "indexes")
    for a, b in zip(packed.data, plain.data, strict=True):
        assert len(a.embedding) == len(b.embedding) > 100, (len(a.embedding), len(b.embedding))
        assert max(abs(x - y) for x, y in zip(a.embedding, b.embedding)) < 1e-5, "embeddings differ"
    assert plain.usage.prompt_tokens > 0, plain.usage


async def a_response_is_made(client):
    ask = {"model": MODEL, "input": "What is a batch?", "max_output_tokens": 24, "temperature": 0}
    reply = await settle(client.responses.create(**ask))
    assert reply.output_text and reply.status == "completed", reply
    assert reply.usage.output_tokens > 0, reply.usage


async def a_response_is_streamed(client):
    ask = {"model": MODEL, "input": "What is a batch?", "max_output_tokens": 24, "temperature": 0}
    plain = await settle(client.responses.create(**ask))
    events = await all_of(await settle(client.responses.create(stream=True, **ask)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    equal(text, plain.output_text, "text")
    equal((events[0].type, events[-1].type), ("response.created", "response.completed"), "first and last event")


async def two_choices_are_given(client):
    asked = {**SHORT, "temperature": 0.8, "n": 2}
    reply = await settle(client.chat.completions.create(messages=ASK, **asked))
    equal(sorted(choice.index for choice in reply.choices), [0, 1], "indexes")
    chunks = await all_of(await settle(client.chat.completions.create(messages=ASK, stream=True, **asked)))
    ends = [choice.index for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    equal(sorted(ends), [0, 1], "choices that finished")


async def log_probabilities_are_given(client):
    reply = await settle(client.chat.completions.create(messages=ASK, logprobs=True, top_logprobs=2, **SHORT))
    content = reply.choices[0].logprobs.content
    equal("".join(entry.token for entry in content), reply.choices[0].message.content, "tokens")
    assert all(len(entry.top_logprobs) == 2 and entry.logprob <= 0 for entry in content), content


async def an_unknown_model_is_not_found_and_the_message_names_those_that_exist(client):
    gateway_only()
    for call in (
        lambda: client.chat.completions.create(model="no-such-model", messages=ASK),
        lambda: client.chat.completions.create(model="no-such-model", messages=ASK, stream=True),
        lambda: client.embeddings.create(model="no-such-model", input="x"),
        lambda: client.models.retrieve("no-such-model"),
    ):
        error = await raises(openai.NotFoundError, call)
        assert MODEL in error.message, error.message
        equal(error.code, "model_not_found", "code")


async def malformed_messages_are_a_bad_request(client):
    broken = {"model": MODEL, "messages": "nonsense"}
    error = await raises(openai.BadRequestError, lambda: client.chat.completions.create(**broken))
    assert "messages" in error.message, error.message


async def a_request_id_comes_back(client):
    gateway_only()
    raw = client.chat.completions.with_raw_response
    reply = await settle(raw.create(messages=ASK, **SHORT))
    assert reply.headers.get("x-request-id"), dict(reply.headers)
    mine = await settle(raw.create(messages=ASK, extra_headers={"x-request-id": "e2e-python-1"}, **SHORT))
    equal(mine.headers.get("x-request-id"), "e2e-python-1", "x-request-id")


async def a_request_past_its_timeout_ends_and_frees_its_slot(client):
    until("no slot at work", lambda: busy() == 0)
    hasty = client.with_options(timeout=0.2)
    expected = (openai.APITimeoutError, openai.InternalServerError)
    error = await raises(expected, lambda: hasty.chat.completions.create(messages=ASK, **LONG))
    # The gateway knows the timeout from a header and may be the first to say so.
    assert getattr(error, "status_code", 504) == 504, error
    until("no slot at work", lambda: busy() == 0, gap=UNDISTURBED_S)


async def a_stream_left_in_the_middle_frees_its_slot(client):
    until("no slot at work", lambda: busy() == 0)
    before = steps()
    stream = await settle(client.chat.completions.create(messages=ASK, stream=True, **LONG))
    seen = 0
    if hasattr(stream, "__aiter__"):
        async for _ in stream:
            seen += 1
            if seen == 5:
                break
    else:
        for _ in stream:
            seen += 1
            if seen == 5:
                break
    assert busy() == 1, f"{busy()} slots at work in the middle of one stream"
    await settle(stream.close())
    until("no slot at work", lambda: busy() == 0, seconds=3)
    assert steps() - before < LONG["max_tokens"] / 2, f"the engine made {steps() - before} steps for 5 tokens"


async def eight_streams_at_once_do_not_mix(async_client):
    async def ask(number, **more):
        messages = [{"role": "user", "content": f"Question {number}: what is {number} times {number}?"}]
        return await async_client.chat.completions.create(messages=messages, **SHORT, **more)

    alone = [(await ask(number)).choices[0].message.content for number in range(8)]

    async def streamed(number):
        return chat_text(await all_of(await ask(number, stream=True)))

    equal(await asyncio.gather(*[streamed(number) for number in range(8)]), alone, "texts")
    assert len(set(alone)) > 4, f"too few different texts to tell: {alone}"


def cases(kind):
    """The cases of this file for one kind of client, told by the name of their parameter."""
    names = ["client", "async_client"] if kind is openai.AsyncOpenAI else ["client"]
    own = [(name, f) for name, f in globals().items() if inspect.iscoroutinefunction(f)]
    return [(name, f) for name, f in own if list(inspect.signature(f).parameters) in [[n] for n in names]]


def run_case(kind, case):
    """A client of its own for each case: an async client lives in one event loop."""

    async def whole():
        client = client_of(kind)
        try:
            await case(client)
        finally:
            await settle(client.close())

    asyncio.run(whole())


def main():
    tally, only = Tally(), os.environ.get("E2E_ONLY", "")
    for kind, prefix in ((openai.OpenAI, "python"), (openai.AsyncOpenAI, "python_async")):
        for name, case in cases(kind):
            if only in f"{prefix}.{name}":
                run(tally, f"{prefix}.{name}", run_case, kind, case)
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
