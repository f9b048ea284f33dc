"""The gateway computes over an executor in another process, which is asked, left, killed and replaced."""
import json
import re
from concurrent.futures import ThreadPoolExecutor

import stack as stacks
import wire
from runner import equal, until

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
ENDLESS = {"ignore_eos": True, "stream": True, "max_tokens": 2000}


def gauge(stack, name):
    """One of the gateway's own numbers about the executor."""
    _, _, body = wire.get(stack.gateway.admin, "/metrics")
    found = re.search(rf'^{name}{{backend="executor"}} (\S+)$', body.decode(), re.MULTILINE)
    assert found, f"no {name}"
    return float(found.group(1))


def ask(stack, path, body):
    status, _, answer = wire.post(stack.url, path, body)
    equal(status, 200, f"status of {answer[:200]!r}")
    return answer


def complete(stack, prompt, **more):
    body = wire.completion_body(prompt, max_tokens=60, ignore_eos=True, **more)
    return json.loads(ask(stack, COMPLETIONS, body))["choices"][0]["text"]


def a_stream_says_what_the_plain_answer_says(stack):
    for path, body in [(CHAT, wire.chat_body("Hello")), (COMPLETIONS, wire.completion_body("Hello"))]:
        plain = json.loads(ask(stack, path, body))
        options = {"stream": True, "stream_options": {"include_usage": True}}
        streamed = wire.chunks(ask(stack, path, {**body, **options}))
        choices = [choice for chunk in streamed for choice in chunk["choices"]]
        text = "".join(c["text"] if path == COMPLETIONS else c["delta"].get("content") or "" for c in choices)
        said = plain["choices"][0]
        equal(text, said["text"] if path == COMPLETIONS else said["message"]["content"], "text")
        assert len(text) > 10, f"hardly anything was said: {text!r}"
        equal(choices[-1]["finish_reason"], said["finish_reason"], "finish reason")
        for field in ("prompt_tokens", "completion_tokens"):
            equal(streamed[-1]["usage"][field], plain["usage"][field], field)


def a_chat_whose_answer_has_begun_goes_on_where_it_ends(stack):
    body = wire.chat_body("Hello", max_tokens=60, ignore_eos=True)
    streamed = wire.chunks(ask(stack, CHAT, {**body, "stream": True}))
    told = [choice["delta"].get("content") or "" for chunk in streamed for choice in chunk["choices"]]
    begun = "".join(told[: len(told) // 2])
    messages = [*body["messages"], {"role": "assistant", "content": begun}]
    more = {"messages": messages, "continue_final_message": True, "add_generation_prompt": False}
    rest = json.loads(ask(stack, CHAT, {**body, **more}))["choices"][0]["message"]["content"]
    assert begun and rest.startswith("".join(told[len(told) // 2 :])), f"{rest!r} is no end of {told}"


def many_at_once_say_what_each_says_alone(stack):
    beginning = "What a long beginning this is, shared by all of them. "
    prompts = [f"{beginning}{index}" for index in range(24)]
    alone = [complete(stack, prompt) for prompt in prompts]
    with ThreadPoolExecutor(len(prompts)) as pool:
        equal(list(pool.map(lambda prompt: complete(stack, prompt), prompts)), alone, "texts")
    assert len(set(alone)) > 12, "the prompts do not matter"
    assert gauge(stack, "plimsoll_step_prefix_tokens_total") > 0, "nothing was shared"


def a_seed_decides_what_is_said(stack):
    draws = [complete(stack, "Hello", temperature=1, seed=seed) for seed in (7, 7, 8)]
    equal(draws[0], draws[1], "text of the same seed")
    assert draws[0] != draws[2], "the seed does not matter"


def a_stop_string_ends_the_text(stack):
    whole = complete(stack, "Stop")
    equal(complete(stack, "Stop", stop=[whole[10:14]]), whole[: whole.find(whole[10:14])], "text")


def what_the_model_cannot_take_is_refused(stack):
    for prompt, code in [("x" * 3000, "context_length_exceeded"), ([5000], "invalid_request")]:
        status, _, body = wire.post(stack.url, COMPLETIONS, wire.completion_body(prompt))
        equal((status, json.loads(body)["error"]["code"]), (400, code), f"answer {body!r}")


def open_stream(url):
    """A stream whose first tokens have come."""
    connection = wire.connect(url)
    body = json.dumps(wire.chat_body("Go on", **ENDLESS))
    connection.request("POST", CHAT, body, {"Content-Type": "application/json"})
    reply = connection.getresponse()
    equal(reply.status, 200, "status")
    reply.read(200)
    return connection, reply


def who_leaves_frees_the_memory(stack):
    connection, reply = open_stream(stack.url)
    assert gauge(stack, "plimsoll_step_kv_use_ratio") > 0, "nothing is held"
    reply.close()
    connection.close()
    until("memory is free", lambda: gauge(stack, "plimsoll_step_kv_use_ratio") == 0)


def the_node_tells_its_load_as_vllm_does(stack):
    def tells(name):
        status, _, body = wire.get(stack.url, "/metrics")
        equal(status, 200, "status of /metrics")
        return float(re.search(rf'^vllm:{name}{{.*model_name="tiny"}} (\S+)$', body.decode(), re.MULTILINE)[1])

    connection, reply = open_stream(stack.url)
    until("it runs", lambda: tells("num_requests_running") == 1)
    equal(tells("num_requests_waiting"), 0.0, "requests that wait")
    assert 0 < tells("kv_cache_usage_perc") < 1, "no memory is held"
    reply.close()
    connection.close()
    until("nothing runs", lambda: tells("num_requests_running") == 0)
    equal(wire.get(stack.url, "/health")[0], 200, "health")


def an_executor_that_is_killed_ends_streams_with_an_error_and_comes_back(stack):
    before = complete(stack, "Hello")
    connection, reply = open_stream(stack.url)
    stack.executor.kill()
    last = wire.events(reply.read())[-1]
    assert b'"error"' in last, f"the stream ended with {last!r}"
    connection.close()
    status, _, body = wire.post(stack.url, COMPLETIONS, wire.completion_body("Hello"))
    assert status in (502, 503), f"{status} {body!r}"
    equal(wire.get(stack.url, "/health")[0], 503, "health")
    stack.executor.start()
    until("it is well again", lambda: wire.get(stack.url, "/health")[0] == 200, seconds=30)
    asked = wire.completion_body("Hello", max_tokens=60, ignore_eos=True)
    until("it serves again", lambda: wire.post(stack.url, COMPLETIONS, asked)[0] == 200, seconds=60)
    equal(complete(stack, "Hello"), before, "text of the executor that came back")


def an_executor_of_another_version_is_refused_in_words(stack):
    other = stacks.Executor(stack.folder, "--version", "2", name="newer")
    try:
        other.wait_to_listen()
        gateway = stacks.Gateway(stack.binary, [other], stack.folder, name="gateway-newer")
        try:
            gateway.wait_for(gateway.admin, "/livez")
            status, _, body = wire.post(gateway.url, COMPLETIONS, wire.completion_body("Hello"))
            assert status in (502, 503), f"{status} {body!r}"
            log = gateway.log.read_text()
            assert "another version of engine.proto" in log and "speaks version 2, not 1" in log, log
        finally:
            gateway.end()
    finally:
        other.end()
