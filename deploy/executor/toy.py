#!/usr/bin/env python3
"""An executor for Plimsoll whose model is a toy: what `engine.proto` wants of one, to read and to test against.

    toy.py unix:/run/toy.sock        # or 127.0.0.1:7000

It needs grpcio and the stubs of plimsoll/v1/engine.proto on PYTHONPATH. A token is a byte. The next one is decided by all
before it, as they stand in blocks of memory: a wrong block, position or sequence changes the text.
"""
import argparse
import json
import time
from concurrent import futures

import grpc
from plimsoll.v1 import engine_pb2 as pb
from plimsoll.v1 import engine_pb2_grpc as rpc

VERSION = 1
CONTEXT, BLOCK, BLOCKS = 2048, 16, 1024
END = 256  # the token that says that all has been said; it has no text
WORDS = ["the ", "line ", "of ", "a ", "ship ", "is ", "drawn ", "where ", "water ", "meets ", "steel. "]


class Toy:
    """The model: memory, and what follows from it."""

    def __init__(self, pause):
        self.pause = pause
        self.memory = [[0] * BLOCK for _ in range(BLOCKS)]
        self.sequences = set()

    def read(self, prompt):
        """The tokens of a prompt, or why there are none."""
        kind = prompt.WhichOneof("prompt")
        if kind == "tokens":
            wrong = [token for token in prompt.tokens.ids if token > END]
            return prompt.tokens.ids, f"{wrong[0]} is no token of this model" if wrong else ""
        text = prompt.text if kind == "text" else self.template(json.loads(prompt.chat_json))
        return list(text.encode()), ""

    def template(self, body):
        """A conversation as a text."""
        turns = []
        for message in body["messages"]:
            content = message.get("content") or ""
            if not isinstance(content, str):
                content = "".join(part.get("text", "") for part in content)
            turns.append(f"<{message['role']}>{content}\n")
        if body.get("continue_final_message"):
            return "".join(turns)[:-1]
        return "".join(turns) + "<assistant>"

    def compute(self, piece):
        """Writes tokens into memory; gives what follows them, if that is wanted."""
        self.sequences.add(piece.sequence)
        for position, token in enumerate(piece.tokens, piece.position):
            self.memory[piece.blocks[position // BLOCK]][position % BLOCK] = token
        if not piece.writes:
            return None
        length = piece.position + len(piece.tokens)
        tokens = [self.memory[piece.blocks[at // BLOCK]][at % BLOCK] for at in range(length)]
        return self.follows(tokens, piece.sampling)

    def follows(self, tokens, sampling):
        """The next byte of a text of words, the next word being decided by all that was said."""
        said = bytes(token for token in tokens if token < END)
        last = max((said.rfind(mark) for mark in (b">", b" ")), default=-1)
        before, begun = said[: last + 1], said[last + 1 :].decode(errors="replace")
        number = sampling.seed if sampling.temperature > 0 else 0
        for byte in before:
            number = (number * 31 + byte) % 1_000_003
        word = WORDS[number % len(WORDS)]
        if number % 97 == 0 and not begun and tokens[-1] != END:
            return pb.ExecutorToken(id=END, end=True)
        byte = (word[len(begun):] if word.startswith(begun) else "")[:1].encode() or b" "
        return pb.ExecutorToken(id=byte[0], text=byte)

    def step(self, step):
        """All pieces, and the tokens that follow those which want one."""
        began = time.monotonic()
        tokens = [self.compute(piece) for piece in step.pieces]
        time.sleep(self.pause)
        micros = int((time.monotonic() - began) * 1e6)
        return pb.ExecutorStepped(tokens=[token for token in tokens if token], micros=micros)


class Executor(rpc.ExecutorServiceServicer):
    """The protocol: one call at a time, each request answered once and in order."""

    def __init__(self, options):
        self.options = options

    def Steps(self, requests, context):
        toy = None
        for request in requests:
            ask = request.WhichOneof("ask")
            if ask == "hello":
                if request.hello.version != self.options.version:
                    why = f"this executor speaks version {self.options.version}, not {request.hello.version}"
                    context.abort(grpc.StatusCode.FAILED_PRECONDITION, why)
                toy = Toy(self.options.pause_ms / 1000)
                answer = {"welcome": self.welcome()}
            elif toy is None:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a call begins with a hello")
            elif ask == "prompt":
                toy.sequences.difference_update(request.forget)
                ids, refusal = toy.read(request.prompt)
                answer = {"tokens": pb.ExecutorTokens(ids=[] if refusal else ids, refusal=refusal)}
            elif ask == "step":
                toy.sequences.difference_update(request.forget)
                answer = {"stepped": toy.step(request.step)}
            else:
                context.abort(grpc.StatusCode.UNIMPLEMENTED, "nothing that this executor knows is asked")
            yield pb.StepsResponse(load=pb.ExecutorLoad(sequences=len(toy.sequences)), **answer)

    def welcome(self):
        return pb.ExecutorWelcome(
            version=self.options.version, model=self.options.model, context_tokens=CONTEXT, step_tokens=512,
            chunk_tokens=128, sequences=32, kv_blocks=BLOCKS, block_tokens=BLOCK, paged=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("listen", help="unix:/path or host:port")
    parser.add_argument("--model", default="toy")
    parser.add_argument("--version", type=int, default=VERSION, help="the version to speak, to see it refused")
    parser.add_argument("--pause-ms", type=float, default=0, help="how much longer each step takes")
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    options = parser.parse_args()
    rpc.add_ExecutorServiceServicer_to_server(Executor(options), server)
    if not server.add_insecure_port(options.listen):
        parser.error(f"cannot listen at {options.listen}")
    server.start()
    print(f"{options.model} at {options.listen}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
