"""Plain HTTP as the tests need it: requests, server-sent events, and counters of an engine."""
import http.client
import json
import re
from urllib.parse import urlsplit

TIMEOUT_S = 60


def connect(base):
    """A connection that the caller may reuse."""
    address = urlsplit(base)
    return http.client.HTTPConnection(address.hostname, address.port, timeout=TIMEOUT_S)


def send(connection, method, path, body=None, headers=None):
    """One request on `connection`; returns status, headers and body."""
    if body is not None and not isinstance(body, (bytes, str)):
        body = json.dumps(body)
    connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
    reply = connection.getresponse()
    return reply.status, reply.headers, reply.read()


def get(base, path):
    """GET on a connection of its own."""
    connection = connect(base)
    try:
        return send(connection, "GET", path)
    finally:
        connection.close()


def post(base, path, body, headers=None):
    """POST on a connection of its own."""
    connection = connect(base)
    try:
        return send(connection, "POST", path, body, headers)
    finally:
        connection.close()


def chat_body(prompt, **more):
    """A chat request at temperature 0."""
    messages = [{"role": "user", "content": prompt}]
    return {"model": "tiny", "messages": messages, "temperature": 0, "max_tokens": 48, **more}


def completion_body(prompt, **more):
    """A request for the continuation of a text, at temperature 0."""
    return {"model": "tiny", "prompt": prompt, "temperature": 0, "max_tokens": 48, **more}


def events(body):
    """The data of each server-sent event, as bytes; comments are left out."""
    blocks = re.split(rb"\r?\n\r?\n", body)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith(b"data:")]
    return [line[len(b"data:"):].removeprefix(b" ") for line in lines]


def chunks(body):
    """The events of a stream as JSON; fails unless the stream ended with [DONE]."""
    found = events(body)
    assert found and found[-1] == b"[DONE]", f"stream ended with {found[-1:]!r}"
    return [json.loads(data) for data in found[:-1]]


def counter(base, name):
    """One of llama-server's own counters."""
    status, _, body = get(base, "/metrics")
    assert status == 200, f"metrics of {base}: {status}"
    found = re.search(rf"^llamacpp:{name} (\S+)$", body.decode(), re.MULTILINE)
    assert found, f"no counter {name} at {base}"
    return float(found.group(1))


def busy_slots(base):
    """The slots of a llama-server that are at work, each with the number of tokens written so far."""
    _, _, body = get(base, "/slots")
    busy = [slot for slot in json.loads(body) if slot["is_processing"]]
    return [slot.get("next_token", [{}])[0].get("n_decoded", 0) for slot in busy]
