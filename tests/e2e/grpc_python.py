#!/usr/bin/env python3
"""grpcio and grpcio-health-checking against the gateway, with stubs that grpcio-tools makes from `proto/`.

Started by run.py under the SDK's interpreter, with the environment of sdk_python.py and
  E2E_RELAY_URL  a gateway that asks the other one over gRPC
"""
import inspect
import io
import json
import os
import re
import sys
from contextlib import redirect_stdout
from urllib.parse import urlsplit

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

import wire
from runner import Tally, equal, run, until
from stubs import PROTO, pb, rpc

HTTP = os.environ["E2E_BASE_URL"]
RELAY = os.environ["E2E_RELAY_URL"]
ENGINES = os.environ["E2E_ENGINES"].split(",")
PROMPTS = ["Hello", "What is a queue?", "Zażółć gęślą jaźń 🚢\n\"quoted\"\\"]
LIMIT_S = 60


def target(url):
    return urlsplit(url).netloc


def service(url=HTTP, **options):
    return rpc.InferenceServiceStub(grpc.insecure_channel(target(url), **options))


def chat(prompt, **more):
    message = pb.ChatMessage(role="user", content=pb.Content(text=prompt))
    return pb.ChatRequest(model="tiny", messages=[message], temperature=0, **{"max_tokens": 24, **more})


def busy():
    return sum(len(wire.busy_slots(engine)) for engine in ENGINES)


def of_http(url, prompt):
    """Text, finish reason and usage over HTTP."""
    status, _, body = wire.post(url, "/v1/chat/completions", wire.chat_body(prompt, max_tokens=24))
    equal(status, 200, "status")
    answer = json.loads(body)
    choice, usage = answer["choices"][0], answer["usage"]
    return choice["message"]["content"], choice["finish_reason"], usage["prompt_tokens"], usage["completion_tokens"]


def of_plain(url, prompt):
    answer = service(url).Chat(chat(prompt), timeout=LIMIT_S)
    choice, usage = answer.choices[0], answer.usage
    return choice.message.content, choice.finish_reason, usage.prompt_tokens, usage.completion_tokens


def of_stream(url, prompt):
    pieces = list(service(url).ChatStream(chat(prompt), timeout=LIMIT_S))
    text = "".join(choice.delta.content for piece in pieces for choice in piece.choices)
    (finish,) = [c.finish_reason for piece in pieces for c in piece.choices if c.finish_reason]
    assert not any(piece.HasField("usage") for piece in pieces[:-1]), "usage before the last message"
    usage = pieces[-1].usage
    return text, finish, usage.prompt_tokens, usage.completion_tokens


def a_chat_says_the_same_by_every_protocol_through_one_gateway_and_two():
    for prompt in PROMPTS:
        expected = of_http(HTTP, prompt)
        for url in (HTTP, RELAY):
            equal(of_http(url, prompt), expected, f"HTTP at {url}")
            equal(of_plain(url, prompt), expected, f"gRPC at {url}")
            equal(of_stream(url, prompt), expected, f"a stream at {url}")


def a_completion_and_its_stream_say_the_same():
    request = pb.CompleteRequest(model="tiny", prompt=pb.TextsOrTokens(text="Once"), temperature=0, max_tokens=16)
    plain = service().Complete(request, timeout=LIMIT_S)
    pieces = list(service(RELAY).CompleteStream(request, timeout=LIMIT_S))
    text = "".join(choice.text for piece in pieces for choice in piece.choices)
    equal(text, plain.choices[0].text, "text")
    equal(pieces[-1].usage.completion_tokens, plain.usage.completion_tokens, "usage")


def embeddings_are_the_same_numbers():
    texts = pb.TextsOrTokens(texts=pb.Texts(values=["a", "b"]))
    by_grpc = service(RELAY).Embed(pb.EmbedRequest(model="tiny", input=texts), timeout=LIMIT_S)
    body = {"model": "tiny", "input": ["a", "b"], "encoding_format": "float"}
    data = json.loads(wire.post(HTTP, "/v1/embeddings", body)[2])["data"]
    for ours, theirs in zip(by_grpc.data, data, strict=True):
        gaps = [abs(a - b) for a, b in zip(ours.embedding.floats.values, theirs["embedding"], strict=True)]
        assert max(gaps) < 1e-6, max(gaps)


