"""Servers that keep what they are sent: a mail server, and one that takes POST requests."""

from __future__ import annotations

import contextlib
import http.server
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Sent:
    body: bytes
    path: str = ""
    authorization: str = ""


class _Server(socketserver.ThreadingTCPServer):
    def __init__(self, handler: type[socketserver.BaseRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.received: list[Sent] = []


class Smtp(socketserver.StreamRequestHandler):
    """As much of a mail server as takes one mail."""

    server: _Server

    def handle(self) -> None:
        self.wfile.write(b"220 ready\r\n")
        for line in self.rfile:
            verb = line[:4].upper()
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                self.server.received.append(Sent(b"".join(iter(self.rfile.readline, b".\r\n"))))
            self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")
            if verb == b"QUIT":
                return


class Webhook(http.server.BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(Sent(body, self.path, self.headers.get("Authorization", "")))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""


@contextlib.contextmanager
def receiving(handler: type[socketserver.BaseRequestHandler]) -> Iterator[tuple[int, list[Sent]]]:
    """A server on a free port, and what it received."""
    with _Server(handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_address[1], server.received
        finally:
            server.shutdown()
            thread.join()
