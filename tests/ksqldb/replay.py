"""A server that answers with recorded bytes, chunk by chunk as they were sent."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.vectors import recorded


@dataclass
class Scripted:
    """One answer: `pieces` are the HTTP chunks; `cut` drops the connection, `reset` so that the client hears of it.

    `after_s` is the silence before the answer, `idle_s` that before its end; the end of the block ends both.
    """

    status: int = 200
    pieces: Iterable[bytes] = ()
    cut: bool = False
    reset: bool = False
    chunked: bool = True
    after_s: float = 0
    idle_s: float = 0
    location: str = ""
    encoding: str = ""


@dataclass
class Asked:
    """One request as it came, with the body as JSON."""

    path: str
    headers: Message
    body: Any


@dataclass
class ReplayServer:
    """The next answers, in order; the last one stays. `/close-query` is always answered as done."""

    url: str = ""
    answers: list[Scripted] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    def say(self, *answers: Scripted) -> None:
        self.answers[:] = answers
        self.asked.clear()

    def say_recorded(self, *names: str) -> None:
        """The answers of these exchanges."""
        responses = (recorded(name)["response"] for name in names)
        self.say(*(Scripted(response["status"], [response["body"].encode()]) for response in responses))

    def take(self) -> Scripted:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextlib.contextmanager
def replaying(tls: ssl.SSLContext | None = None) -> Iterator[ReplayServer]:
    """Listens on a free loopback port until the block ends."""
    script = ReplayServer()
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):  # a client that leaves early is part of the tests
                super().handle()

        def do_POST(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            script.asked.append(Asked(self.path, self.headers, json.loads(body) if body else None))
            closing = self.path == "/close-query"
            answer = Scripted(chunked=False) if closing else script.take()
            over.wait(answer.after_s)
            self.send_response(answer.status)
            if answer.chunked:
                self.send_header("Transfer-Encoding", "chunked")
            else:
                self.send_header("Connection", "close")
                self.close_connection = True
            if answer.location:
                self.send_header("Location", answer.location)
            if answer.encoding:
                self.send_header("Content-Encoding", answer.encoding)
            with contextlib.suppress(ConnectionError):  # a client that leaves early is part of the tests
                self.end_headers()
                for piece in answer.pieces:
                    if piece:
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if answer.chunked else piece)
                over.wait(answer.idle_s)
                if answer.reset:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                if answer.cut or answer.reset:
                    self.close_connection = True
                elif answer.chunked:
                    self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    script.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield script
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()
