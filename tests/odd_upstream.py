"""A model server in threads that is honest at one address, and sends whatever a test wants at another."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import socketserver

from gateway_serving import FINISH, event

HONEST = [f"{word} " for word in ["every", "token", "exactly", "once", "流", "👍🏽"]]


class Upstream(socketserver.ThreadingTCPServer):
    """A model server that answers honestly, or with the events that a test has laid down for a prompt `odd-N`."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Attempt)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.scripts: dict[int, bytes] = {}
        self.connections: set[socket.socket] = set()

    def handle_error(self, *_: object) -> None:
        """Say nothing: the gateway leaves whenever it likes."""

    def stop(self) -> None:
        self.shutdown()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()


class Attempt(socketserver.StreamRequestHandler):
    server: Upstream

    def handle(self) -> None:
        self.server.connections.add(self.connection)
        try:
            while line := self.rfile.readline():
                self._answer(line)
                if b"/odd/" in line:
                    return
        finally:
            self.server.connections.discard(self.connection)

    def _answer(self, line: bytes) -> None:
        length = 0
        while (field := self.rfile.readline()).strip():
            name, _, value = field.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        body = self.rfile.read(length)
        asked = re.search(rb"odd-(\d+)", body)
        if b"/odd/" in line and asked:
            head = b"content-type: text/event-stream\r\nconnection: close\r\n"
            self.wfile.write(b"HTTP/1.1 200 OK\r\n%b\r\n%b" % (head, self.server.scripts[int(asked[1])]))
            return
        if re.search(rb'"stream":\s*true', body):
            kind, data = b"text/event-stream", b"".join(map(event, HONEST)) + FINISH
        else:
            message = {"role": "assistant", "content": "".join(HONEST)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            whole = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
            kind, data = b"application/json", json.dumps(whole).encode()
        self.wfile.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (kind, len(data), data)
        )
