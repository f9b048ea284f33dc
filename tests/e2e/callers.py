"""One chat, asked over HTTP/1.1 (http.client), HTTP/2 (h2) or gRPC (grpcio), and what the caller was told, in the same words.

A caller asks when it is made. `begun` waits for the first token of a stream, `told` for the end, `leave` goes away.
"""
import http.client
import json
import socket
from typing import NamedTuple
from urllib.parse import urlsplit

import grpc
import h2.config
import h2.connection
import h2.events

import wire
from stubs import error_details_pb2, pb, rpc, status_pb2

LIMIT_S = 60


class Ask(NamedTuple):
    """What is asked."""

    stream: bool
    prompt: str = "What is a queue?"
    max_tokens: int = 24
    endless: bool = False
    patience_s: float | None = None


class Answer(NamedTuple):
    text: str
    finish: str
    usage: tuple


class Error(NamedTuple):
    status: int
    code: str
    message: str
    retry: bool


def json_of(ask):
    more = {"max_tokens": ask.max_tokens, "ignore_eos": ask.endless, "stream": ask.stream}
    if ask.stream:
        more["stream_options"] = {"include_usage": True}
    return json.dumps(wire.chat_body(ask.prompt, **more)).encode()


def fields_of(ask):
    patience = {"x-stainless-read-timeout": str(ask.patience_s)} if ask.patience_s else {}
    return {"content-type": "application/json", **patience}


def told_by(status, retry_after, body):
    """What an HTTP answer says."""
    documents = wire.events(body) if body.startswith(b"data:") else [body]
    documents = [json.loads(document) for document in documents if document != b"[DONE]"]
    for document in documents:
        if "error" in document:
            error = document["error"]
            return Error(status, error["code"], error["message"], retry_after is not None)
    if body.startswith(b"data:"):
        assert body.rstrip().endswith(b"data: [DONE]"), f"the stream ended with {body[-100:]!r}"
    choices = [choice for document in documents for choice in document["choices"]]
    text = "".join(choice.get("delta", choice.get("message"))["content"] or "" for choice in choices if said(choice))
    (finish,) = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    usage = documents[-1]["usage"]
    return Answer(text, finish, (usage["prompt_tokens"], usage["completion_tokens"]))


def said(choice):
    return "content" in choice.get("delta", choice.get("message"))


class Http1:
    name = "HTTP/1.1"

    def __init__(self, url, ask):
        self.connection = wire.connect(url)
        self.connection.request("POST", "/v1/chat/completions", json_of(ask), fields_of(ask))
        self.reply, self.body = None, b""

    def begun(self):
        self.reply = self.connection.getresponse()
        while b'"content":"' not in self.body:
            line = self.reply.readline()
            assert line, f"no token in {self.body!r}"
            self.body += line

    def told(self):
        reply = self.reply or self.connection.getresponse()
        self.body += reply.read()
        self.connection.close()
        return told_by(reply.status, reply.headers["retry-after"], self.body)

    def leave(self):
        # http.client's answer holds the socket as well.
        if self.connection.sock:
            self.connection.sock.shutdown(socket.SHUT_RDWR)
        if self.reply:
            self.reply.close()
        self.connection.close()


class Http2:
    name = "HTTP/2"

    def __init__(self, url, ask):
        address = urlsplit(url)
        self.socket = socket.create_connection((address.hostname, address.port), timeout=LIMIT_S)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.stream, self.headers, self.body, self.ended = self.h2.get_next_available_stream_id(), {}, b"", False
        pseudo = {":method": "POST", ":path": "/v1/chat/completions", ":scheme": "http", ":authority": address.netloc}
        self.h2.send_headers(self.stream, list({**pseudo, **fields_of(ask)}.items()))
        body = json_of(ask)
        while body:
            size = min(self.h2.local_flow_control_window(self.stream), self.h2.max_outbound_frame_size, len(body))
            if not size:
                self.take_in()
                continue
            self.h2.send_data(self.stream, body[:size])
            body = body[size:]
        self.h2.end_stream(self.stream)
        self.flush()

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def take_in(self):
        self.flush()
        data = self.socket.recv(65_536)
        assert data, f"the connection ended after {self.headers} {self.body!r}"
        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                self.headers = dict(event.headers)
            elif isinstance(event, h2.events.DataReceived):
                self.body += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, self.stream)
            elif isinstance(event, h2.events.StreamEnded):
                self.ended = True
            assert not isinstance(event, h2.events.StreamReset), f"the stream was reset after {self.body!r}"
        self.flush()

    def begun(self):
        while b'"content":"' not in self.body:
            assert not self.ended, f"no token in {self.body!r}"
            self.take_in()

    def told(self):
        while not self.ended:
            self.take_in()
        self.socket.close()
        return told_by(int(self.headers[":status"]), self.headers.get("retry-after"), self.body)

    def leave(self):
        """Resets the stream; the connection stays until this object goes."""
        self.h2.reset_stream(self.stream, error_code=8)
        self.flush()


class Grpc:
    name = "gRPC"

    def __init__(self, url, ask):
        self.channel = grpc.insecure_channel(urlsplit(url).netloc)
        service, self.stream, self.pieces = rpc.InferenceServiceStub(self.channel), ask.stream, []
        message = pb.ChatMessage(role="user", content=pb.Content(text=ask.prompt))
        extra = json.dumps({"ignore_eos": ask.endless})
        request = pb.ChatRequest(model="tiny", messages=[message], temperature=0, max_tokens=ask.max_tokens, extra_json=extra)
        ask_for = service.ChatStream if ask.stream else service.Chat.future
        self.call = ask_for(request, timeout=ask.patience_s or LIMIT_S)

    def begun(self):
        self.pieces.append(next(self.call))

    def told(self):
        try:
            self.pieces += self.call if self.stream else [self.call.result()]
        except grpc.RpcError as error:
            return self.error(error)
        finally:
            self.channel.close()
        choices = [choice for piece in self.pieces for choice in piece.choices]
        text = "".join((choice.delta if self.stream else choice.message).content for choice in choices)
        (finish,) = [choice.finish_reason for choice in choices if choice.finish_reason]
        usage = self.pieces[-1].usage
        return Answer(text, finish, (usage.prompt_tokens, usage.completion_tokens))

    def error(self, error):
        metadata = dict(error.trailing_metadata() or ())
        if "grpc-status-details-bin" not in metadata:  # the library's own, such as that its clock ran out first
            return Error(0, error.code().name, error.details(), False)
        details = status_pb2.Status.FromString(metadata["grpc-status-details-bin"]).details
        info = error_details_pb2.ErrorInfo()
        assert any(detail.Unpack(info) for detail in details), details
        retry = any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in details)
        assert error.code() == CODES[int(info.metadata["http_status"])], error
        return Error(int(info.metadata["http_status"]), info.metadata["code"], error.details(), retry)

    def leave(self):
        self.call.cancel()


CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    502: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
FRONTS = (Http1, Http2, Grpc)
