"""A server that answers with recorded bytes, chunk by chunk as they were sent."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Scripted:
    """The next answers, in order; the last one stays. `pieces` are the HTTP chunks; `cut` drops the connection."""

    status: int = 200
    pieces: Sequence[bytes] = ()
    cut: bool = False
    chunked: bool = True


@dataclass
class ReplayServer:
    url: str = ""
    answers: list[Scripted] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)

    def say(self, *answers: Scripted) -> None:
        self.answers[:] = answers

    def take(self) -> Scripted:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextlib.contextmanager
def replaying() -> Iterator[ReplayServer]:
    """Listens on a free loopback port until the block ends."""
    script = ReplayServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.do_GET()

        def do_GET(self) -> None:
            script.authorizations.append(self.headers.get("Authorization"))
            closing = self.path == "/close-query"
            answer = Scripted(chunked=False) if closing else script.take()
            self.send_response(answer.status)
            if answer.chunked:
                self.send_header("Transfer-Encoding", "chunked")
            else:
                self.send_header("Connection", "close")
                self.close_connection = True
            self.end_headers()
            for piece in answer.pieces:
                if piece:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if answer.chunked else piece)
            if answer.cut:
                self.close_connection = True
            elif answer.chunked:
                self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    script.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
