"""gRPC as `buf` speaks it: the files in `proto/` pass its rules, and reflection is enough to call by."""
import json
import subprocess

from runner import Skip, equal
from stack import HERE, SDK_NODE

BUF = SDK_NODE / "node_modules/.bin/buf"
PROTO = HERE.parent.parent / "proto"


def buf(*arguments):
    if not BUF.exists():
        raise Skip("buf is not installed (run prepare.sh)")
    done = subprocess.run([BUF, *arguments], cwd=PROTO, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr or done.stdout
    return done.stdout


def curl(stack, method, request):
    """The messages of an answer, with types known by reflection alone."""
    target = f"{stack.url}/plimsoll.v1.InferenceService/{method}"
    out = buf("curl", "--protocol", "grpc", "--http2-prior-knowledge", "-d", json.dumps(request), target)
    messages, decoder, rest = [], json.JSONDecoder(), out.strip()
    while rest:
        message, end = decoder.raw_decode(rest)
        messages.append(message)
        rest = rest[end:].strip()
    return messages


def ask(**more):
    content = {"text": "What does a gateway do?"}
    return {"model": "tiny", "messages": [{"role": "user", "content": content}], "temperature": 0, "maxTokens": 16, **more}


def proto_passes_buf_lint(stack):
    equal(buf("lint"), "", "findings of buf lint")


def reflection_lists_the_methods(stack):
    methods = buf("curl", "--protocol", "grpc", "--http2-prior-knowledge", "--list-methods", stack.url).split()
    for method in ("InferenceService/Chat", "InferenceService/ChatStream", "InferenceService/Embed"):
        assert f"plimsoll.v1.{method}" in methods, methods


def a_stream_by_reflection_says_what_the_plain_answer_says(stack):
    (plain,) = curl(stack, "Chat", ask())
    pieces = curl(stack, "ChatStream", ask())
    text = "".join(c["delta"].get("content", "") for piece in pieces for c in piece.get("choices", []) if "delta" in c)
    equal(text, plain["choices"][0]["message"]["content"], "text")
    equal(pieces[-1]["usage"]["completionTokens"], plain["usage"]["completionTokens"], "usage in the last message")
    assert all("usage" not in piece for piece in pieces[:-1])
