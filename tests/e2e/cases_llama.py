"""llama.cpp in the gateway's own process says what llama-server says, alone and among many, and what is left is let go."""
import base64
import json
import random
import re
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import stack as stacks
import wire
from runner import equal, until

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
WORDS = "The gateway takes a request and the router counts every token while ship harbour wind cargo night".split()
STOPS = [" and", " the", ".", " while this", "zzz"]
ENDLESS = {"ignore_eos": True, "stream": True, "max_tokens": 1500}


class Asked(NamedTuple):
    """A request, and after how many events its caller leaves, if he does; before any with 0."""

    path: str
    body: dict
    leaves: int | None


class Said(NamedTuple):
    """What came of a request. One whose caller has left has a text so far."""

    text: str
    finish: str | None
    usage: tuple | None


def phrase(draw, longest):
    text = " ".join(draw.choices(WORDS, k=draw.randint(1, longest)))
    return text + draw.choice(["", ".", "?", " Zażółć 🚢", "\n\n"])


def mixed(count):
    """Requests of all sorts: chats and completions, short and long, streamed and not, a sixth of them left."""
    draw, asked = random.Random(5), []
    for _ in range(count):
        more = {"max_tokens": draw.choice([1, 2, 8, 24, 48, 96]), "cache_prompt": draw.random() < 0.8}
        if draw.random() < 0.2:
            more["ignore_eos"] = True
        if draw.random() < 0.25:
            more["stop"] = draw.sample(STOPS, draw.randint(1, 2))
        leaves = draw.choice([0, 1, 3, 7]) if draw.random() < 1 / 6 else None
        more["stream"] = bool(leaves) or draw.random() < 0.5
        longest = draw.choice([3, 12, 150])
        if draw.random() < 0.5:
            turns = [draw.choice(["user", "user", "assistant", "system"]) for _ in range(draw.choice([0, 0, 2, 5]))]
            messages = [{"role": role, "content": phrase(draw, longest)} for role in [*turns, "user"]]
            if draw.random() < 0.2:
                parts = [{"type": "text", "text": phrase(draw, 4)} for _ in range(2)]
                messages[-1]["content"] = parts
            asked.append(Asked(CHAT, wire.chat_body("", **more) | {"messages": messages}, leaves))
        else:
            tokens = [draw.randint(0, 255) for _ in range(draw.randint(1, 40))]
            prompt = tokens if draw.random() < 0.15 else phrase(draw, longest)
            asked.append(Asked(COMPLETIONS, wire.completion_body(prompt, **more), leaves))
    return asked


def text_of(path, choice, streamed):
    if path == COMPLETIONS:
        return choice.get("text") or ""
    return (choice["delta"] if streamed else choice["message"]).get("content") or ""


def usage_of(usage):
    return usage["prompt_tokens"], usage["completion_tokens"]


def whole(base, asked):
    """The answer to one who stays."""
    body = asked.body | ({"stream_options": {"include_usage": True}} if asked.body["stream"] else {})
    status, _, answer = wire.post(base, asked.path, body)
    equal(status, 200, f"status of {answer[:200]!r}")
    if not asked.body["stream"]:
        said = json.loads(answer)
        choice = said["choices"][0]
        return Said(text_of(asked.path, choice, False), choice["finish_reason"], usage_of(said["usage"]))
    chunks = wire.chunks(answer)
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    text = "".join(text_of(asked.path, choice, True) for choice in choices)
    return Said(text, choices[-1]["finish_reason"], usage_of(chunks[-1]["usage"]))


def left(base, asked):
    """What one reads who leaves in the middle."""
    connection = wire.connect(base)
    connection.request("POST", asked.path, json.dumps(asked.body), {"Content-Type": "application/json"})
    text, events = "", 0
    if asked.leaves:
        reply = connection.getresponse()
        equal(reply.status, 200, "status")
        while events < asked.leaves and (line := reply.readline()):
            if line.startswith(b"data: {"):
                choices = json.loads(line[len(b"data: "):])["choices"]
                text += "".join(text_of(asked.path, choice, True) for choice in choices)
                events += 1
        reply.close()
    connection.close()
    return Said(text, None, None)


def ask(base, asked):
    return whole(base, asked) if asked.leaves is None else left(base, asked)


def two_hundred_mixed_requests_are_answered_as_by_llama_server(stack):
    asked = mixed(200)
    stay = [each._replace(leaves=None) for each in asked]
    with ThreadPoolExecutor(24) as pool:
        expected = list(pool.map(lambda each: ask(stack.engine.url, each), stay))
        found = list(pool.map(lambda each: ask(stack.url, each), asked))
    different = []
    for each, ours, theirs in zip(asked, found, expected):
        same = ours == theirs if each.leaves is None else theirs.text.startswith(ours.text)
        if not same:
            different.append((each, ours, theirs))
    assert not different, f"{len(different)} of {len(asked)} differ, such as {different[0]}"
    assert len({each.text for each in expected}) > 100, "the prompts do not matter"
    assert sum(1 for each in asked if each.leaves is not None) > 20, "hardly anybody leaves"


