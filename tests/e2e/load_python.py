#!/usr/bin/env python3
"""Requests without end through the Python SDK, until standard input closes: `load_python.py WORKERS TOKENS`.

Three of four are streams of TOKENS tokens, the fourth is a short plain request. Prints a JSON line when a stream's
first text arrives (`begun`) and when a request is over:
  finished      with a finish reason
  error_event   the stream ended with an error event
  broken        any other error: refused, wrong status, connection lost, timeout
  silent        the stream ended as if all were well, but without a finish reason
"""
import asyncio
import itertools
import json
import os
import sys

import openai

PLAIN_TOKENS = 24


def tell(number, state, begun, why=""):
    print(json.dumps({"id": number, "state": state, "begun": begun, "why": why[:300]}), flush=True)


def asked(number, tokens):
    content = f"Request {number}: tell me a story."
    return {
        "model": "tiny",
        "messages": [{"role": "user", "content": content}],
        "max_tokens": tokens,
        "temperature": 0,
        "extra_body": {"ignore_eos": True},
    }


async def plain(client, number):
    try:
        reply = await client.chat.completions.create(**asked(number, PLAIN_TOKENS))
        tell(number, "finished" if reply.choices[0].finish_reason else "silent", False)
    except openai.OpenAIError as error:
        tell(number, "broken", False, repr(error))


async def streamed(client, number, tokens):
    begun, finish = False, None
    try:
        async for chunk in await client.chat.completions.create(stream=True, **asked(number, tokens)):
            for choice in chunk.choices:
                if choice.delta.content and not begun:
                    begun = True
                    tell(number, "begun", True)
                finish = choice.finish_reason or finish
        tell(number, "finished" if finish else "silent", begun)
    except Exception as error:  # what the SDK raises for a lost connection is not always its own class
        # Exactly APIError is what the SDK makes of an error event; subclasses are statuses and lost connections.
        is_event = type(error) is openai.APIError and isinstance(error.body, dict)
        tell(number, "error_event" if is_event else "broken", begun, repr(error))


async def worker(client, numbers, tokens, stop):
    while not stop.is_set():
        number = next(numbers)
        if number % 4 == 3:
            await plain(client, number)
        else:
            await streamed(client, number, tokens)


async def main():
    workers, tokens = int(sys.argv[1]), int(sys.argv[2])
    stop, numbers = asyncio.Event(), itertools.count()
    base = os.environ["E2E_BASE_URL"] + "/v1"
    async with openai.AsyncOpenAI(base_url=base, api_key="sk-e2e", max_retries=0, timeout=30) as client:
        running = [asyncio.create_task(worker(client, numbers, tokens, stop)) for _ in range(workers)]
        await asyncio.to_thread(sys.stdin.read)
        stop.set()
        await asyncio.gather(*running)


asyncio.run(main())