def members_that_are_not_typed_reach_the_engine():
    plain = service().Chat(chat("Hello", max_tokens=5, extra_json='{"ignore_eos": true}'), timeout=LIMIT_S)
    equal((plain.choices[0].finish_reason, plain.usage.completion_tokens), ("length", 5))


def failure_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("no error")


def errors_are_statuses_with_details():
    for url in (HTTP, RELAY):
        error = failure_of(lambda: service(url).Chat(pb.ChatRequest(model="none"), timeout=LIMIT_S))
        equal(error.code(), grpc.StatusCode.NOT_FOUND)
        assert "none" in error.details(), error.details()
        details = dict(error.trailing_metadata())["grpc-status-details-bin"]
        assert b"google.rpc.ErrorInfo" in details and b"MODEL_NOT_FOUND" in details, details
    error = failure_of(lambda: service().Chat(chat("a" * 40_000), timeout=LIMIT_S))
    equal(error.code(), grpc.StatusCode.INVALID_ARGUMENT)


def a_deadline_ends_the_call_and_frees_the_engine():
    for url in (HTTP, RELAY):
        long = chat("Go on", max_tokens=3_500, extra_json='{"ignore_eos": true}')
        error = failure_of(lambda: list(service(url).ChatStream(long, timeout=0.5)))
        equal(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        until("the slots to be free", lambda: busy() == 0)


def a_caller_that_cancels_frees_the_engine():
    for url in (HTTP, RELAY):
        stream = service(url).ChatStream(chat("Go on", max_tokens=3_500, extra_json='{"ignore_eos": true}'))
        next(stream)
        stream.cancel()
        until("the slots to be free", lambda: busy() == 0)


def compressed_requests_are_understood():
    answer = service(compression=grpc.Compression.Gzip).Chat(chat("Hello " * 50), timeout=LIMIT_S)
    assert answer.choices[0].message.content


def models_are_listed():
    for url in (HTTP, RELAY):
        equal([model.id for model in service(url).Models(pb.ModelsRequest(), timeout=LIMIT_S).data], ["tiny"])


def the_official_health_check_is_answered():
    health = health_pb2_grpc.HealthStub(grpc.insecure_channel(target(HTTP)))
    for name in ("", "plimsoll.v1.InferenceService", "plimsoll.v1.InferenceService/tiny"):
        status = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=LIMIT_S).status
        equal(status, health_pb2.HealthCheckResponse.SERVING, name)
    watch = health.Watch(health_pb2.HealthCheckRequest())
    equal(next(watch).status, health_pb2.HealthCheckResponse.SERVING)
    watch.cancel()
    unknown = failure_of(lambda: health.Check(health_pb2.HealthCheckRequest(service="no"), timeout=LIMIT_S))
    equal(unknown.code(), grpc.StatusCode.NOT_FOUND)


def the_caller_of_the_readme_runs():
    (code,) = re.findall(r"```python\n(.*?)```", (PROTO / "README.md").read_text(), re.S)
    code = code.replace("localhost:8080", target(HTTP)).replace("sim-chat", "tiny")
    said = io.StringIO()
    with redirect_stdout(said):
        exec(compile(code, "proto/README.md", "exec"), {"__name__": "__main__"})
    assert "tokens" in said.getvalue(), said.getvalue()


def main():
    tally, only = Tally(), os.environ.get("E2E_ONLY", "")
    skipped = {"main", "target", "service", "chat", "busy", "of_http", "of_plain", "of_stream", "failure_of"}
    cases = [f for n, f in list(globals().items()) if inspect.isfunction(f) and f.__module__ == __name__ and n not in skipped]
    for case in cases:
        name = f"grpc_python.{case.__name__}"
        if only in name:
            run(tally, name, case)
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