def running(base):
    status, _, body = wire.get(base, "/metrics")
    equal(status, 200, "status of /metrics")
    return float(re.search(r'^vllm:num_requests_running{.*model_name="tiny"} (\S+)$', body.decode(), re.MULTILINE)[1])


def who_leaves_frees_the_slot(stack):
    body = json.dumps(wire.chat_body("Go on", **ENDLESS))
    connections = []
    for _ in range(stacks.LlamaStack.SLOTS):
        connection = wire.connect(stack.url)
        connection.request("POST", CHAT, body, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        reply.readline()
        connections.append((connection, reply))
    until("all run", lambda: running(stack.url) == len(connections))
    for connection, reply in connections:
        reply.close()
        connection.close()
    until("nothing runs", lambda: running(stack.url) == 0)


def complete(stack, prompt, **more):
    body = wire.completion_body(prompt, **{"max_tokens": 60, "ignore_eos": True, **more})
    status, _, answer = wire.post(stack.url, COMPLETIONS, body)
    equal(status, 200, f"status of {answer[:200]!r}")
    return json.loads(answer)["choices"][0]["text"]


def a_seed_decides_what_is_said_whoever_else_is_there(stack):
    draw = {"temperature": 1.5, "seed": 7}
    alone = complete(stack, "The gateway", **draw)
    with ThreadPoolExecutor(8) as pool:
        others = [pool.submit(complete, stack, f"Other {index}", temperature=1) for index in range(7)]
        equal(complete(stack, "The gateway", **draw), alone, "text of the same seed")
        assert len({other.result() for other in others}) > 3, "nothing is drawn"
    assert complete(stack, "The gateway", temperature=1.5, seed=8) != alone, "the seed does not matter"
    greedy = complete(stack, "The gateway")
    equal(complete(stack, "The gateway", temperature=1.5, top_k=1), greedy, "the likeliest one of one")
    equal(complete(stack, "The gateway", temperature=1.5, top_p=0), greedy, "the likeliest share of none")


def whole_answer(base, path, body):
    status, _, answer = wire.post(base, path, body)
    equal(status, 200, f"status of {answer[:200]!r}")
    return json.loads(answer)


def a_conversation_goes_on_from_where_it_was(stack):
    body = wire.chat_body("A long beginning of a conversation. " * 8)
    first = whole_answer(stack.url, CHAT, body)
    equal(first["usage"]["prompt_tokens_details"]["cached_tokens"], 0, "cached tokens")
    turns = [*body["messages"], first["choices"][0]["message"], {"role": "user", "content": "And then?"}]
    turns[1] = {key: turns[1][key] for key in ("role", "content")}
    second = whole_answer(stack.url, CHAT, body | {"messages": turns})
    # All of the first prompt but what asks for the answer.
    cached = second["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert cached >= first["usage"]["prompt_tokens"] - 4, f"{cached} of {first['usage']}"
    fresh = whole_answer(stack.engine.url, CHAT, body | {"messages": turns, "cache_prompt": False})
    equal(second["choices"][0]["message"]["content"], fresh["choices"][0]["message"]["content"], "text")


def it_tells_how_likely_each_token_was_as_llama_server_does(stack):
    body = wire.chat_body("Hello", logprobs=True, top_logprobs=3)
    ours, theirs = (whole_answer(base, CHAT, body) for base in (stack.url, stack.engine.url))
    pairs = list(zip(*(answer["choices"][0]["logprobs"]["content"] for answer in (ours, theirs)), strict=True))
    assert len(pairs) > 5, "hardly anything was said"
    for one, other in pairs:
        equal(one["token"], other["token"], "token")
        equal(one["bytes"], other["bytes"], "bytes")
        equal([each["token"] for each in one["top_logprobs"]], [each["token"] for each in other["top_logprobs"]], "others")
        far = max(abs(a["logprob"] - b["logprob"]) for a, b in zip(one["top_logprobs"], other["top_logprobs"]))
        assert far < 1e-3, f"{one} {other}"
    said = whole_answer(stack.url, COMPLETIONS, wire.completion_body("Hello", logprobs=2, max_tokens=9))["choices"][0]
    equal("".join(said["logprobs"]["tokens"]), said["text"], "tokens")
    equal([len(each) for each in said["logprobs"]["top_logprobs"]], [2] * len(said["logprobs"]["tokens"]), "others")


def vectors(base, texts, **more):
    data = whole_answer(base, "/v1/embeddings", {"model": "tiny", "input": texts, **more})["data"]
    equal([item["index"] for item in data], list(range(len(texts))), "order")
    return [item["embedding"] for item in data]


def texts_become_the_vectors_that_llama_server_makes(stack):
    draw = random.Random(3)
    texts = [phrase(draw, longest) for longest in (1, 3, 12, 40) * 6]
    ours = vectors(stack.url, texts)
    # One after the other: of texts that come together llama-server makes other vectors, with several slots.
    theirs = [vectors(stack.engine.url, [text])[0] for text in texts]
    far = max(abs(a - b) for one, other in zip(ours, theirs, strict=True) for a, b in zip(one, other, strict=True))
    assert far < 1e-5, f"numbers differ by {far}"
    with ThreadPoolExecutor(8) as pool:
        together = [vector for (vector,) in pool.map(lambda text: vectors(stack.url, [text]), texts)]
        far = max(abs(a - b) for one, other in zip(ours, together) for a, b in zip(one, other))
    assert far < 1e-5, f"numbers of texts that came together differ by {far}"
    binary = vectors(stack.url, texts[:1], encoding_format="base64")[0]
    floats = struct.unpack(f"<{len(ours[0])}f", base64.b64decode(binary))
    assert max(abs(a - b) for a, b in zip(ours[0], floats)) < 1e-6, "base64 says something else"


def what_does_not_fit_is_refused(stack):
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]
    asked = [
        (COMPLETIONS, wire.completion_body("x" * 3000), "context_length_exceeded", "2048"),
        (COMPLETIONS, wire.completion_body([5000]), "invalid_request", "5000 is no token of this model"),
        (CHAT, wire.chat_body("") | {"messages": image}, "invalid_request", "reads text and nothing else"),
    ]
    for path, body, code, words in asked:
        status, _, answer = wire.post(stack.url, path, body)
        error = json.loads(answer)["error"]
        equal((status, error["code"]), (400, code), f"answer {answer!r}")
        assert words in error["message"], error


def started(stack, engine):
    """How the binary ends that is to serve `engine`, and what it says."""
    command = [stack.node.command[0], "serve", "--engine", f"llama={engine}", "--listen", "127.0.0.1:0"]
    done = subprocess.run([*command, "--admin", "127.0.0.1:0"], capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stderr


def what_cannot_be_loaded_is_said_at_once(stack):
    nothing = stack.folder / "nothing.gguf"
    text = stack.folder / "text.gguf"
    text.write_text("no model")
    for engine, words in [
        (nothing, "No such file"),
        (text, "is no GGUF file"),
        (f"{stacks.MODEL_FILE}?slots=0", "slots"),
        (f"{stacks.MODEL_FILE}?slot=1", "is not an option; there are name, slots"),
    ]:
        status, said = started(stack, engine)
        assert status == 2 and words in said, f"{engine}: {status} {said}"


def what_shows_only_when_it_is_loaded_is_in_the_log(stack):
    cut = stack.folder / "cut.gguf"
    whole_model = stacks.MODEL_FILE.read_bytes()
    cut.write_bytes(whole_model[: len(whole_model) // 2])
    node = stacks.Node(stack.node.command[0], "slots=1&context=256", stack.folder, cut, "node-cut")
    much = stacks.Node(stack.node.command[0], "slots=16&context=1048576", stack.folder, name="node-much")
    try:
        for each, words in [(node, "corrupted or incomplete"), (much, "lower slots or context")]:
            until("it serves", lambda each=each: stacks.answers(each.admin, "/livez"))
            until("the log says why", lambda each=each, words=words: words in each.log.read_text())
            equal(wire.get(each.url, "/health")[0], 503, "health")
            equal(each.log.read_text().count("ERROR"), 1, "errors in the log")
        whole_file = stack.folder / "whole.gguf"
        whole_file.write_bytes(whole_model)
        whole_file.rename(cut)
        until("it is loaded after all", lambda: wire.get(node.url, "/health")[0] == 200)
    finally:
        node.end()
        much.end()


def a_chat_whose_answer_has_begun_goes_on_where_it_ends(stack):
    body = wire.chat_body("Hello", max_tokens=60, ignore_eos=True)
    streamed = wire.chunks(wire.post(stack.url, CHAT, {**body, "stream": True})[2])
    told = [choice["delta"].get("content") or "" for chunk in streamed for choice in chunk["choices"]]
    begun = "".join(told[: len(told) // 2])
    messages = [*body["messages"], {"role": "assistant", "content": begun}]
    more = {"messages": messages, "continue_final_message": True, "add_generation_prompt": False}
    rest = json.loads(wire.post(stack.url, CHAT, {**body, **more})[2])["choices"][0]["message"]["content"]
    assert begun and rest.startswith("".join(told[len(told) // 2 :])), f"{rest!r} is no end of {told}"
