"""A dialect of its own, as somebody outside the package would write it: numbered words, and a word that ends.

`POST …/toy` with `{"ask": …, "stream": true}` is answered with events such as `{"n": 1, "say": "Hello"}`, with `think` in
place of `say` for reasoning, and `{"n": 7, "end": true}` as the last one.
"""

from __future__ import annotations

import json

from everytoken.dialects.pieces import MAIN, Chunk, Piece
from everytoken.errors import ErrorEventError, InvalidRequestError, TruncatedError

KINDS = {"say": "text", "think": "reasoning"}


class Request:
    dialect, model, seed = "toy", "", None
    shows_usage = needs_non_streaming = has_tools = has_grammar = reasons = False
    obstacle, stream_id = None, ""

    def __init__(self, body):
        if "ask" not in body:
            raise InvalidRequestError("'ask' is required", param="ask")
        self.body, self.stream = dict(body), bool(body.get("stream"))


def read(record):
    value = json.loads(record)
    pieces = [Piece(kind, MAIN, value[name]) for name, kind in KINDS.items() if value.get(name)]
    return Chunk(record, pieces, ends="end" in value, own=value)


class Decoder:
    terminal = done = shown_usage = holds_half = False
    usage = None

    def __init__(self, history):
        self.history = history

    def read(self, event):
        chunk = self.history.read(event.data.encode()) if self.history else read(event.data)
        if "oops" in chunk.own:
            raise ErrorEventError(chunk.own["oops"])
        self.terminal = self.done = chunk.ends
        return chunk

    def receive_eof(self):
        if not self.terminal:
            raise TruncatedError("it ended without an end")


class History:
    usage, delivered, ended = None, 0, False
    is_closed = True

    def read(self, record):
        chunk = read(record.decode())
        self.delivered, self.ended = self.delivered + 1, chunk.ends
        return chunk

    def is_complete(self, request):
        return self.ended


class Rewriter:
    def __init__(self, history):
        self.history = history

    def join(self, chunk):
        return json.dumps(chunk.own | {"n": self.history.delivered + 1}).encode()

    def cut(self, chunk, news):
        names = {kind: name for name, kind in KINDS.items()}
        new = {names[piece.kind]: value for piece, (value, _) in zip(chunk.pieces, news, strict=True)}
        rest = {name: value for name, value in chunk.own.items() if name not in KINDS}
        return json.dumps(rest | new | {"n": self.history.delivered + 1}).encode()


class Accumulator:
    def __init__(self):
        self.text = ""

    def add(self, record):
        self.text += read(record.decode()).text

    def message(self):
        return {"said": self.text}


class Toy:
    name, path, end_mark, headers = "toy", "/toy", b"", {}
    request, history, accumulator = Request, History, Accumulator

    def body(self, request, *, model, seed, usage, extra):
        return {**request.body, "stream": True}

    def prefix(self, request, text):
        return text

    def prefill(self, body, text, *, extra, message_extra, delivered_tokens):
        return {**body, "said": text}

    def non_streaming(self, body):
        return {**body, "stream": False}

    def decoder(self, request, history, *, first, usage=False, omits_end=False):
        return Decoder(history if first else None)

    def rewriter(self, history, first):
        return Rewriter(history)

    def records_in(self, body):
        said = json.loads(body)["said"]
        return [json.dumps(part).encode() for part in ({"n": 1, "say": said}, {"n": 2, "end": True})]

    def total_usage(self, reports):
        return {"words": sum(chunks for _, chunks in reports)}

    def closing(self, request, history, first, *, usage, attempts):
        return []

    def with_total(self, last, *, usage, attempts):
        return last

    def refusal(self, body, *, status):
        return {"oops": body["error"]}

    def error(self, body, *, number):
        return json.dumps({"oops": body["error"]["message"]}).encode()


TOY = Toy()
